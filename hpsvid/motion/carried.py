"""How a camera is carried over the ground that it sees, from how the ground flows in its picture.

Between two pictures a plane moves by what the camera turns and by how far it goes in its heights
over the plane (Longuet-Higgins, Proc. R. Soc. B 1986). One normal holds for a whole shot; it is
settled together with all the steps, by reweighted least squares. What is not on the plane does not
agree with it and falls out, and what is far counts little: there walls and trees begin.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.common.series import chunks
from hpsvid.motion.smoothing import biweight
from hpsvid.motion.upright import tangents
from hpsvid.types import Array
from hpsvid.video.flow import Flow

# Chosen on rendered takes (tools.tables.world, seeds 0-34 and six from 303 to 314) and pexels.
NOISE_PX = 0.12  # of a feature's flow, in small pictures
OUTLIER = 3.0  # of what is usual for the step: what is further off does not count
CALMING = 0.7  # from round to round, of what counts as usual
NEAR = 1.0  # of the median distance: what is further off counts less
LEAST_SINE = 0.03  # below the horizon
TURN_RAD, GO_HEIGHTS = 0.03, 0.5  # of a step: what the background says of turning is off; travel
ROUNDS, EACH = 4, 4  # of mending the turns, and of what goes before
AGREE_PX = 0.8  # from where the plane takes it: a feature that is on it
LEAST_FEATURES, LEAST_SHARE = 8, 0.6  # of a step, that are: else it says nothing
# Of those that could be on the ground, over a shot: with less, walls and what stands about may be
# taken for it. Right ways of rendered takes have 0.84 to 1.0, wrong ones 0.66 to 0.80.
GROUND_SHARE = 0.83
SURE = 6.0  # standard deviations that the way is long: a camera that turns only does not travel,
LEAST_HEIGHTS = 0.1  # nor does one that hands hold
# By how much ground that people stand on is not level; what the flow says of its slope counts for a
# quarter, because its errors repeat from step to step.
SLOPE, SLOPE_WEIGHT = np.deg2rad(2.0), 0.25
CHUNK = 256  # steps that are worked on at once: some 20 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverPlane:
    """How a camera goes over a plane, in steps between frames of a shot."""

    frames: Array  # (S, 2)
    shift: Array  # (S, 3) in heights over the plane at the step's start, axes of the first frame
    covariance: Array  # (S, 3, 3) of it
    agree: Array  # (S,) share of the features that are on the plane
    seen: Array  # (S,) bool: whether the plane is; where it is not, a step says nothing
    turns: Array  # (F, 3, 3), mended
    normal: Array  # (3,) of the plane as the flow alone has it, axes of the first frame
    information: Array  # (2, 2) 1/rad^2 of the normal, along its `tangents`

    def levelled(self, up: Array, sigma: float) -> tuple[Array, float]:
        """Up (3,), off by `sigma` rad in all, and what it is off by, told by the plane, too."""
        own = np.linalg.inv(SLOPE_WEIGHT * self.information) + SLOPE**2 * np.eye(2)
        weight = np.linalg.inv(own)
        whole = weight + 2 / sigma**2 * np.eye(2)
        up = up + np.linalg.solve(whole, weight @ (tangents(up) @ self.normal)) @ tangents(up)
        return up / np.linalg.norm(up), float(np.sqrt(np.trace(np.linalg.inv(whole))))

    def within(self, first: int, end: int) -> "OverPlane":
        """The steps from frame `first` to before `end`, whose frames count from `first` on."""
        kept = (self.frames[:, 0] >= first) & (self.frames[:, 1] < end)
        steps = {n: getattr(self, n)[kept] for n in ("shift", "covariance", "agree", "seen")}
        return replace(self, frames=self.frames[kept] - first, turns=self.turns[first:end], **steps)

    @property
    def travels(self) -> bool:
        """Whether it goes further than what it may be off."""
        if self.seen.mean() < LEAST_SHARE or self.agree.mean() < GROUND_SHARE:
            return False
        way = np.linalg.norm(np.cumsum(self.shift[self.seen], 0), axis=1)
        doubt = np.sqrt(np.cumsum(np.trace(self.covariance[self.seen], axis1=1, axis2=2)))
        return bool((way > np.maximum(SURE * doubt, LEAST_HEIGHTS)).any())


def over_plane(flow: Flow, turns: Array, up: Array, sigma: float) -> OverPlane | None:
    """How the camera of a shot goes; None where nothing flows.

    turns: (F, 3, 3), from a frame's axes to the first one's; up: (3,) about the plane's normal in
    these, off by `sigma` rad.
    """
    if not len(flow.frames):
        return None
    first, last = flow.frames.T
    relative = turns[first].mT @ turns[last]
    state = np.zeros((len(first), 6))  # shift, turning, in the axes of a step's first frame
    normal, mended, usual, noise = up, turns, 1.0, NOISE_PX / flow.focal_px
    for _ in range(ROUNDS):
        for _ in range(EACH):
            fits, weight = [], np.eye(2) / sigma**2
            pull = weight @ tangents(normal) @ up
            for part in chunks(len(first), CHUNK):
                axes = (mended[first[part]], relative[part])
                fits.append(_fit(flow.points(part), noise, axes, normal, state[part], usual))
            weight = weight + sum(fit.weight for fit in fits)
            off = np.linalg.solve(weight, pull + sum(fit.pull for fit in fits))
            state += np.concatenate([fit.change - fit.by_normal @ off for fit in fits])
            normal = normal + off @ tangents(normal)
            normal /= np.linalg.norm(normal)
            usual *= CALMING
        seen = np.concatenate([fit.seen for fit in fits])
        mended = _mended(turns, flow.frames, state[:, 3:] * seen[:, None])
    own = sum(fit.weight for fit in fits) + np.eye(2)
    off = np.linalg.solve(own, sum(fit.pull for fit in fits))
    covariance = np.concatenate([fit.covariance for fit in fits])
    ahead = mended[first]
    return OverPlane(
        frames=flow.frames, shift=(ahead @ state[:, :3, None])[..., 0],
        covariance=ahead @ covariance @ ahead.mT, seen=seen, turns=mended,
        agree=np.concatenate([fit.agree for fit in fits]),
        normal=normal + off @ tangents(normal), information=own,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fit:
    """One Gauss-Newton step of some steps' shift and turning (6), and of the normal (2)."""

    change: Array  # (C, 6), less by_normal @ the normal's change
    by_normal: Array  # (C, 6, 2)
    weight: Array  # (2, 2) 1/rad^2 of the normal
    pull: Array  # (2,)
    covariance: Array  # (C, 3, 3) of the shift
    agree: Array  # (C,) share of the features that are on the plane
    seen: Array  # (C,) bool: whether a plane is


