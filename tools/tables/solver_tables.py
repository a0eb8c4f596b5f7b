"""HybrIK's and IKOL's tables on the reference poses, as Markdown; every number with its seed fixed.

    python -m tools.tables.solver_tables [--ref ../shared/ref] [--threads 2]

Table 1: what twist angles change; Table 2: Gauss-Newton against closed form under noise; Table 3:
naive against adaptive; Table 4: time. Tables 1 of HybrIK and 2, 4 of IKOL with this project's body
and solvers; the jitter of tables 2 and 3 is uniform within +-k mm on each axis of every joint but
the pelvis. Joints: mean error over SMPL's 24, pelvises together.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.common.geometry import nearest_rotation, rotation_about, unit
from hpsvid.common.tables import Column, Table
from hpsvid.common.weights import weights_path
from hpsvid.evaluation.metrics import MM
from hpsvid.ik import hybrik, ikol
from hpsvid.ik.hybrik import twists
from hpsvid.ik.ikol import MOVES, SWUNG, bone_frames, gauss_newton_step, swing_jacobian

Row = Sequence[Any]
Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Joints (..., 29, 3) m, rest skeleton and twists to rotations (..., 24, 3, 3)."""

# the published parametrisation of IKOL, of SMPL's joints without the leaves
LEAVES = tuple(joint for joint in SWUNG if SMPL.children[joint][0] >= SMPL.n_rotations)
ANGLED = tuple(joint for joint in range(1, SMPL.n_rotations) if joint not in LEAVES)
SEED = 0
LEVELS_MM = (0, 10, 20, 30)
REPEATS = 16  # jitters of the 64 poses
TWIST_ERROR_DEG = 10  # of an estimated twist
PAPER = {  # Li et al., CVPR 2021, Table 3: 24-joint error in mm at LEVELS_MM
    "naive": "0.1/16.2/34.0/53.4",
    "adaptive": "0.1/9.8/20.2/31.2",
}
SOLVERS: dict[str, Solve] = {
    "HybrIK, naive": lambda *given: hybrik.solve(*given, mode="naive"),
    "HybrIK, adaptive": hybrik.solve,
    "IKOL": ikol.solve,
}


