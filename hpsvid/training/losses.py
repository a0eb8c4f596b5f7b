"""The losses of NIKI (Eq. 7-16), GIK-Net and MLP-IK."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpsvid.common.records import join, take
from hpsvid.ik.gik import MISSING_M, GikNet, hide_joints
from hpsvid.ik.hybrik import twists
from hpsvid.ik.mlp import MlpIk
from hpsvid.ik.niki import Niki
from hpsvid.ik.tensors import (
    UNIT_M,
    Evidence,
    Person,
    Pose,
    posed_joints,
    rotation_6d_to_rotmat,
    rotmat_to_6d,
    swings_of,
    to_rest_axes,
    turn_root,
)
from hpsvid.types import N_JOINTS

# inverse multiquadratics, widths in squared distance per feature (Ardizzone et al., ICLR 2019,
# use 0.05, 0.2, 0.9 for a handful of features)
KERNEL_WIDTHS = (0.05, 0.2, 0.9)
MMD_FRAMES = 256  # frames that enter the discrepancy; its cost is quadratic


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of Eq. 16 as in supplement B; 0 switches a term off."""

    inv: float = 1.0
    fwd: float = 1.0
    ind: float = 1.0
    bnd_i: float = 0.1
    bnd_f: float = 1.0
    swing: float = 1.0  # of the swings inside the other terms, both ways (Sec. 3.4)
    acceleration: float = 0.0  # of temporal models' jitter; not in the paper


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Windows of evidence with the truth behind it, in the windows' own axes."""

    evidence: Evidence
    person: Person
    exact: Person  # as `person`, but of the truth: with its sigmas, what a boundary is given
    rotmats: Tensor  # (B, T, 24, 3, 3) true rotations


def niki_loss(
    model: Niki, batch: Batch, weights: LossWeights, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, float]]:
    """Total loss of a batch (Eq. 16) and its unweighted terms; `generator` draws z of Eq. 11.

    The boundaries (Eq. 12-15) are drawn on the first quarter of the windows.
    """
    person, truth = batch.person, rotmat_to_6d(batch.rotmats)
    rest = person.rest.expand(*person.valid.shape, *person.rest.shape[-2:])
    joints = posed_joints(batch.rotmats, rest)
    swings = rotmat_to_6d(swings_of(joints, rest)) if model.second is not None else None
    size = len(truth)
    few = slice(0, (size + 3) // 4)
    exact = take(batch.exact, few)
    clean = Evidence(joints=joints[few], twist=twists(batch.rotmats[few], rest[few]))
    terms: dict[str, Tensor] = {}

    def mean(errors: Tensor, at: slice = slice(None)) -> Tensor:
        valid = person.valid[at]
        return (errors.flatten(2).sum(-1) * valid).sum() / valid.sum()

    def pose_error(solved: Pose, at: slice = slice(None)) -> Tensor:
        error = mean((solved.rotations - truth[at]).square(), at)
        if solved.swings is not None and swings is not None:
            error = error + weights.swing * mean((solved.swings - swings[at]).square(), at)
        return error

    # inverse direction; the boundary goes along in the same pass, as more windows
    if weights.bnd_i:
        both = model.solve(join(batch.evidence, clean), join(person, exact))
        solved, solved_clean = take(both, slice(0, size)), take(both, slice(size, None))
        terms["bnd_i"] = mean(solved_clean.z.square(), few) + pose_error(solved_clean, few)
    else:
        solved = model.solve(batch.evidence, person)
    posed = posed_joints(rotation_6d_to_rotmat(solved.rotations), rest)
    terms["inv"] = pose_error(solved) + mean((posed - joints).abs() / UNIT_M)
    if weights.acceleration and model.config.attention:
        jitter = (posed - joints).diff(n=2, dim=1).abs() / UNIT_M
        terms["acceleration"] = mean(torch.nn.functional.pad(jitter, (0, 0, 0, 0, 2, 0)))
    if weights.ind:
        terms["ind"] = independence(solved, truth, person.valid, generator)

    # forward direction, from the true rotations, the boundary along with it
    rows = []
    if weights.fwd:
        rows.append(("fwd", slice(0, size), solved.z, batch.evidence, person))
    if weights.bnd_f:
        rows.append(("bnd_f", few, torch.zeros_like(solved.z[few]), clean, exact))
    if rows:
        pose = Pose(
            rotations=torch.cat([truth[at] for _, at, *_ in rows]),
            swings=None if swings is None else torch.cat([swings[at] for _, at, *_ in rows]),
            z=torch.cat([z for _, _, z, *_ in rows]),
        )
        people = join(*(row[-1] for row in rows))
        explained, _, turned = model.explain(pose, people, teach_swings=True, whole=False)
        start = 0
        for name, at, z, target, _ in rows:
            part = slice(start, start + len(z))
            start += len(z)
            error = mean((explained.joints[part] - target.joints).abs() / UNIT_M, at)
            error = error + mean((explained.twist[part] - target.twist).square(), at)
            if turned is not None and swings is not None:
                error = error + weights.swing * mean((turned[part] - swings[at]).square(), at)
            terms[name] = error
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.item() for name, term in terms.items()}