def _fit(
    points: Array, noise: float, axes: tuple[Array, Array], normal: Array, state: Array,
    usual: float,
) -> _Fit:  # fmt: skip
    """One step for C steps of the camera.

    points: (C, N, 2, 2), as `Flow` has them; noise: theirs. axes: (C, 3, 3) twice, from a step's
    first frame's to the shot's, and from its last frame's to its first one's. state: (C, 6). usual:
    how much of the median that is left counts as usual.
    """
    valid = np.isfinite(points[:, :, 0, 0])
    before, after = np.where(valid[..., None], points[:, :, 0], 0), points[:, :, 1]
    ray = np.concatenate([before, np.ones_like(before[..., :1])], -1)
    sine = -ray @ (axes[0].mT @ normal)[..., None] / np.linalg.norm(ray, axis=-1, keepdims=True)
    ground = valid & (sine[..., 0] > LEAST_SINE)
    after = np.where(ground[..., None], after, 0)
    far = 1 / np.where(ground, -(ray @ (axes[0].mT @ normal)[..., None])[..., 0], 1)
    place = ray * far[..., None]
    back = (axes[1] @ Rotation.from_rotvec(state[:, 3:]).as_matrix()).mT
    moved = (place - state[:, None, :3]) @ back.mT
    depth = moved[..., 2:].clip(0.05)
    left = (after - moved[..., :2] / depth) / noise
    seen = np.zeros((*valid.shape, 2, 3))  # by the place before the second camera
    seen[..., 0, 0] = seen[..., 1, 1] = 1 / depth[..., 0]
    seen[..., 2] = -moved[..., :2] / depth**2
    slope = ray @ (tangents(normal) @ axes[0]).mT * far[..., None]
    turning = np.cross(moved[..., None, :], np.eye(3))  # (C, N, 3, 3): rows, by each axis
    by = (
        seen
        / noise
        @ np.concatenate(
            [
                np.broadcast_to(-back[:, None], turning.shape),
                turning.mT,
                (place @ back.mT)[..., None] * slope[..., None, :],
            ],
            -1,
        )
    )
    size = np.linalg.norm(left, axis=-1)
    scale = np.maximum(1.48 * usual * _median(size, ground), 1)
    far = far / _median(far, ground) / NEAR
    carries = biweight(np.minimum(size / (OUTLIER * scale), 1)) / (1 + far**4)
    return _solved(by, left, np.where(ground, carries, 0), scale[:, 0], (state, size, ground))


