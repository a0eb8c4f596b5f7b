"""How people are built: ANSUR II's adults as shapes of the free body.

Each of the survey's adults, by what was measured of them, tells a shape of the body; the mean and
the covariance of these shapes, weighed towards a general public, are how people are built. A
measure of the survey is one of the body by `measures`, linear in the shape.
"""

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsvid.body.skeleton import JOINT
from tools.build_body.shape import DENSITY, volume

# The public: adults' body mass index all over the world (NCD-RisC, Lancet 2016: in the mean 24.2
# kg/m^2 for men and 24.4 for women) and its usual spread; each sex and age counts alike.
PUBLIC_BMI, PUBLIC_BMI_SPREAD = 24.3, 4.5
AGE_STEP = 5  # years
HEAVIEST = 5.0  # weight of one adult, over the mean one
# How far a length that MakeHuman hardly varies may be off before anything is measured: the survey
# is to tell it.
LIMB_SPREAD_M = 0.1
# Ten betas of MakeHuman's men less the mean (women: the other way) and what spread is left, as
# `tools.people.tailor` measures them: what nobody measured goes with sex as it does there.
MEN = (0.65, 0.23, -0.63, 0.01, 0.14, 0.28, 0.0, 0.10, -0.08, 0.0)
SPREAD = (0.79, 0.94, 0.80, 0.84, 0.90, 1.0, 1.07, 0.95, 0.81, 0.99)
WAIST, CHEST = 0.602, 0.725  # heights of navel and nipples, over stature

Points = Callable[[np.ndarray, np.ndarray], float]
"""A measure of a shape's vertices (V, 3) and joints (29, 3), m; of weight its logarithm, kg."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of the survey and where it is on the body."""

    of_body: Points
    more: float = 0.0  # m, by how much the survey's is longer
    error: float = 0.005  # m (weight: its logarithm), how far the two are apart for one person


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How people are built, in the body's betas."""

    mean: np.ndarray  # (B,)
    covariance: np.ndarray  # (B, B)


def measures(template: np.ndarray, rest: np.ndarray, faces: np.ndarray) -> dict[str, Measure]:
    """What of the survey is read, by its name there.

    template: (V, 3) m in T-pose; rest: (29, 3) m. Lengths between joint centres are not quite the
    survey's between landmarks: de Leva (J. Biomech. 1996, table 4) gives the upper arm as
    0.162 (men) and 0.159 (women) of stature, the forearm as 0.1545 and 0.152.
    """

    def between(start: str, end: str) -> Points:
        return lambda _, joints: float(np.linalg.norm(joints[JOINT[end]] - joints[JOINT[start]]))

    def height(joint: str) -> Points:
        return lambda vertices, joints: float(joints[JOINT[joint], 1] - vertices[:, 1].min())

    def across(level: float, axis: int) -> Points:
        """Breadth (axis 0) or depth (2) of the trunk at a height over stature."""
        bottom, tall = template[:, 1].min(), np.ptp(template[:, 1])
        near = np.abs(template[:, 1] - bottom - level * tall) < 0.015
        near &= np.abs(template[:, 0]) < rest[JOINT["left_shoulder"], 0]
        return _extent(near, axis)

    def _extent(chosen: np.ndarray, axis: int) -> Points:
        places = np.flatnonzero(chosen)
        first, last = (places[pick(template[places, axis])] for pick in (np.argmin, np.argmax))
        return lambda vertices, _: float(vertices[last, axis] - vertices[first, axis])

    feet = (template[:, 1] < rest[JOINT["left_ankle"], 1]) & (template[:, 0] > 0)
    return {
        "stature": Measure(_extent(np.ones(len(template), bool), 1), error=0.002),
        "weightkg": Measure(
            lambda vertices, _: float(np.log(DENSITY * volume(vertices, faces))), error=0.05
        ),
        "acromionradialelength": Measure(between("left_shoulder", "left_elbow"), 0.053),
        "radialestylionlength": Measure(between("left_elbow", "left_wrist"), -0.003),
        "handlength": Measure(between("left_wrist", "left_middle_tip")),
        "trochanterionheight": Measure(height("left_hip"), error=0.01),
        "lateralfemoralepicondyleheight": Measure(height("left_knee")),
        "lateralmalleolusheight": Measure(height("left_ankle")),
        "footlength": Measure(_extent(feet, 2)),
        "waistbreadth": Measure(across(WAIST, 0), error=0.02),
        "waistdepth": Measure(across(WAIST, 2), error=0.02),
        "chestdepth": Measure(across(CHEST, 2), error=0.02),
    }


