"""The protocols that compare solvers on held-back motion; every number with its seed fixed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body, load_body
from hpsvid.common.records import take
from hpsvid.common.tables import Column, Table
from hpsvid.common.weights import weights_path
from hpsvid.evaluation.metrics import MM, acceleration_error, acceleration_errors, mpjpe, pa_mpjpe
from hpsvid.ik import ikol, load_solver
from hpsvid.ik.hybrik import Mode, solve
from hpsvid.ik.networks import Network, NetworkSolver, load_network
from hpsvid.ik.tensors import Evidence, Person, posed_joints
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.noise import Noise, hidden_joints, observe
from hpsvid.mocap.sources import even_windows
from hpsvid.options import SolverName
from hpsvid.types import N_JOINTS, N_ROTATIONS

NOISE_LEVELS_MM = (0, 10, 20, 30, 50, 80)  # NIKI supplement D
SEEN_MM, HIDDEN_MM = 20, 150  # error of a visible joint, and of a hidden one
SMPL_JOINTS = N_ROTATIONS  # the errors are over SMPL's joints, as in the papers

Method = Callable[[Evidence, Person], Tensor]
"""Evidence of windows, with its errors -> rotations (B, T, 24, 3, 3) in the evidence's axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one method under one protocol."""

    mpjpe: float  # mm, the pelvises together
    pa_mpjpe: float  # mm
    acceleration: float  # mm/frame^2, as the papers give it


def hybrik_method(evidence: Evidence, person: Person, mode: Mode = "adaptive") -> Tensor:
    """Analytic IK."""
    return solve(evidence.joints, person.rest.expand_as(evidence.joints), evidence.twist, mode)


def ikol_method(evidence: Evidence, person: Person) -> Tensor:
    """Gauss-Newton IK, started over time and weighted by the sigmas."""
    return ikol.solve(
        evidence.joints,
        person.rest.expand_as(evidence.joints),
        evidence.twist,
        sigma=person.sigma,
        in_time=True,
    )


def network_method(model: Network, windows: int = 16) -> Method:
    """A network, `windows` windows in a batch."""

    def method(evidence: Evidence, person: Person) -> Tensor:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(evidence.joints), windows):
                rows = slice(start, start + windows)
                parts.append(model.rotations(take(evidence, rows), take(person, rows)))
        return torch.cat(parts)

    return method


def score(rotmats: Tensor, truth: Tensor, rest: Tensor) -> Score:
    """Errors of rotations (B, T, 24, 3, 3) against the true ones on one skeleton."""
    rest = rest.expand(*truth.shape[:2], *rest.shape[-2:])
    solved, true = (
        posed_joints(r, rest)[:, :, :SMPL_JOINTS].double().numpy() for r in (rotmats, truth)
    )
    pred, gt = (joints.reshape(-1, SMPL_JOINTS, 3) for joints in (solved, true))
    pace = [acceleration_error(s, t, 1.0) for s, t in zip(solved, true, strict=True)]
    return Score(
        mpjpe=mpjpe(pred, gt), pa_mpjpe=pa_mpjpe(pred, gt), acceleration=float(np.mean(pace))
    )


def noisy_windows(
    poses: Tensor, body: Body, *, level_mm: float | None, told: bool, seed: int
) -> tuple[Evidence, Person]:
    """Evidence of windows (B, T, 24, 3, 3) with the errors of one protocol.

    level_mm: independent Gaussian error of every joint and axis (the noise curve), twists exact
    as in the papers; None: occlusion on motion (XOCC), 20 mm where visible and 150 mm where hidden,
    twists to match. told: sigmas say the true size within 20 %; otherwise they are 30 mm
    throughout, whatever the error is.
    """
    generator = torch.Generator().manual_seed(seed)
    b, t = poses.shape[:2]
    betas = torch.randn(b, 1, 10, generator=generator)
    rest = body.rest_joints(betas)
    angle = 2 * torch.pi * torch.rand(b, 1, generator=generator)
    view = torch.stack([angle.sin(), 0 * angle - 0.2, angle.cos()], -1).expand(b, t, 3)
    view = view / view.norm(dim=-1, keepdim=True)
    ones = torch.ones(b, 1, 1)
    if level_mm is None:
        joints = posed_joints(poses, rest.expand(b, t, N_JOINTS, 3))
        up = torch.tensor([0.0, 1.0, 0.0])
        hidden = hidden_joints(joints, view, up, generator, phase=False)
        sigma = torch.where(hidden, HIDDEN_MM / MM, SEEN_MM / MM)
        noise = Noise(
            sigma=sigma, rho=0.5 * ones[..., None], depth=ones, doubt=0.2 * ones, twist=4 * ones
        )
    else:
        sigma = torch.full((b, t, N_JOINTS), level_mm / MM)
        noise = Noise(
            sigma=sigma, rho=0 * ones[..., None], depth=ones, doubt=0.2 * ones, twist=0 * ones
        )
    evidence, reported = observe(poses, rest, view, noise, generator)
    person = Person(
        rest=rest,
        betas=betas,
        view=view,
        sigma=reported if told else torch.full_like(reported, 0.03),
        valid=torch.ones(b, t, dtype=torch.bool),
    )
    return evidence, person


def compare(
    methods: Mapping[str, Method],
    poses: Tensor,
    body: Body,
    *,
    levels: Sequence[float | None] = (*NOISE_LEVELS_MM, None),
    told: bool = True,
    seed: int = 0,
) -> dict[tuple[str, float | None], Score]:
    """Every method under every noise level (None: XOCC on motion), by (method, level)."""
    scores = {}
    for level in levels:
        evidence, person = noisy_windows(poses, body, level_mm=level, told=told, seed=seed)
        for name, method in methods.items():
            scores[name, level] = score(method(evidence, person), poses, person.rest)
    return scores


