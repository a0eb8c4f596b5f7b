"""How the camera turns, from the background: features tracked outside the people.

While a clip is decoded, small grey pictures are compared with a keyframe: features of the keyframe
are followed (Lucas-Kanade) and a homography is fitted robustly. A camera that turns on the spot
maps its pictures by K R K^-1, so the homographies give its rotations and, where it turns enough,
its focal length. Keyframes are looked at again when the view comes back, which bounds drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from scipy.ndimage import median_filter
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from hpsvid.common.boxes import resized
from hpsvid.common.pictures import resampled
from hpsvid.common.series import interpolate_rotations, runs
from hpsvid.types import Array, Detections, Frames, check_array
from hpsvid.video.flow import NO_FLOW, Flow, FlowWatch
from hpsvid.video.lines import MARGIN, NO_LINES, LineWatch, SceneLines, scene_lines

SIDE_PX = 320  # longer side of the pictures that are compared
FEATURES = 160
LEAST_FEATURES = 16  # that agree, for a picture to count as seen
INNER = 0.6  # of a box's size: what is seen there is hardly the background
NEW_KEY_SHARE = 0.5  # of the keyframe's features; with fewer another keyframe is needed
NEW_KEY_SHIFT = 0.3  # of the picture's side
MOST_KEYS = 64
LOST_FRAMES = 8  # after so many the background is looked for anew, as if nothing had moved
AGREE_PX = 1.0  # how far a feature may be from where the homography puts it
# A standing camera's pictures agree with one another within this, px of the small pictures, in all
# but one in twenty of runs of STEADY frames, by their medians: a person who covers most of the
# background shifts it for some frames. Of the 13 rendered takes 0-12 (tools.tables.world) the
# standing ones have medians up to 0.06, the others from 1.9 on.
STANDS_PX = 0.35
STEADY = 9
FOCAL_TURN_DEG = 5.0  # a camera that turns less does not tell its focal length
FOCAL_RANGE = (0.5, 3.0)  # of the picture's longer side
PARALLAX_PX = 1.2  # a camera that only turns leaves less between its pictures, in the median


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """What each frame's picture says about the camera: a homography from its keyframe's picture."""

    key: Array  # (F,) int64, frame of the keyframe; -1: nothing was seen
    homography: Array  # (F, 3, 3) float64, px of the small pictures
    scale: float  # small pictures' px per px
    width: int  # px of the clip
    height: int
    segments: Array  # (S, 4) float64 x0 y0 x1 y1 px of the clip, straight lines of the scene
    segment_frame: Array  # (S,) int64, frames of the clip
    flow_frames: Array  # (M, 2) int64, frames of the clip between which the background flows
    flow: Array  # (M, N, 4) int16, as `FlowWatch.steps` has it

    def __post_init__(self) -> None:
        check_array(self, "key", (None,), "i")
        n = len(self.key)
        check_array(self, "homography", (n, 3, 3), "f")
        if n and (self.key.min() < -1 or self.key.max() >= n):
            raise ValueError("key: expected -1 or a frame's number")
        check_array(self, "segments", (None, 4), "f")
        check_array(self, "segment_frame", (len(self.segments),), "i")
        if not ((self.segment_frame >= 0) & (self.segment_frame < n)).all():
            raise ValueError("segment_frame: expected a frame's number")
        check_array(self, "flow_frames", (None, 2), "i")
        check_array(self, "flow", (len(self.flow_frames), None, 4), "i")
        ends = self.flow_frames.ravel()  # one step ends where the next begins, or before
        if len(ends) and not (ends[0] >= 0 and (np.diff(ends) >= 0).all() and ends[-1] < n):
            raise ValueError("flow_frames: expected frames' numbers, in order")
        if not (np.diff(self.flow_frames) > 0).all():
            raise ValueError("flow_frames: expected steps from a frame to a later one")
        if not (0 < self.scale <= 1 and self.width > 0 and self.height > 0):
            raise ValueError("expected a size above 0 and a scale in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraTurn:
    """How a camera turns."""

    turns: Array  # (F, 3, 3): a direction in frame f's axes, in those of its shot's first frame
    stands: bool  # it does not move at all: `turns` are exactly the identity
    parallax: bool  # it moves sideways or forward, too
    focal_px: float | None  # where the turning tells it
    seen: float  # share of frames in which the background was followed
    lost: bool = False  # how it turns is not known
    lines: SceneLines = NO_LINES
    flow: Flow = NO_FLOW


@dataclass(slots=True, eq=False)
class _Key:
    frame: int
    grey: Array
    points: Array  # (N, 1, 2) float32
    link: Array  # (3, 3): from the picture of the shot's first keyframe


@dataclass
class BackgroundWatch:
    """Follows the background from frame to frame; give it every frame in order."""

    width: int
    height: int
    _keys: list[_Key] = field(default_factory=list)
    _now: Array | None = None  # where the current keyframe's features were last
    _alive: Array | None = None  # (N,) bool
    _grey: Array | None = None
    _key: list[int] = field(default_factory=list)
    _maps: list[Array] = field(default_factory=list)
    _lost: int = 0  # frames since the background was last followed
    _boxes: Array = field(default_factory=lambda: np.zeros((0, 4)))  # where people were last seen
    _lines: LineWatch = field(default_factory=LineWatch)
    _flow: FlowWatch = field(default_factory=FlowWatch)
    _moves: bool = False  # in this shot

    def __post_init__(self) -> None:
        self._scale = min(1.0, SIDE_PX / max(self.width, self.height))
        self._size = (
            max(16, round(self.width * self._scale)), max(16, round(self.height * self._scale))
        )  # fmt: skip

    def see(self, frames: Frames, cuts: Array, detections: Sequence[Detections]) -> None:
        """A chunk of frames; cuts: (N,) bool; detections: of some of them."""
        looks = {people.frame_index: people.boxes for people in detections}
        for index, rgb, pts, cut in zip(frames.index, frames.rgb, frames.pts_s, cuts, strict=True):
            self._boxes = looks.get(int(index), self._boxes)
            self._lines.look(rgb, self._boxes, len(self._key), float(pts), cut=bool(cut))
            grey = self.update(rgb, self._boxes, cut=bool(cut))
            if self._moves:
                self._flow.look(grey, self._boxes * self._scale, int(index), float(pts))
            else:
                self._flow.pause()

    def update(self, rgb: Array, boxes: Array, *, cut: bool) -> Array:
        """One more frame: rgb (H, W, 3) uint8, people's boxes (D, 4) px, whether a shot begins.

        Returns the small picture that is looked at.
        """
        grey = cv2.extractChannel(resampled(rgb, *self._size), 1)
        self._look(grey, boxes, cut=cut)
        return grey

    def _look(self, grey: Array, boxes: Array, *, cut: bool) -> None:
        frame = len(self._key)
        if cut or not self._keys:
            self._keys, self._moves = [], False
            self._begin(frame, grey, boxes, np.eye(3))
            self._note(frame if len(self._keys[-1].points) >= LEAST_FEATURES else -1, np.eye(3))
            return
        found = self._follow(grey, boxes)
        if found is None:  # a flash, somebody before the lens: the picture before is kept
            self._note(-1, np.eye(3))
            self._lost += 1
            if self._lost >= LOST_FRAMES:
                self._lost = 0
                self._begin(frame, grey, boxes, self._keys[-1].link)
            return
        self._lost = 0
        self._moves |= _shift(found, self._size) > STANDS_PX
        key = self._keys[-1].frame
        if self._is_far(found):
            key, found = self._again(frame, grey, boxes, found)
        self._grey = grey
        self._note(key, found)

    def steps(self) -> Steps:
        """What all frames so far say."""
        flow_frames, flow = self._flow.steps()
        return Steps(
            key=np.array(self._key, np.int64),
            homography=np.array(self._maps, np.float64).reshape(-1, 3, 3),
            scale=self._scale,
            width=self.width,
            height=self.height,
            segments=np.concatenate([np.zeros((0, 4)), *self._lines.segments]),
            segment_frame=np.concatenate([np.zeros(0), *self._lines.frames]).astype(np.int64),
            flow_frames=flow_frames,
            flow=flow,
        )

    def _note(self, key: int, homography: Array) -> None:
        self._key.append(key)
        self._maps.append(homography)

    def _begin(self, frame: int, grey: Array, boxes: Array, link: Array) -> None:
        """Take this frame as the keyframe; link: the homography from the shot's first one."""
        for size in (1 + 2 * MARGIN, INNER):  # people who fill the picture leave little around them
            mask = np.full(grey.shape, 255, np.uint8)
            for x0, y0, x1, y1 in resized(boxes * self._scale, size).clip(0).astype(int):
                mask[y0 : y1 + 1, x0 : x1 + 1] = 0
            points = cv2.goodFeaturesToTrack(grey, FEATURES, 0.01, 6, mask=mask, blockSize=5)
            points = np.zeros((0, 1, 2), np.float32) if points is None else points
            if len(points) > 2 * LEAST_FEATURES:
                break
        self._keys = [*self._keys[-MOST_KEYS + 1 :], _Key(frame, grey, points, link)]
        self._now, self._grey = points.copy(), grey
        self._alive = np.ones(len(points), bool)

    def _follow(self, grey: Array, boxes: Array) -> Array | None:
        """The homography from the keyframe to this picture; None where too little agrees."""
        assert self._now is not None and self._alive is not None and self._grey is not None
        alive = np.flatnonzero(self._alive)
        if len(alive) < LEAST_FEATURES:
            return None
        last = self._now[alive]
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            self._grey, grey, last, np.empty_like(last), winSize=(13, 13), maxLevel=3
        )
        kept = status[:, 0].astype(bool) & ~self._hidden(moved[:, 0], boxes)
        found, agree = _homography(self._keys[-1].points[alive[kept]], moved[kept])
        if found is not None:
            self._now[alive] = moved
            self._alive[:] = False
            self._alive[alive[kept][agree]] = True
        return found

    def _hidden(self, points: Array, boxes: Array) -> Array:
        """Whether points (N, 2) of the small picture are outside it or in one of the boxes."""
        x, y = points.T
        hidden = (x < 1) | (y < 1) | (x > self._size[0] - 2) | (y > self._size[1] - 2)
        for x0, y0, x1, y1 in resized(boxes * self._scale, INNER):
            hidden |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
        return hidden

    def _is_far(self, homography: Array) -> bool:
        """Whether the view has left the keyframe's."""
        assert self._alive is not None
        if self._alive.mean() < NEW_KEY_SHARE:
            return True
        return bool(_shift(homography, self._size) > NEW_KEY_SHIFT * max(self._size))

    def _again(self, frame: int, grey: Array, boxes: Array, found: Array) -> tuple[int, Array]:
        """Go on from an older keyframe that this picture shows again, or make this one a keyframe.

        found: the homography from the keyframe in use. Returns the keyframe that this frame is
        measured from, and the homography from it.
        """
        last = self._keys[-1]
        for key in self._keys[-2::-1]:
            start = found @ last.link @ np.linalg.inv(key.link)
            far = _shift(start, self._size) > NEW_KEY_SHIFT / 2 * max(self._size)
            if far or len(key.points) < LEAST_FEATURES:
                continue
            guess = cv2.perspectiveTransform(key.points, start)
            moved, status, _ = cv2.calcOpticalFlowPyrLK(
                key.grey, grey, key.points, guess.astype(np.float32), winSize=(13, 13), maxLevel=1,
                flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
            )  # fmt: skip
            kept = status[:, 0].astype(bool) & ~self._hidden(moved[:, 0], boxes)
            matched, agree = _homography(key.points[kept], moved[kept])
            if matched is not None and agree.sum() > NEW_KEY_SHARE * len(kept):
                self._keys = [*(known for known in self._keys if known is not key), key]
                self._now, self._alive = moved, kept
                return key.frame, matched
        self._begin(frame, grey, boxes, found @ last.link)
        return last.frame, found