def independence(
    solved: Pose, truth: Tensor, valid: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """L_ind (Eq. 11): MMD between (R, z) as solved and true R with z of N(0, 1).

    The rotations are not taught by it, only z (as Ardizzone et al. do): being independent must
    not be bought with worse poses.
    """
    rotations, z = solved.rotations.detach()[valid], solved.z[valid]
    keep = torch.randperm(len(z), generator=generator)[:MMD_FRAMES]
    drawn = torch.randperm(len(z), generator=generator)[:MMD_FRAMES]
    noise = torch.randn(len(drawn), z.shape[-1], generator=generator).to(z)
    solved_frames = torch.cat([rotations[keep], z[keep]], -1)
    true_frames = torch.cat([truth[valid][drawn], noise], -1)
    return mmd(solved_frames, true_frames)


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples (N, D), (M, D); Gretton et al., JMLR 2012."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
        distance = distance / a.shape[-1]
        return torch.stack([c / (c + distance) for c in KERNEL_WIDTHS]).sum(0).mean()

    return kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)


MASKED_SHARE = 0.3  # of a frame's joints are hidden in training ("random synthetic occlusion 30%")


def gik_loss(
    model: GikNet, batch: Batch, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, float]]:
    """L1 of refined joints, rotations and posed joints; `generator` draws the joints to hide.

    The paper's L_ii, L_theta and L_vi, the latter over joints; a mean over the valid frames of sums
    over their features, joints in units of `niki.UNIT_M`.
    """
    sigma, valid = batch.person.sigma, batch.person.valid
    drawn = torch.rand(sigma.shape, generator=generator).to(sigma) < MASKED_SHARE
    hidden = hide_joints(batch.evidence, batch.person, (sigma > MISSING_M) | drawn)
    turn, evidence, person = to_rest_axes(*hidden, framewise=True)
    truth = turn_root(turn, batch.rotmats)
    rest = person.rest.expand(*valid.shape, N_JOINTS, 3)
    joints = posed_joints(truth, rest)
    refined, rotations = model(evidence, person)
    posed = posed_joints(rotation_6d_to_rotmat(rotations), rest)
    errors = {
        "refine": (refined - joints).flatten(2) / UNIT_M,
        "theta": rotations - rotmat_to_6d(truth),
        "joints": (posed - joints).flatten(2) / UNIT_M,
    }
    terms = {
        name: (error.abs().sum(-1) * valid).sum() / valid.sum() for name, error in errors.items()
    }
    return torch.stack([*terms.values()]).sum(), {name: t.item() for name, t in terms.items()}


def mlp_loss(model: MlpIk, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """L_inv of NIKI (Eq. 7), the only direction that an MLP has."""
    rotations = model(batch.evidence, batch.person)
    valid = batch.person.valid
    rest = batch.person.rest.expand(*valid.shape, N_JOINTS, 3)
    turned = (rotations - rotmat_to_6d(batch.rotmats)).square().sum(-1)
    off = posed_joints(rotation_6d_to_rotmat(rotations), rest) - posed_joints(batch.rotmats, rest)
    errors = turned + off.abs().flatten(2).sum(-1) / UNIT_M
    total = (errors * valid).sum() / valid.sum()
    return total, {"inv": total.item()}
