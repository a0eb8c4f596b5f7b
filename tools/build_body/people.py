"""Give a body of ten betas limbs of other lengths, and the population that has them."""

from functools import cache
from pathlib import Path

import numpy as np

from hpsvid.body.model import PEOPLE
from hpsvid.common.files import read_npz
from hpsvid.common.weights import weights_path
from hpsvid.types import N_BETAS
from tools.build_body.build import TEMPLATE_STEP_M, rounded
from tools.build_body.proportions import NAMES, limb_directions
from tools.build_body.survey import Population, populations

STEP_BETA = 2.0**-12  # what numbers of the population are rounded to


def with_people(arrays: dict[str, np.ndarray], survey: Path) -> dict[str, np.ndarray]:
    """A body's arrays (SMPL's keys) with directions for limbs after its first ten, and the survey's
    people: `betas_mean` (3, B) and `betas_covariance` (3, B, B), in the order of PEOPLE.

    survey: `ansur2.csv.gz`. A unit of a limb's direction is the spread among all people.
    """
    template, regressor = (arrays[key].astype(float) for key in ("v_template", "J_regressor"))
    leaves = arrays["leaf_vertices"]
    rest = np.concatenate([regressor @ template, template[leaves]])
    first = arrays["shapedirs"][..., :N_BETAS].astype(float)
    limbs = limb_directions(template, rest, arrays["weights"].astype(float))
    whole = np.concatenate([first, limbs], -1)
    joints = np.concatenate([np.einsum("jv,vck->jck", regressor, whole), whole[leaves]])
    faces = arrays["f"].astype(int)
    found = populations(template, rest, (whole, joints), faces, survey, len(NAMES))
    unit = np.ones(whole.shape[-1])
    unit[N_BETAS:] = np.sqrt(np.diagonal(found["neutral"].covariance))[N_BETAS:]
    mean = np.stack([found[name].mean for name in PEOPLE]) / unit
    covariance = np.stack([found[name].covariance for name in PEOPLE]) / np.outer(unit, unit)
    return arrays | {
        "shapedirs": rounded(whole * unit, TEMPLATE_STEP_M).astype(np.float32),
        "betas_mean": rounded(mean, STEP_BETA),
        "betas_covariance": rounded(covariance, STEP_BETA),
    }


@cache
def shipped_people() -> dict[str, Population]:
    """How the shipped body's people are built, by the names of PEOPLE."""
    data = read_npz(weights_path("free_body"), "the free body", ("betas_mean", "betas_covariance"))
    rows = zip(PEOPLE, data["betas_mean"], data["betas_covariance"], strict=True)
    return {name: Population(mean=mean, covariance=spread) for name, mean, spread in rows}
