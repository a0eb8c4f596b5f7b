"""Errors and smoothness of 3D joints. Positions go in as metres, errors come out as millimetres.

Arrays are pred, gt (T, J, 3) m. A joint counts where its truth and its prediction are finite and
the optional mask `valid`, (T,) or (T, J), is True; a measure over nothing is NaN.
"""

import numpy as np

from hpsvid.types import Array

MM = 1000.0


def mpjpe(
    pred: Array, gt: Array, valid: Array | None = None, root: int | tuple[int, ...] | None = None
) -> float:
    """Mean per-joint position error, mm.

    root: the joint (or joints, their middle) that both are moved to first; None compares as is.
    Frames whose root is not known count for nothing.
    """
    if root is not None:
        joints = np.atleast_1d(root)
        pred = pred - pred[:, joints].mean(1, keepdims=True)
        gt = gt - gt[:, joints].mean(1, keepdims=True)
    return _mean_error(pred, gt, _mask(pred, gt, valid))


def pa_mpjpe(pred: Array, gt: Array, valid: Array | None = None) -> float:
    """MPJPE after the best similarity (rotation, scale, shift) of each frame, mm.

    Frames with fewer than three joints that count are left out.
    """
    mask = _mask(pred, gt, valid)
    mask &= mask.sum(1, keepdims=True) >= 3
    return _mean_error(align_similarity(pred, gt, mask), gt, mask)


def align_similarity(pred: Array, gt: Array, mask: Array) -> Array:
    """`pred` (T, J, 3) under each frame's similarity that fits it best to `gt` where `mask` (T, J).

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
    scale = (sizes * signs).sum(1) / spread
    turned = (pred - source_mean) @ rotation.swapaxes(1, 2)
    return scale[:, None, None] * turned + target_mean


def acceleration(joints: Array, fps: float, valid: Array | None = None) -> float:
    """Mean size of the joints' acceleration, mm/s^2, by central second differences at `fps`."""
    second, mask = _second_difference(joints, fps, _mask(joints, joints, valid))
    return _mean_error(second, np.zeros_like(second), mask)


def acceleration_error(pred: Array, gt: Array, fps: float, valid: Array | None = None) -> float:
    """Mean size of the difference between the joints' accelerations, mm/s^2.

    Papers that say mm/frame^2 mean this number divided by fps^2.
    """
    mask = _mask(pred, gt, valid)
    ours, inner = _second_difference(pred, fps, mask)
    truth, _ = _second_difference(gt, fps, mask)
    return _mean_error(ours, truth, inner)


def jitter(joints: Array, fps: float, valid: Array | None = None) -> float:
    """Mean size of the joints' third derivative (jerk), m/s^3, by third differences at `fps`.

    As TransPose (Yi et al., SIGGRAPH 2021) reports it, there in 10^2 m/s^3.
    """
    mask = _mask(joints, joints, valid)
    third = np.diff(joints.astype(np.float64), n=3, axis=0) * fps**3
    inner = mask[3:] & mask[2:-1] & mask[1:-2] & mask[:-3]
    return _mean_error(third, np.zeros_like(third), inner) / MM


def _second_difference(joints: Array, fps: float, mask: Array) -> tuple[Array, Array]:
    """Accelerations (T - 2, J, 3) m/s^2 and where all three frames count."""
    second = np.diff(joints.astype(np.float64), n=2, axis=0) * fps**2
    return second, mask[2:] & mask[1:-1] & mask[:-2]


def _mask(pred: Array, gt: Array, valid: Array | None) -> Array:
    if pred.shape != gt.shape:
        raise ValueError(f"metrics: prediction {pred.shape} and truth {gt.shape} differ in shape")
    mask = np.isfinite(pred).all(-1) & np.isfinite(gt).all(-1)
    if valid is None:
        return np.asarray(mask)
    return mask & (valid if valid.ndim == 2 else valid[:, None])


def _mean_error(pred: Array, gt: Array, mask: Array) -> float:
    """Mean distance where `mask`, in thousandths of the arrays' unit."""
    if not mask.any():
        return float("nan")
    return float(np.linalg.norm((pred - gt)[mask], axis=-1).mean() * MM)
