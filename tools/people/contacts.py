"""Fit what tells that heels and balls touch the ground: a logistic regression on rendered people.

    python -m tools.people.contacts --pairs DIR [--folds 6]

DIR holds the shards of `tools.people.pairs`. What the landmark network saw of each person is
lifted, solved and placed as `hpsvid run` does it, before the true camera, with up off by some
degrees; the truth says which points touch the ground, as for `tools.tables.world_takes`. Printed
are `feet.CONTACT_WEIGHTS` and how well people are told who were left out of the fit, beside the
weights in use. Nothing is written.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from scipy.special import expit, log_expit

from hpsvid.backbone.learned import default_lifter, lift
from hpsvid.backbone.lifting import lift_seen
from hpsvid.body.model import Body, load_body
from hpsvid.body.world import to_world
from hpsvid.common.files import read_npz
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.records import take_frames
from hpsvid.common.weights import weights_path
from hpsvid.ik import Solver
from hpsvid.motion.feet import CONTACT_WEIGHTS, contact_features, feet_over_ground
from hpsvid.options import Options
from hpsvid.pipeline.stages import StageClock, load_chosen_solver, make_context, solve_track, trim
from hpsvid.training.pairs import KEYS
from hpsvid.types import Array, BodyParams, Clip, Person, Track, World
from tools.people.lift_pairs import landmarks_of
from tools.people.pairs import FILM_FPS
from tools.tables.world_takes import true_contacts

CAMERA_KEYS = ("camera_rotation", "camera_translation", "boxes", "size")
COPIES, TILT_DEG = 3, 2.0  # of each person; by which up is off in them about each level axis
RIDGE = 3e-3  # of the weights of features that have a standard deviation of 1
LEAST_SEEN = 0.3  # of a sequence's frames
TRAVEL_M = 0.15  # a camera that goes further is carried


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One rendered person."""

    features: list[Array]  # (T, 4, 8) of each copy; of the first up is right
    touch: Array  # (T, 4) bool


def rows_of(path: Path, body: Body, solver: Solver, rng: np.random.Generator) -> Iterator[Row]:
    """The people of a shard."""
    shard = read_npz(path, "a shard of tools.people.pairs", (*KEYS, *CAMERA_KEYS))
    for row in range(len(shard["score"])):
        turns = shard["camera_rotation"][row].astype(np.float64)
        eyes = -(turns.mT @ shard["camera_translation"][row].astype(np.float64)[..., None])[..., 0]
        travels = bool(np.ptp(eyes, axis=0).max() > TRAVEL_M)
        person = solved(shard, row, body, solver, travels=travels)
        if person is None:
            continue
        world = World(up=turns[0, :, 1], up_sigma_deg=0, R=turns.mT, t=eyes, made_from="")
        at = person.track.frame_index
        rotvec = torch.from_numpy(shard["rotvec"][row])
        truth = BodyParams(rotmats=axis_angle_to_matrix(rotvec).float().numpy(),
                           betas=shard["betas"][row], transl=shard["transl"][row])  # fmt: skip
        feet = feet_over_ground(truth, world, np.arange(len(turns)), body)
        points = feet_over_ground(person.body, world, at, body)
        pelvis = to_world(person.joints[:, :1], world, at)[:, 0]
        tilts = np.deg2rad(rng.normal(size=(COPIES, 3)) * [TILT_DEG, 0, TILT_DEG])
        tilts[0] = 0
        yield Row(
            features=[
                contact_features(points @ of.T, pelvis @ of.T, eyes[at] @ of.T, at / FILM_FPS)
                for of in Rotation.from_rotvec(tilts).as_matrix()
            ],
            touch=true_contacts(feet)[at] > 0.5,
        )


