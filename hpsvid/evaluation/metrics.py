"""Errors and smoothness of 3D points. Positions go in as metres, errors come out as millimetres.

Arrays are pred, gt (T, J, 3) m: joints, or a mesh's vertices. A point counts where its truth and
its prediction are finite; a measure over nothing is NaN. Errors of each point, (T, J) with NaN
where it does not count, come from `joint_errors`, `aligned_errors` and their like; `mean`,
`joint_means`, `pck` and `auc` sum them up, over several tracks after `np.concatenate`.
"""

from collections.abc import Sequence

import numpy as np

from hpsvid.types import Array

MM = 1000.0
PCK_MM = 150.0  # half a head; MPI-INF-3DHP (Mehta et al., 3DV 2017)
AUC_STEPS = 31  # thresholds 0, 5, ..., 150 mm, as there
CONTACT_M_S = 0.3  # a foot slower than this stands: WHAM's (Shin et al., CVPR 2024) 1 cm at 30 fps


def joint_errors(pred: Array, gt: Array, root: int | tuple[int, ...] | None = None) -> Array:
    """Distance (T, J) mm of each point from its truth.

    root: the joint (or joints, their middle) that both are moved to first; None compares as is.
    Frames whose root is not known count for nothing.
    """
    if root is not None:
        joints = np.atleast_1d(root)
        pred = pred - pred[:, joints].mean(1, keepdims=True)
        gt = gt - gt[:, joints].mean(1, keepdims=True)
    return _errors(pred, gt, known_points(pred, gt))


def aligned_errors(pred: Array, gt: Array) -> Array:
    """Distance (T, J) mm after the best similarity (rotation, scale, shift) of each frame.

    Frames with fewer than three points that count are left out.
    """
    mask = known_points(pred, gt)
    mask &= mask.sum(1, keepdims=True) >= 3
    return _errors(_align_similarity(pred, gt, mask), gt, mask)


def mpjpe(pred: Array, gt: Array, root: int | tuple[int, ...] | None = None) -> float:
    """Mean per-joint position error, mm; `root` as in `joint_errors`. Of vertices it is PVE."""
    return mean(joint_errors(pred, gt, root))


def pa_mpjpe(pred: Array, gt: Array) -> float:
    """MPJPE after the best similarity (rotation, scale, shift) of each frame, mm."""
    return mean(aligned_errors(pred, gt))


def mean(errors: Array) -> float:
    """Mean of the errors that count, whatever their shape."""
    counted = errors[np.isfinite(errors)]
    return float(counted.mean()) if len(counted) else float("nan")


def joint_means(errors: Array) -> Array:
    """Mean (J,) of each point's errors (T, J) over the frames where it counts."""
    return np.array([mean(column) for column in errors.T])


def pck(errors: Array, threshold_mm: float = PCK_MM) -> float:
    """Share in [0, 1] of the errors that count which are at most `threshold_mm` (3D PCK)."""
    counted = errors[np.isfinite(errors)]
    return float((counted <= threshold_mm).mean()) if len(counted) else float("nan")


def auc(errors: Array) -> float:
    """Mean PCK over thresholds from 0 to 150 mm, as MPI-INF-3DHP (Mehta et al., 3DV 2017)."""
    return float(np.mean([pck(errors, limit) for limit in np.linspace(0, PCK_MM, AUC_STEPS)]))


def _align_similarity(pred: Array, gt: Array, mask: Array) -> Array:
    """`pred` (T, J, 3) under each frame's similarity that fits it best to `gt` where `mask`."""
    scale, rotation, shift = fitted(pred, gt, mask)
    return scale[:, None, None] * pred @ rotation.swapaxes(1, 2) + shift[:, None]


def fitted(
    pred: Array, gt: Array, mask: Array, *, scaled: bool = True
) -> tuple[Array, Array, Array]:
    """The similarity that fits each frame of `pred` (T, J, 3) best to `gt` where `mask` (T, J).

    Returns scales (T,), rotations (T, 3, 3) and shifts (T, 3); not `scaled`: scales are 1.
    Least squares without reflections: Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", PAMI 1991.
    """
    weight = mask[..., None].astype(np.float64)
    count = np.maximum(weight.sum(1, keepdims=True), 1)
    source, target = np.where(mask[..., None], pred, 0.0), np.where(mask[..., None], gt, 0.0)
    source_mean = source.sum(1, keepdims=True) / count
    target_mean = target.sum(1, keepdims=True) / count
    source, target = (source - source_mean) * weight, (target - target_mean) * weight
    u, sizes, vt = np.linalg.svd(target.swapaxes(1, 2) @ source)
    signs = np.ones_like(sizes)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * signs[:, None]) @ vt
    spread = np.maximum((source**2).sum((1, 2)), np.finfo(np.float64).tiny)
    scale = (sizes * signs).sum(1) / spread if scaled else np.ones(len(pred))
    shift = target_mean - scale[:, None, None] * source_mean @ rotation.swapaxes(1, 2)
    return scale, rotation, shift[:, 0]