def table(title: str, heading: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """Rows of a name and figures under `heading` and `columns`."""
    return Table([Column(heading, align="left"), *columns], rows, title=title)


def joint_error_mm(rotmats: Tensor, rest: Tensor, joints: Tensor) -> float:
    """Mean distance in mm of SMPL's joints, posed by `rotmats`, from `joints` (..., 29, 3) m."""
    posed, _ = forward_kinematics(rotmats, rest)
    off = posed - posed[..., :1, :] - joints + joints[..., :1, :]
    return off[..., : SMPL.n_rotations, :].norm(dim=-1).mean().item() * MM


def rotation_error_deg(rotmats: Tensor, truth: Tensor) -> float:
    """Mean angle in degrees between parent-relative rotations."""
    off = (rotmats.mT @ truth).diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.rad2deg(((off - 1) / 2).clamp(-1, 1).acos()).mean().item()


def twist_table(body: Body, ref: dict[str, Tensor]) -> Table:
    """HybrIK's Table 1 on the free body: joints do not depend on the twist, the surface does."""
    truth, betas = ref["pose_R"], ref["betas"]
    rest = body.rest_joints(betas)
    nowhere = torch.zeros(len(truth), 3)
    joints = body.joints(truth, betas, nowhere)
    surface = body.vertices(truth, betas, nowhere)
    generator = torch.Generator().manual_seed(SEED)
    exact = twists(truth, rest)
    angle = torch.atan2(exact[..., 1], exact[..., 0])
    error = math.radians(TWIST_ERROR_DEG) * torch.randn(angle.shape, generator=generator)
    anything = 2 * math.pi * torch.rand(angle.shape, generator=generator)
    rows = []
    for name, angles in (
        ("random", anything),
        (f"estimated (true, with {TWIST_ERROR_DEG} deg of noise)", angle + error),
        ("zero", torch.zeros_like(angle)),
        ("true", angle),
    ):
        twist = torch.stack([angles.cos(), angles.sin()], -1)
        for label in ("HybrIK, adaptive", "IKOL"):
            rotmats = SOLVERS[label](joints, rest, twist)
            far = (body.vertices(rotmats, betas, nowhere) - surface).norm(dim=-1).mean().item()
            errors = joint_error_mm(rotmats, rest, joints), rotation_error_deg(rotmats, truth)
            rows.append([name, label, errors[0], far * MM, errors[1]])
    columns = [
        Column("solver", align="left"), Column("joints mm", form="{:.2f}"),
        Column("vertices mm", form="{:.1f}"), Column("rotations deg", form="{:.1f}"),
    ]  # fmt: skip
    return table("Table 1, twist:", "twist", columns, rows)


def noise_tables(ref: dict[str, Tensor]) -> tuple[Table, Table]:
    """Tables 2 and 3: joint (and rotation) errors under the same jitter."""
    rest, joints, twist = ref["rest_J29"], ref["joints29_gt"], ref["phi"]
    generator = torch.Generator().manual_seed(SEED)
    spread = 2 * torch.rand(REPEATS, *joints.shape, generator=generator) - 1
    spread[..., 0, :] = 0
    errors: dict[str, list[tuple[float, float]]] = {}
    for name, solve in SOLVERS.items():
        solved = [solve(joints + spread * k / MM, rest, twist) for k in LEVELS_MM]
        errors[name] = [
            (joint_error_mm(r, rest, joints), rotation_error_deg(r, ref["pose_R"])) for r in solved
        ]
    adaptive, gauss_newton = errors["HybrIK, adaptive"], errors["IKOL"]
    less = [1 - g[0] / a[0] for g, a in zip(gauss_newton[1:], adaptive[1:], strict=True)]
    second: list[Row] = [[name, *errors[name]] for name in ("HybrIK, adaptive", "IKOL")]
    second.append(["joint error less by", "", *(f"{share:.0%}" for share in less)])
    third: list[Row] = []
    for name in ("naive", "adaptive"):
        third.append([name, *(mm for mm, _ in errors[f"HybrIK, {name}"])])
        third.append([f"{name}, paper", *PAPER[name].split("/")])
    pairs, singles = (
        [Column(f"{k} mm", form=form) for k in LEVELS_MM] for form in ("{:.2f} ({:.1f})", "{:.2f}")
    )
    return (
        table("Table 2, Gauss-Newton against closed form:",
              "joints mm (rotations deg) at jitter of", pairs, second),
        table("Table 3, naive against adaptive:", "joints mm at jitter of", singles, third),
    )  # fmt: skip


def time_table(ref: dict[str, Tensor], folder: Path) -> Table:
    """Table 4: milliseconds a frame at a batch of 64 frames, beside the authors' modules'."""
    rest, twist = ref["rest_J29"], ref["phi"]
    joints, sigma = ref["joints29_noisy"], torch.full(rest.shape[:-1], 0.03)
    ways = {**SOLVERS, "IKOL as `--ik ikol`": lambda j, r, t: ikol.solve(
        j, r, t, sigma=sigma, in_time=True
    )}  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(25):  # in turns, so that what else the machine does falls on all alike
            for name, solve in ways.items():
                begin = time.perf_counter()
                solve(joints, rest, twist)
                times[name].append((time.perf_counter() - begin) * 1e3 / len(joints))
    middle = {name: float(np.median(some[5:])) for name, some in times.items()}
    unit = middle["HybrIK, adaptive"]
    hybrik_ms = json.loads((folder / "hybrik_ik_timing.json").read_text())
    ikol_ms = json.loads((folder / "ikol.json").read_text())["timing"]
    stored = {
        "HybrIK, adaptive, released": hybrik_ms["adaptive_official_ikonly_B64"] / 64,
        "IKOL with mesh, released": ikol_ms["ikol_eff_full_B64"] / 64,
    }
    rows: list[Row] = [[name, ms, ms / unit] for name, ms in middle.items()]
    rows += [[f"{name} (stored)", ms, ""] for name, ms in stored.items()]
    columns = [
        Column("ms a frame", form="{:.3f}"), Column("of HybrIK, adaptive", form="{:.2f}")
    ]  # fmt: skip
    title = f"Table 4, time at a batch of {len(joints)} frames, {torch.get_num_threads()} threads:"
    return table(title, "solver", columns, rows)


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ref", type=Path, default=Path("../shared/ref"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with np.load(args.ref / "hybrik_ik.npz") as archive:
        ref = {key: torch.from_numpy(archive[key]) for key in archive.files}
    tables = [
        twist_table(load_body(weights_path("free_body")), ref), *noise_tables(ref),
        time_table(ref, args.ref),
    ]  # fmt: skip
    print("\n\n".join(made.markdown() for made in tables))


def joint_jacobian(rotmats: Tensor, rest: Tensor, twist: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (..., 28, 3) m from the pelvis, and their Jacobian (..., 50, 3, 28) m / rad.

    The derivative of all joints but the pelvis by the step of `ikol.turned_by`, at no step;
    analytic. `rotmats` have the twists given.
    """
    return swing_jacobian(rotmats, bone_frames(rest, twist), MOVES.to(rotmats))


def solve_released(
    joints: Tensor,
    rest: Tensor,
    twist: Tensor,
    leaves: Tensor,
    *,
    iterations: int = 5,
    damping: float = 0.1,
) -> Tensor:
    """Parent-relative rotations (..., 24, 3, 3) by the published parametrisation and settings.

    joints, rest: (..., 24, 3) m; twist: (..., 23, 2); leaves: (..., 5, 3, 3) rotations of the
    joints `LEAVES`, which are not solved for. One angle for each of the 18 joints of `ANGLED`
    starts at zero.
    """
    joints = joints - joints[..., :1, :]
    angles = joints.new_zeros(*joints.shape[:-2], len(ANGLED))
    hold = torch.tensor(damping).to(joints)
    for _ in range(iterations):
        _, found, jacobian = released_kinematics(angles, joints, rest, twist, leaves)
        angles = angles + gauss_newton_step(jacobian, joints - found, hold)
    return released_kinematics(angles, joints, rest, twist, leaves)[0]


def released_kinematics(
    angles: Tensor, joints: Tensor, rest: Tensor, twist: Tensor, leaves: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 3: swing `angles` (..., 18) rad to rotations, joints and their analytic Jacobian.

    Returns (..., 24, 3, 3); (..., 24, 3) m; (..., 18, 3, 24) m / rad. Other arguments as of
    `solve_released`, the pelvis of `joints` at the origin. A bone swings in the plane of where its
    parent carries it and where it is observed, so turning a joint also tilts the planes of all
    that follow: the released Jacobian leaves that out. Pelvis and spine3 follow the observation
    alone.
    """
    shape = angles.shape[:-1]
    one = torch.eye(len(ANGLED)).to(angles)  # (18, 18): which angle moves
    still = angles.new_zeros(*shape, len(ANGLED), 3)
    placed, moved = [joints[..., 0, :]], [still]
    turned: list[Tensor] = []
    local: list[Tensor] = []
    spins: list[Tensor] = []  # angular velocity by each angle (..., 18, 3)
    for joint in range(SMPL.n_rotations):
        parent = SMPL.parents[joint]
        children = [c for c in SMPL.children[joint] if c < SMPL.n_rotations]
        before = turned[parent] if joint else torch.eye(3).to(angles).expand(*shape, 3, 3)
        if joint:
            arm = (before @ (rest[..., joint, :] - rest[..., parent, :])[..., None])[..., 0]
            placed.append(placed[parent] + arm)
            moved.append(moved[parent] + torch.linalg.cross(spins[parent], arm[..., None, :]))
        bones = rest[..., children, :] - rest[..., joint : joint + 1, :]
        seen = joints[..., children, :] - joints[..., joint : joint + 1, :]
        if len(children) > 1:
            after, spin = nearest_rotation(seen.mT @ bones), still
        elif children:
            n = ANGLED.index(joint)
            axis = unit(bones[..., 0, :])
            carried = (before @ axis[..., None])[..., 0]
            normal = torch.linalg.cross(carried, unit(seen[..., 0, :]))
            plane = unit(normal)
            cos, sin = angles[..., n].cos(), angles[..., n].sin()
            swing = rotation_about(plane, cos, sin)
            roll = rotation_about(axis, *twist[..., joint - 1, :].unbind(-1))
            after = swing @ before @ roll
            drift = torch.linalg.cross(spins[parent], carried[..., None, :])
            drift = torch.linalg.cross(drift, unit(seen[..., :1, :]))
            drift = drift / normal.norm(dim=-1).clamp_min(1e-8)[..., None, None]
            plane = plane[..., None, :]
            drift = drift - (drift * plane).sum(-1, keepdim=True) * plane
            cos, sin = cos[..., None, None], sin[..., None, None]
            spin = one[n, :, None] * plane + sin * drift
            spin = spin + (1 - cos) * torch.linalg.cross(plane, drift) + spins[parent] @ swing.mT
        else:
            after, spin = before @ leaves[..., LEAVES.index(joint), :, :], still
        turned.append(after)
        local.append(before.mT @ after)
        spins.append(spin)
    return torch.stack(local, -3), torch.stack(placed, -2), torch.stack(moved, -1)


if __name__ == "__main__":
    main()