def table(scores: Mapping[tuple[str, float | None], Score]) -> Table:
    """MPJPE (PA-MPJPE, acceleration error) of each method at each noise level."""
    names = list(dict.fromkeys(name for name, _ in scores))
    levels = list(dict.fromkeys(level for _, level in scores))
    columns = [
        Column("XOCC" if level is None else f"{level:g} mm", form="{:.1f} ({:.1f}, {:.1f})")
        for level in levels
    ]
    rows = [[name, *(astuple(scores[name, level]) for level in levels)] for name in names]
    return Table([Column("MPJPE (PA-MPJPE, accel) mm", align="left"), *columns], rows)


def solve_time_ms(method: Method, evidence: Evidence, person: Person, repeats: int = 5) -> float:
    """Milliseconds a frame for one window, the median of `repeats` runs after one to warm up."""
    evidence, person = take(evidence, slice(0, 1)), take(person, slice(0, 1))
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        method(evidence, person)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]) * 1e3 / evidence.joints.shape[1])


def ratios(scores: Mapping[tuple[str, float | None], Score]) -> Table:
    """XOCC: errors, and their change against analytic and frame-based IK where those are compared.

    The paper's: twist-and-swing 38.7 % of PA-MPJPE under HybrIK; temporal 19.7 % of MPJPE and
    76.7 % of acceleration error under frame-based (NIKI Table 2, supplement's Table 2).
    """
    xocc = {name: astuple(score) for (name, level), score in scores.items() if level is None}
    against = [name for name in ("hybrik", "niki") if name in xocc]
    columns = [Column("XOCC", align="left")]
    columns += [Column(head, form="{:.1f}")
                for head in ("MPJPE mm", "PA-MPJPE mm", "accel mm/frame^2")]  # fmt: skip
    columns += [Column(f"{what} against {name}", form="{:+.1%}")
                for name in against for what in ("MPJPE", "PA", "accel")]  # fmt: skip
    rows = []
    for name, errors in xocc.items():
        changes = [
            "" if name == other else error / reference - 1
            for other in against
            for error, reference in zip(errors, xocc[other], strict=True)
        ]
        rows.append([name, *errors, *changes])
    return Table(columns, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Solvers on the same windows of held-back motion; every mapping begins with their names."""

    windows: int
    length: int  # frames of a window
    told: Mapping[tuple[str, float | None], Score]  # sigmas say the size of the error
    untold: Mapping[tuple[str, float | None], Score]  # sigmas say 30 mm throughout
    ms: Mapping[str, float]  # ms a frame, one window
    acceleration: Mapping[str, np.ndarray]  # (length - 2,) mm/frame^2, one window under XOCC


def compare_solvers(
    data: Path,
    names: Sequence[SolverName],
    *,
    mlp: Path | None = None,
    windows: int = 24,
    length: int = 64,
) -> Comparison:
    """The noise curve, XOCC and time of solvers by name; every seed fixed.

    data: folder of held-back motion; mlp: weights of the baseline (`hpsvid train mlp`), compared
    too. Raises InputError when no clip is `length` frames long.
    """
    body = load_body(weights_path("free_body"))
    methods = {str(name): method_for(name, body) for name in names}
    if mlp is not None:
        methods["mlp"] = network_method(load_network(mlp))
    poses = even_windows(tuple(read_mocap_folder(data, body)), length, windows)
    told, untold = (compare(methods, poses, body, told=told) for told in (True, False))
    evidence, person = noisy_windows(poses[:1], body, level_mm=None, told=True, seed=0)
    truth = posed_joints(poses[0], person.rest[0].expand(length, -1, -1))[:, :SMPL_JOINTS]
    curves = {}
    for name, method in methods.items():
        solved = posed_joints(method(evidence, person)[0], person.rest[0].expand(length, -1, -1))
        errors = acceleration_errors(solved[:, :SMPL_JOINTS].numpy(), truth.numpy(), 1.0)
        curves[name] = errors.mean(1)
    return Comparison(
        windows=len(poses),
        length=length,
        told=told,
        untold=untold,
        ms={name: solve_time_ms(method, evidence, person) for name, method in methods.items()},
        acceleration=curves,
    )


def comparison_text(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    heading = f"ms a frame, one window, {torch.get_num_threads()} threads"
    times = Table(
        [Column("solver", align="left"), Column(heading, form="{:.2f}")],
        list(comparison.ms.items()),
    )
    told, untold = comparison.told, comparison.untold
    return "\n".join(
        [
            f"{comparison.windows} windows of {comparison.length} frames; sigmas say the size of "
            "the error:", "", table(told).markdown(), "", ratios(told).markdown(), "",
            "sigmas say 30 mm throughout:", "", table(untold).markdown(), "",
            ratios(untold).markdown(), "", times.markdown(),
        ]
    )  # fmt: skip


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values: for each solver its scores by level, told and untold."""

    def plain(scores: Mapping[tuple[str, float | None], Score], name: str) -> dict[str, Any]:
        return {
            "xocc" if level is None else f"{level:g} mm": asdict(s)
            for (n, level), s in scores.items()
            if n == name
        }

    return {
        name: {"told": plain(comparison.told, name), "untold": plain(comparison.untold, name),
               "ms_a_frame": ms}
        for name, ms in comparison.ms.items()
    }  # fmt: skip


def method_for(name: SolverName, body: Body) -> Method:
    """How the solver `name` turns evidence of windows into rotations."""
    solver = load_solver(name, body)
    if isinstance(solver, NetworkSolver):
        return network_method(solver.model)
    direct = {
        "hybrik": hybrik_method,
        "hybrik-naive": partial(hybrik_method, mode="naive"),
        "ikol": ikol_method,
    }
    return direct[name]