def acceleration_errors(pred: Array, gt: Array, fps: float) -> Array:
    """Distance (T - 2, J) mm/s^2 between the accelerations, by central second differences.

    A point counts where all three frames do.
    """
    mask = known_points(pred, gt)
    ours, inner = _difference(pred, 2, fps, mask)
    truth, _ = _difference(gt, 2, fps, mask)
    return _errors(ours, truth, inner)


def acceleration_error(pred: Array, gt: Array, fps: float) -> float:
    """Mean size of the difference between the joints' accelerations, mm/s^2.

    Papers that say mm/frame^2 mean this number divided by fps^2.
    """
    return mean(acceleration_errors(pred, gt, fps))


def jerk_sizes(joints: Array, fps: float) -> Array:
    """Size (T - 3, J) of each point's third derivative, m/s^3, by third differences at `fps`.

    Their mean is jitter, as TransPose (Yi et al., SIGGRAPH 2021) reports it, there in 10^2 m/s^3.
    """
    third, inner = _difference(joints, 3, fps, known_points(joints, joints))
    return _errors(third, np.zeros_like(third), inner) / MM


def speeds(points: Array, fps: float) -> Array:
    """Speed (T - 1, J) m/s of each point (T, J, 3) m, by first differences at `fps`."""
    first, inner = _difference(points, 1, fps, known_points(points, points))
    return _errors(first, np.zeros_like(first), inner) / MM


def ratio_of_percentiles(values: Array, truth: Array, percent: float) -> float:
    """A percentile of `values` over that of `truth`, where both count; NaN where nothing does."""
    counted = np.isfinite(values) & np.isfinite(truth)
    if not counted.any():
        return float("nan")
    return ratio(*(float(np.percentile(v[counted], percent)) for v in (values, truth)))


def ratio(value: float, reference: float) -> float:
    """`value` over `reference`; NaN where the reference is 0."""
    return value / reference if reference else float("nan")


def skate_speeds(pred: Array, gt: Array, fps: float, feet: Sequence[int]) -> Array:
    """Speed (T - 1, feet) of feet while the truth's stand still, mm/s; in axes that do not move.

    pred, gt: (T, J, 3) m, not moved to a root; feet: the points to watch. A foot stands from one
    frame to the next when its truth is slower than `CONTACT_M_S`. Their mean is foot skate, which
    WHAM (Shin et al., CVPR 2024) gives in mm/frame: divided by fps.
    """
    mask = known_points(pred, gt)[:, feet]
    ours, inner = _difference(pred[:, feet], 1, fps, mask)
    truth, _ = _difference(gt[:, feet], 1, fps, mask)
    stands = inner & (np.linalg.norm(truth, axis=-1) < CONTACT_M_S)
    return _errors(ours, np.zeros_like(ours), stands)


def _difference(points: Array, order: int, fps: float, mask: Array) -> tuple[Array, Array]:
    """Derivative (T - order, J, 3) of points (T, J, 3) and where all its frames count."""
    count = max(len(points) - order, 0)
    inner = np.logical_and.reduce([mask[i : i + count] for i in range(order + 1)])
    return np.diff(points.astype(np.float64), n=order, axis=0) * fps**order, inner


def known_points(pred: Array, gt: Array) -> Array:
    """Whether a point is known in both: (..., J) bool of (..., J, 3). ValueError: other shapes."""
    if pred.shape != gt.shape:
        raise ValueError(f"metrics: prediction {pred.shape} and truth {gt.shape} differ in shape")
    return np.asarray(np.isfinite(pred).all(-1) & np.isfinite(gt).all(-1))


def _errors(pred: Array, gt: Array, mask: Array) -> Array:
    """Distances (T, J) in thousandths of the arrays' unit, NaN where not `mask`."""
    return np.where(mask, np.linalg.norm(pred - gt, axis=-1) * MM, np.nan)