def read_survey(path: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every adult's measures (N, M) in m (of weight the logarithm of kg), whether a man, and age.

    path: `ansur2.csv.gz`, a row for each adult, mm and tenths of kg.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row[name]) for name in names] for row in rows])
    weight = names.index("weightkg")
    values[:, weight] = np.log(values[:, weight] / 10)
    values[:, np.arange(len(names)) != weight] /= 1000
    return values, np.array([row["sex"] == "m" for row in rows]), np.array(
        [float(row["age"]) for row in rows]
    )  # fmt: skip


def of_the_public(bmi: np.ndarray, male: np.ndarray, age: np.ndarray) -> np.ndarray:
    """How much each of the survey's soldiers (N,) counts among the public; the mean is 1."""
    weight = np.exp(-(((bmi - PUBLIC_BMI) / PUBLIC_BMI_SPREAD) ** 2) / 2)
    for sex in (True, False):
        own = male == sex
        usual, spread = bmi[own].mean(), bmi[own].std()
        weight[own] /= np.exp(-(((bmi[own] - usual) / spread) ** 2) / 2) / spread
        ages = (age[own] // AGE_STEP).astype(int)
        weight[own] /= np.bincount(ages)[ages]
        weight[own] = np.minimum(weight[own] / weight[own].mean(), HEAVIEST)
        weight[own] /= weight[own].mean()
    return weight / np.where(male, male.mean(), 1 - male.mean()) / 2


def populations(
    template: np.ndarray, rest: np.ndarray, shape: tuple[np.ndarray, np.ndarray],
    faces: np.ndarray, survey: Path, limbs: int,
) -> dict[str, Population]:  # fmt: skip
    """How everybody, women and men are built: "neutral", "female", "male".

    shape: directions of the vertices (V, 3, B) and of the joints (29, 3, B), the last `limbs` of
    them in metres of a limb's length. Before the measuring a person is as MakeHuman's of that sex.
    """
    chosen = measures(template, rest, faces)
    directions, joints = shape
    count = directions.shape[-1]

    def measured(betas: np.ndarray) -> np.ndarray:
        of = template + directions @ betas, rest + joints @ betas
        return np.array([measure.of_body(*of) + measure.more for measure in chosen.values()])

    spread = np.concatenate([SPREAD, np.full(limbs, LIMB_SPREAD_M)])
    of_sex = np.concatenate([MEN, np.zeros(limbs)])
    unit = np.diag(spread)
    middle = measured(np.zeros(count))
    A = np.stack([(measured(step) - measured(-step)) / 2 for step in unit], 1)  # of unit normals
    error = np.diag([measure.error**2 for measure in chosen.values()])
    gain = A.T @ np.linalg.inv(A @ A.T + error)
    left = np.eye(count) - gain @ A  # covariance of what the measures do not tell
    values, male, age = read_survey(survey, list(chosen))
    names = list(chosen)
    bmi = np.exp(values[:, names.index("weightkg")]) / values[:, names.index("stature")] ** 2
    counts = of_the_public(bmi, male, age)
    before = np.where(male[:, None], of_sex, -of_sex) / spread
    people = before + (values - middle - before @ A.T) @ gain.T
    of = {"neutral": np.ones(len(male), bool), "female": ~male, "male": male}
    result = {}
    for name, who in of.items():
        mean = np.average(people[who], 0, counts[who])
        covariance = np.cov(people[who].T, aweights=counts[who]) + left
        result[name] = Population(mean=unit @ mean, covariance=unit @ covariance @ unit)
    return result