def _homography(before: Array, after: Array) -> tuple[Array | None, Array]:
    """What takes points (N, 1, 2) to points (N, 1, 2), and which agree (N,); None: too few."""
    none = np.zeros(len(before), bool)
    if len(before) < LEAST_FEATURES:
        return None, none
    found, agree = cv2.findHomography(before, after, cv2.RANSAC, AGREE_PX, maxIters=300)
    if found is None or agree.sum() < max(LEAST_FEATURES, len(before) / 3):
        return None, none
    return found, agree[:, 0].astype(bool)


def _grid(width: float, height: float) -> Array:
    """Twelve points (12, 2) over a picture."""
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 4) * width, np.linspace(0.1, 0.9, 3) * height)
    return np.stack([x.ravel(), y.ravel()], -1)


def _mapped(homography: Array, points: Array) -> Array:
    """Points (N, 2) through homographies (..., 3, 3): (..., N, 2)."""
    seen = points @ homography[..., :2].mT + homography[..., None, :, 2]
    return seen[..., :2] / np.where(np.abs(seen[..., 2:]) < 1e-6, 1e-6, seen[..., 2:])


def _shift(homography: Array, size: tuple[int, int]) -> float:
    """How far a homography moves a picture's points, px, in the median."""
    grid = _grid(*size)
    return float(np.median(np.linalg.norm(_mapped(homography, grid) - grid, axis=-1)))