def solved(
    shard: dict[str, Array], row: int, body: Body, solver: Solver, *, travels: bool
) -> Person | None:
    """What `hpsvid run` makes of one person of a shard; None where hardly anything was seen.

    travels: the camera is carried.
    """
    lifter = default_lifter()
    seen = landmarks_of(shard, row, lifter)
    if (seen.score > 0).mean() < LEAST_SEEN:
        return None
    width, height = map(int, shard["size"][row])
    clip = Clip(path=Path("pairs"), width=width, height=height, fps=Fraction(FILM_FPS), rotation=0,
                audio=False, frame_count=len(seen))  # fmt: skip
    options = Options(focal_px=float(shard["K"][row, 0, 0]), threads=1)
    context = replace(make_context(clip, body, options, StageClock()), travels=travels)
    times = np.arange(len(seen)) / FILM_FPS
    obs = lift_seen(seen, times, lift, context.camera, body)
    track = Track(
        id=row, frame_index=np.arange(len(seen)), boxes=shard["boxes"][row].astype(np.float32),
        scores=seen.score, detected=seen.score > 0,
    )  # fmt: skip
    part = trim(take_frames(track, obs.frame_index), obs, FILM_FPS)
    if part is None:
        return None
    return solve_track(*part, times, solver, context)


def fitted(rows: Sequence[Row]) -> Array:
    """The weights that make the rows' contacts likeliest."""
    x = np.concatenate([f.reshape(-1, f.shape[-1]) for row in rows for f in row.features])
    y = np.concatenate([row.touch.ravel() for row in rows for _ in row.features])
    mean, scale = x.mean(0), x.std(0)
    mean[0], scale[0] = 0, 1
    z, sign = (x - mean) / scale, np.where(y, 1.0, -1.0)
    ridge = np.where(np.arange(len(scale)) > 0, RIDGE, 0)

    def cost(w: Array) -> tuple[float, Array]:
        margin = sign * (z @ w)
        pull = -(sign * expit(-margin)) @ z / len(z)
        return float(-log_expit(margin).mean() + ridge @ w**2), pull + 2 * ridge * w

    weights = minimize(cost, np.zeros(len(scale)), jac=True, method="L-BFGS-B").x / scale
    weights[0] -= weights[1:] @ mean[1:]
    return weights


def f1(logit: Array, touch: Array) -> float:
    """Of points that are said to touch where the logit is above 0."""
    right = ((logit > 0) & touch).sum()
    return float(2 * right / max((logit > 0).sum() + touch.sum(), 1))


def best_bias(logit: Array, touch: Array) -> float:
    """What added to the logits makes F1 best."""
    biases = np.arange(-1.0, 2.0, 0.05)
    return float(biases[np.argmax([f1(logit + bias, touch) for bias in biases])])


def main() -> None:
    """Fit, and say how well."""
    parser = argparse.ArgumentParser(description="Fit the weights of contact on rendered pairs.")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    body, rng = load_body(weights_path("free_body")), np.random.default_rng(0)
    paths = sorted(options.pairs.rglob("shard_*.npz"))
    solver = load_chosen_solver(body, Options())
    rows = [row for path in paths for row in rows_of(path, body, solver, rng)]
    fold = np.arange(len(rows)) * options.folds // len(rows)
    held_out = []
    for number in range(options.folds):
        weights = fitted([row for row, of in zip(rows, fold, strict=True) if of != number])
        held_out += [row.features[0] @ weights for row, of in zip(rows, fold, strict=True)
                     if of == number]  # fmt: skip
    touch = np.concatenate([row.touch.ravel() for row in rows])
    logit = np.concatenate([values.ravel() for values in held_out])
    in_use = np.concatenate([(row.features[0] @ CONTACT_WEIGHTS).ravel() for row in rows])
    bias = best_bias(logit, touch)
    weights = fitted(rows)
    weights[0] += bias
    print(f"{len(rows)} people of {len(paths)} shards, {touch.mean():.0%} of their points touch")
    print(f"left out of the fit: F1 {f1(logit + bias, touch):.3f}; in use: {f1(in_use, touch):.3f}")
    print(f"bias {bias:.2f}; weights {np.array2string(weights, precision=2, separator=', ')}")


if __name__ == "__main__":
    main()