def _solved(
    by: Array, left: Array, carries: Array, scale: Array, before: tuple[Array, Array, Array]
) -> _Fit:
    """by: (C, N, 2, 8), what is left (C, N, 2) by each unknown; carries: (C, N); scale: (C,).

    before: the state (C, 6), the size of what is left (C, N), and what may be ground (C, N).
    """
    state, size, ground = before
    square = np.einsum("cnki,cnkj,cn->cij", by, by, carries)
    pull = np.einsum("cnki,cnk,cn->ci", by, left, carries)
    prior = np.repeat([GO_HEIGHTS, TURN_RAD], 3) ** -2.0
    own = np.linalg.inv(square[:, :6, :6] + np.diag(prior))
    change = (own @ (pull[:, :6] - prior * state)[..., None])[..., 0]
    by_normal = own @ square[:, :6, 6:]
    agree = (ground & (size * NOISE_PX < AGREE_PX)).sum(1)
    seen = (agree > LEAST_FEATURES) & (agree > LEAST_SHARE * ground.sum(1))
    sure = seen / scale**2
    weight = square[:, 6:, 6:] - square[:, :6, 6:].mT @ by_normal
    rest = pull[:, 6:] - (square[:, :6, 6:].mT @ change[..., None])[..., 0]
    return _Fit(
        change=change, by_normal=by_normal, seen=seen, agree=agree / np.maximum(ground.sum(1), 1),
        weight=(weight * sure[:, None, None]).sum(0), pull=(rest * sure[:, None]).sum(0),
        covariance=own[:, :3, :3] * scale[:, None, None] ** 2,
    )  # fmt: skip


def _median(values: Array, counts: Array) -> Array:
    """The medians (C, 1) of those of the values (C, N) > 0 that count; 1 where none does."""
    ordered = np.sort(np.where(counts, values, np.inf), 1)
    middle = np.maximum(counts.sum(1, keepdims=True) - 1, 0) // 2
    found = np.take_along_axis(ordered, middle, 1)
    return np.where(np.isfinite(found), found, 1.0)


def _mended(turns: Array, frames: Array, more: Array) -> Array:
    """The turns (F, 3, 3) with what each step (S, 2) turns more (S, 3) rad, evenly on its way."""
    mended, so_far, begin = turns.copy(), np.eye(3), 0
    for (first, last), step in zip(frames, more, strict=True):
        mended[begin : first + 1] = so_far @ turns[begin : first + 1]
        begin = last + 1
        share = np.arange(1, last - first + 1) / (last - first)
        turned = turns[last] @ step  # in the axes of the shot's first frame
        added = so_far @ Rotation.from_rotvec(share[:, None] * turned).as_matrix()
        mended[first + 1 : last + 1] = added @ turns[first + 1 : last + 1]
        so_far = added[-1]
    mended[begin:] = so_far @ turns[begin:]
    return mended