def still_camera(frames: int) -> CameraTurn:
    """A camera that does not move."""
    turns = np.tile(np.eye(3), (frames, 1, 1))
    return CameraTurn(turns=turns, stands=True, parallax=False, focal_px=None, seen=1.0)


def camera_turn(steps: Steps, focal_px: float, *, focal_known: bool) -> CameraTurn:
    """The rotations that a clip's steps tell, about a camera with its axis in the middle.

    focal_px: of the clip's pictures; where it is guessed only and the camera turns enough, the
    turning tells it.
    """
    size = (steps.width * steps.scale, steps.height * steps.scale)
    grid = _grid(*size)
    followed = np.flatnonzero((steps.key >= 0) & (steps.key != np.arange(len(steps.key))))
    after = _mapped(steps.homography[followed], grid)
    moved = np.linalg.norm(after - grid, axis=-1).mean(-1)
    seen = float((steps.key >= 0).mean())
    steady = median_filter(moved, STEADY, mode="nearest")
    if not len(followed) or np.quantile(steady, 0.95) < STANDS_PX:
        still = still_camera(len(steps.key))
        return replace(still, seen=seen, lines=_lines(steps, still.turns, focal_px))
    middle = np.array(size) / 2
    found = None
    if not focal_known:
        found = _focal(grid - middle, after - middle, max(size), focal_px * steps.scale)
    focal = focal_px * steps.scale if found is None else found
    relative, left = _rotations(grid - middle, after - middle, focal)
    turns = np.tile(np.eye(3), (len(steps.key), 1, 1))
    of_frame = dict(zip(followed.tolist(), relative, strict=True))
    for frame, key in enumerate(steps.key):
        if frame in of_frame:
            turns[frame] = turns[key] @ of_frame[frame].T
        elif frame > 0 and key < 0:  # not seen: as before
            turns[frame] = turns[frame - 1]
    for gap in runs(steps.key < 0):
        if gap.start > 0 and gap.stop < len(turns) and steps.key[gap.stop] != gap.stop:
            ends = [gap.start - 1, gap.stop]
            turns[gap] = interpolate_rotations(
                np.arange(gap.start, gap.stop), np.array(ends), turns[ends][:, None]
            )[:, 0]
    return CameraTurn(
        turns=turns,
        stands=False,
        parallax=bool(np.median(left) > PARALLAX_PX),
        focal_px=None if found is None else found / steps.scale,
        seen=seen,
        lines=_lines(steps, turns, focal / steps.scale),
        flow=Flow(frames=steps.flow_frames, stored=steps.flow, size=size, focal_px=focal),
    )


