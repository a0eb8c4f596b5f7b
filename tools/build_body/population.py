"""Sample a population of adults from MakeHuman's targets."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.build_body.makehuman import BaseMesh, read_target

AGES = ("young", "old")  # MakeHuman's 25 and 90 years: adults only
AXES = {
    "gender": ("female", "male"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
    "cupsize": ("mincup", "averagecup", "maxcup"),
    "firmness": ("minfirmness", "averagefirmness", "maxfirmness"),
    "race": ("african", "asian", "caucasian"),
}
# Local targets `<path>-decr` and `<path>-incr`, {s} both sides alike: spread of their strength.
LOCAL = {
    "arms/{s}-lowerarm-scale-vert": 0.15,
    "arms/{s}-upperarm-scale-vert": 0.15,
    "legs/lowerlegs-height": 0.10,
    "legs/upperlegs-height": 0.10,
    "torso/torso-scale-vert": 0.08,
    "torso/torso-scale-horiz": 0.25,
    "torso/torso-scale-depth": 0.25,
    "hip/hip-scale-horiz": 0.25,
    "stomach/stomach-tone": 0.3,
    "buttocks/buttocks-volume": 0.3,
    "legs/{s}-upperleg-fat": 0.3,
    "arms/{s}-upperarm-fat": 0.3,
    "head/head-scale-horiz": 0.2,
    "head/head-scale-vert": 0.2,
    "hands/{s}-hand-scale": 0.15,
    "feet/{s}-foot-scale": 0.12,
}
# How far weight without muscle pulls a local target along (a tense stomach is a small one).
FAT = {
    "stomach/stomach-tone": -0.5,
    "legs/{s}-upperleg-fat": 0.5,
    "arms/{s}-upperarm-fat": 0.5,
    "buttocks/buttocks-volume": 0.3,
}
# Mean and spread of the macro sliders, 0..1, chosen so that stature (1.70 +- 0.09 m), body mass
# index (23 +- 5) and limb ratios come out as in adults.
SLIDERS = {
    "muscle": (0.27, 0.22),
    "weight": (0.62, 0.28),
    "proportions": (0.6, 0.18),
    "cupsize": (0.45, 0.18),
    "firmness": (0.55, 0.15),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Everyone as a linear mixture of targets: mesh = base + strengths @ displacements."""

    displacements: np.ndarray  # (T, N, 3) m, left-right symmetric
    strengths: np.ndarray  # (people, T)


def sample_population(folder: Path, mesh: BaseMesh, people: int, seed: int) -> Population:
    """`people` random adults, the same for the same seed."""
    count = len(mesh.vertices)
    macro = _macro_targets(folder)
    moved = [read_target(path, count) for _, path in macro]
    for stem in LOCAL:
        for end in ("decr", "incr"):
            sides = [stem.format(s=s) for s in "lr"] if "{s}" in stem else [stem]
            files = [folder / f"targets/{side}-{end}.target.gz" for side in sides]
            moved.append(np.sum([read_target(file, count) for file in files], 0))
    displacements = np.stack(moved)
    mirrored = displacements[:, mesh.mirror] * np.array([-1, 1, 1], np.float32)
    displacements = np.where(
        mesh.symmetric[None, :, None], (displacements + mirrored) / 2, displacements
    )
    sliders, local = _sample_sliders(people, np.random.default_rng(seed))
    ends = np.stack([np.clip(-local, 0, None), np.clip(local, 0, None)], -1).reshape(people, -1)
    strengths = np.concatenate([_macro_strengths(sliders, [c for c, _ in macro]), ends], 1)
    return Population(displacements=displacements, strengths=strengths.astype(np.float32))


def _macro_targets(folder: Path) -> list[tuple[tuple[str, ...], Path]]:
    """Labels whose weights multiply, and the target they switch on."""
    detail = folder / "targets/macrodetails"
    found: list[tuple[tuple[str, ...], Path]] = []

    def add(labels: tuple[str, ...], path: Path) -> None:
        found.append((labels, path))

    product = itertools.product
    for g, a, m, w in product(AXES["gender"], AGES, AXES["muscle"], AXES["weight"]):
        person = f"{g}-{a}-{m}-{w}"
        add((g, a, m, w), detail / f"universal-{person}.target.gz")
        for folder_name in ("height", "proportions"):
            for end in AXES[folder_name]:
                path = detail / folder_name / f"{person}-{end}.target.gz"
                add((g, a, m, w, end), path)
    for race, g, a in product(AXES["race"], AXES["gender"], AGES):
        add((race, g, a), detail / f"{race}-{g}-{a}.target.gz")
    for labels in product(AGES, AXES["muscle"], AXES["weight"], AXES["cupsize"], AXES["firmness"]):
        path = folder / "targets/breast" / f"female-{'-'.join(labels)}.target.gz"
        if path.exists():  # the all-average ones are left out of the data
            add(("female", *labels), path)
    return found


def _sample_sliders(
    people: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Macro sliders (people,), 0..1, race (people, 3); local ones (people, 16), -1..1."""
    male = np.where(rng.random(people) < 0.5, 0.95, 0.05)
    sliders = {
        "gender": np.clip(male + rng.normal(0, 0.06, people), 0, 1),
        "age": np.clip(rng.beta(1.3, 3.0, people), 0, 0.9),
        "height": np.clip(rng.normal(0.525, 0.046, people), 0.36, 0.70),
    }
    for name, (mean, spread) in SLIDERS.items():
        sliders[name] = np.clip(rng.normal(mean, spread, people), 0.02, 0.98)
    sliders["race"] = rng.dirichlet([1, 1, 1], people)
    local = np.stack([rng.normal(0, spread, people) for spread in LOCAL.values()], 1)
    fat = (sliders["weight"] - 0.5) * (1.3 - sliders["muscle"])
    for name, share in FAT.items():
        local[:, list(LOCAL).index(name)] += share * fat
    return sliders, np.clip(local, -1, 1)


def _macro_strengths(sliders: dict[str, np.ndarray], targets: list[tuple[str, ...]]) -> np.ndarray:
    """Strength of each macro target (people, T): the product of its labels' weights."""
    weights: dict[str, np.ndarray] = {}
    for axis in ("muscle", "weight", "cupsize", "firmness"):
        value = sliders[axis]
        low, middle, high = AXES[axis]
        weights[low] = np.clip(1 - 2 * value, 0, 1)
        weights[middle] = 1 - np.abs(2 * value - 1)
        weights[high] = np.clip(2 * value - 1, 0, 1)
    weights["female"], weights["male"] = 1 - sliders["gender"], sliders["gender"]
    weights["young"], weights["old"] = 1 - sliders["age"], sliders["age"]
    # 0.5 is neutral for these two: both targets are off there.
    for axis, low, high in (
        ("height", "minheight", "maxheight"),
        ("proportions", "uncommonproportions", "idealproportions"),
    ):
        weights[low] = np.clip(1 - 2 * sliders[axis], 0, None)
        weights[high] = np.clip(2 * sliders[axis] - 1, 0, None)
    for column, race in enumerate(AXES["race"]):
        weights[race] = sliders["race"][:, column]
    return np.stack([np.prod([weights[label] for label in labels], 0) for labels in targets], 1)
