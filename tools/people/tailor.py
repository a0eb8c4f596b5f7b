"""Fit garments to the free body: T-pose, skin weights, and the shapes and bends of the body.

Clothes are placed on the mean of MakeHuman's population in its A-pose, turned to the T-pose with
the dual quaternions that made the free body, and bound to the nearest points of its skin. So a
garment is part of a SMPL-format body: betas shape it and poses bend it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from hpsvid.common.files import read_npz, write_npz
from hpsvid.common.weights import file_sha256, weights_path
from hpsvid.types import N_BETAS, Array
from tools.build_body.build import PELVIS, sample_people, t_posed_people
from tools.build_body.tpose import blend_skin, dual_quaternions
from tools.people.garment import Garment

NEIGHBOURS = 6  # body vertices that a garment vertex follows
NEAREST_M = 0.002  # closer ones count as this near
# The weight of skin-weight distance beside metres: cloth at an armpit binds to its own side.
SKIN_METRES = 0.15
FITTED_PEOPLE = 300  # of the population, whose betas are measured
RIDGE = 1.0  # of the fit of betas, against 6,000 vertices' metres times 1e3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanPerson:
    """The population's mean at MakeHuman's full resolution, helper vertices included."""

    a_pose: Array  # (N, 3) m
    t_pose: Array  # (N, 3) m
    rotations: Array  # (G, 3, 3) of the groups that are turned to the T-pose
    offsets: Array  # (G, 3) m
    group_weights: Array  # (N, G)
    skin: Array  # (N, 24)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Builds:
    """How the body's betas go with sex and age: betas = mean + sex + age + spread."""

    mean: Array  # (10,)
    male: Array  # (10,) added for men, taken off for women
    old: Array  # (10,) per unit of MakeHuman's age slider above its mean
    age_mean: float
    spread: Array  # (10,) deviation that is left


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A garment as part of the body. V vertices."""

    garment: Garment
    template: Array  # (V, 3) m in the free body's T-pose
    skin: Array  # (V, 24)
    binding: csr_array  # (V, B) shares of the body vertices that it follows, rows sum to 1

    def follow(self, values: Array) -> Array:
        """Per-vertex values of the body (B, ...) as the garment takes them on (V, ...)."""
        flat = self.binding @ values.reshape(len(values), -1)
        return flat.reshape(-1, *values.shape[1:])


def mean_person_and_builds(mpfb2: Path, cache: Path) -> tuple[MeanPerson, Builds]:
    """Measured on the population that the free body was learned from; kept in `cache`."""
    body = weights_path("free_body")
    path = cache / f"mean_person_{file_sha256(body)[:12]}.npz"
    if not path.is_file():
        write_npz(path, _measure(mpfb2, body))
    data = read_npz(path, "a mean person", None)
    person = MeanPerson(**{key: data[key] for key in MeanPerson.__dataclass_fields__})
    builds = Builds(
        mean=data["betas_mean"],
        male=data["betas_male"],
        old=data["betas_old"],
        age_mean=float(data["age_mean"]),
        spread=data["betas_spread"],
    )
    return person, builds


def _measure(mpfb2: Path, body: Path) -> dict[str, Array]:
    """The arrays of MeanPerson and of Builds, from MakeHuman's targets."""
    sampled = sample_people(mpfb2)
    mean = sampled.mean
    free = read_npz(body, "the free body", ("v_template", "shapedirs", "mh_vertex_ids"))
    ids = free["mh_vertex_ids"]
    chosen = slice(0, FITTED_PEOPLE)
    people = t_posed_people(sampled, ids)[chosen]
    rest = people + PELVIS - sampled.joints[chosen, :1] - free["v_template"]
    directions = free["shapedirs"][..., :N_BETAS].reshape(-1, N_BETAS).astype(float)
    normal = directions.T @ directions * 1e3 + RIDGE * np.eye(N_BETAS)
    betas = np.linalg.solve(normal, directions.T @ rest.reshape(len(rest), -1).T * 1e3).T
    # MakeHuman's first 36 targets are sex x age x muscle x weight, women first; a person's
    # strengths over each half sum to that person's share of the sex, and so with age
    strengths = sampled.population.strengths[chosen, : 36 * 5].reshape(FITTED_PEOPLE, 36, 5)[..., 0]
    male = np.sign(strengths[:, 18:].sum(1) - 0.5)
    old = strengths.reshape(FITTED_PEOPLE, 2, 2, 9)[:, :, 1].sum((1, 2))
    known = np.stack([np.ones(len(male)), male, old - old.mean()], 1)
    effects = np.linalg.lstsq(known, betas, rcond=None)[0]
    return {
        "a_pose": mean.a_pose,
        "t_pose": mean.t_pose,
        "rotations": mean.rotations,
        "offsets": mean.offsets,
        "group_weights": sampled.group_weights,
        "skin": mean.skin,
        "betas_mean": effects[0],
        "betas_male": effects[1],
        "betas_old": effects[2],
        "age_mean": np.array(old.mean()),
        "betas_spread": (betas - known @ effects).std(0),
    }


class Tailor:
    """Fits garments to the free body."""

    def __init__(self, person: MeanPerson, template: Array, vertex_ids: Array) -> None:
        """template: (B, 3) m, the free body's; vertex_ids: (B,) its base-mesh vertices."""
        self._person = person
        self._parts = dual_quaternions(person.rotations, person.offsets)
        # what turns the mean person's T-pose into the template: the mean of everyone's T-poses
        self._correction = template - person.t_pose[vertex_ids]
        self._tree = KDTree(self._features(person.t_pose, person.skin)[vertex_ids])

    def fit(self, garment: Garment) -> Fit:
        """The garment in the T-pose, bound to the body."""
        person = self._person
        upright = blend_skin(
            garment.placed(person.a_pose), _shares(garment, person.group_weights), *self._parts
        )
        skin = _shares(garment, person.skin)
        distance, near = self._tree.query(self._features(upright, skin), k=NEIGHBOURS)
        share = 1 / np.maximum(distance, NEAREST_M) ** 2
        share /= share.sum(1, keepdims=True)
        rows = np.repeat(np.arange(len(share)), NEIGHBOURS)
        shape = (len(share), len(self._correction))
        binding = csr_array((share.ravel().astype(np.float32), (rows, np.ravel(near))), shape)
        template = upright + binding @ self._correction
        return Fit(garment=garment, template=template, skin=skin, binding=binding)

    @staticmethod
    def _features(points: Array, skin: Array) -> Array:
        return np.hstack([points, SKIN_METRES * skin])


def _shares(garment: Garment, values: Array) -> Array:
    """Rows of `values` (N, C) >= 0 of the base mesh blended to the garment, rows sum to 1."""
    blended = (values[garment.refs] * garment.weights.clip(0)[..., None]).sum(1)
    return blended / np.maximum(blended.sum(1, keepdims=True), 1e-9)