def _lines(steps: Steps, turns: Array, focal_px: float) -> SceneLines:
    size = (steps.width, steps.height)
    return scene_lines(steps.segments, steps.segment_frame, turns, focal_px, size)


def _rotations(before: Array, after: Array, focal: float) -> tuple[Array, Array]:
    """Rotations (N, 3, 3) that take directions to directions, and what they leave, (N,) px.

    before: (P, 2) px from the middle; after: (N, P, 2).
    """

    def rays(points: Array) -> Array:
        out = np.concatenate([points, np.full_like(points[..., :1], focal)], -1)
        return out / np.linalg.norm(out, axis=-1, keepdims=True)

    a, b = rays(before), rays(after)
    u, _, vt = np.linalg.svd(b.mT @ a)
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    R = u @ vt
    turned = a @ R.mT
    seen = focal * turned[..., :2] / np.maximum(turned[..., 2:], 1e-3)
    return R, np.linalg.norm(seen - after, axis=-1).mean(-1)


def _focal(before: Array, after: Array, side: float, guess: float) -> float | None:
    """The focal length, px, that explains the pictures best by turning alone; None: not told."""
    turned = Rotation.from_matrix(_rotations(before, after, guess)[0]).as_rotvec(degrees=True)
    tilt = np.linalg.norm(turned[:, :2], axis=-1)  # turning about the view tells nothing
    use = tilt > min(FOCAL_TURN_DEG, np.quantile(tilt, 0.9))
    if np.quantile(tilt, 0.95) < FOCAL_TURN_DEG:
        return None

    def left(log_focal: float) -> float:
        return float(np.median(_rotations(before, after[use], np.exp(log_focal))[1]))

    low, high = (np.log(share * side) for share in FOCAL_RANGE)
    best = minimize_scalar(left, bounds=(low, high), method="bounded", options={"xatol": 0.005})
    at_end = min(best.x - low, high - best.x) < 0.05
    flat = left(best.x + 0.3) < 1.1 * best.fun + 0.02 and left(best.x - 0.3) < 1.1 * best.fun + 0.02
    return None if at_end or flat else float(np.exp(best.x))
