"""Who a character is and what it wears, drawn by seed."""

from dataclasses import dataclass

import numpy as np

from hpsvid.types import N_BETAS, Array
from tools.build_body.people import shipped_people
from tools.people.assets import AGES, BROWS, HAIR, ORIGINS, SHOES, SUITS
from tools.people.tailor import Builds

AGE_SHARES = (0.5, 0.33, 0.17)  # of young, middle-aged and old characters
AGE_SLIDER = {"young": 0.12, "middleage": 0.4, "old": 0.75}  # MakeHuman's: 0 is 25, 1 is 90 years
MENS_SUIT = 0.35  # of the women wear one of the men's suits: jeans and a shirt
MOST_UNUSUAL = 2.5  # standard deviations of a shape
BAREFOOT = 0.08
# sRGB of black, dark and light brown, auburn, blond, grey and white hair, and their shares
HAIR_COLOURS = (
    (28, 24, 22), (58, 42, 32), (102, 74, 50), (110, 58, 36), (176, 144, 96), (130, 128, 126),
    (205, 203, 200),
)  # fmt: skip
HAIR_SHARES = {
    "young": (0.33, 0.27, 0.18, 0.07, 0.13, 0.01, 0.01),
    "middleage": (0.28, 0.25, 0.17, 0.05, 0.10, 0.12, 0.03),
    "old": (0.05, 0.07, 0.05, 0.01, 0.05, 0.42, 0.35),
}
DARK_HAIR = 3  # of the colours: the darkest ones, all that African and Asian young people get


@dataclass(frozen=True, slots=True, kw_only=True)
class Dye:
    """How the colours of a cloth are changed."""

    hue: float  # added, 0..1 is the whole circle
    saturation: float  # factor
    value: float  # factor
    tint: tuple[float, float, float]  # factors of red, green, blue
    stripes: float  # width in shares of the picture; 0 for none
    stripe_tint: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outfit:
    """One character, before anything is loaded."""

    sex: str
    age: str
    origin: str
    betas: Array  # (16,) float32
    suit: str
    shoes: str  # "" for bare feet
    hair: str  # "" for a bald head
    brows: str
    hair_colour: tuple[int, int, int]  # sRGB
    skin_gain: tuple[float, float, float]  # factors of the skin's colours
    upper: Dye
    lower: Dye
    shoe: Dye

    @property
    def skin(self) -> str:
        """The name of its skin's folder."""
        return f"{self.age}_{self.origin}_{self.sex}"


def draw_outfit(rng: np.random.Generator, builds: Builds) -> Outfit:
    """A character: sex, age and build tied to its betas, and clothes that go with them."""
    sex = ("male", "female")[rng.integers(2)]
    age = AGES[rng.choice(3, p=AGE_SHARES)]
    origin = ORIGINS[rng.integers(3)]
    suits = SUITS["male" if sex == "male" or rng.random() < MENS_SUIT else "female"]
    hair = HAIR[sex][rng.integers(len(HAIR[sex]))]
    if sex == "male" and rng.random() < {"young": 0.05, "middleage": 0.15, "old": 0.3}[age]:
        hair = ""
    shares = np.array(HAIR_SHARES[age])
    if origin != "caucasian":
        shares[DARK_HAIR:5] = 0  # blond and auburn
        shares /= shares.sum()
    shade = rng.uniform(0.82, 1.15)
    return Outfit(
        sex=sex,
        age=age,
        origin=origin,
        betas=draw_betas(rng, builds, sex, age),
        suit=suits[rng.integers(len(suits))],
        shoes="" if rng.random() < BAREFOOT else SHOES[rng.integers(len(SHOES))],
        hair=hair,
        brows=BROWS[rng.integers(len(BROWS))],
        hair_colour=HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=shares)],
        skin_gain=_triple(shade * rng.uniform(0.96, 1.04, 3)),
        upper=_draw_dye(rng, stripes=0.25),
        lower=_draw_dye(rng, stripes=0.05),
        shoe=_draw_dye(rng, stripes=0.0),
    )


def draw_betas(rng: np.random.Generator, builds: Builds, sex: str, age: str) -> Array:
    """Betas (16,) float32 of a random person of that sex and age, as people are built."""
    people = shipped_people()[sex]
    differs = rng.normal(size=len(people.mean)).clip(-MOST_UNUSUAL, MOST_UNUSUAL)
    betas = people.mean + np.linalg.cholesky(people.covariance) @ differs
    betas[:N_BETAS] += builds.old * (AGE_SLIDER[age] - builds.age_mean)
    return betas.astype(np.float32)


def _draw_dye(rng: np.random.Generator, stripes: float) -> Dye:
    """stripes: the chance of them."""
    return Dye(
        hue=float(rng.random()),
        saturation=float(rng.choice([0.15, 0.6, 1.0, 1.3])),
        value=float(rng.uniform(0.6, 1.9)),
        tint=_triple(rng.uniform(0.45, 1.0, 3) if rng.random() < 0.6 else np.ones(3)),
        stripes=float(rng.uniform(0.01, 0.05)) if rng.random() < stripes else 0.0,
        stripe_tint=_triple(rng.uniform(0.25, 1.7, 3)),
    )


def _triple(values: Array) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
