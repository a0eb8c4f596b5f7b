"""Where hiding a part of the picture hurts: the occlusion-sensitivity map of one frame.

A grey patch slides over the person, and each time the error of the pose is taken, after Zeiler and
Fergus ("Visualizing and understanding convolutional networks", ECCV 2014) with MPJPE in place of a
class's score, as PARE (Kocabas et al., ICCV 2021) and NIKI (supplement F) do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from hpsvid.body.skeleton import SMPL
from hpsvid.common.boxes import areas
from hpsvid.common.geometry import image_of
from hpsvid.common.tables import Column, Table
from hpsvid.common.threads import one_thread
from hpsvid.errors import InputError, NoPersonError
from hpsvid.evaluation.metrics import joint_errors, joint_means, mean
from hpsvid.evaluation.occlude import MARGIN
from hpsvid.evaluation.truth import Truth
from hpsvid.pipeline.stages import Context, load_backbone, load_chosen_solver, solve_track
from hpsvid.tracking import load_detector
from hpsvid.tracking.tracker import track_in_one_frame
from hpsvid.types import Array, Clip, Frames
from hpsvid.video.reader import read_frames

PATCH = 40 / 224  # of the person's picture, as in PARE
GREY = 128
_ROOT = 0  # the pelvis


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensitivity:
    """Errors with the patch at each place of a grid."""

    rgb: Array  # (H, W, 3) uint8, the picture as it is
    square: Array  # (4,) x0 y0 x1 y1 px, that the patch slides over
    errors: Array  # (N, N, 24) mm, row by row; NaN where the person was lost
    clean: Array  # (24,) mm, without a patch
    against_truth: bool  # False: against the pose that is found without a patch


def sensitivity(context: Context, frame: int, *, steps: int, truth: Truth | None) -> Sensitivity:
    """Hide each of `steps` x `steps` places of the largest person in a frame, and solve again.

    Every picture is looked at by itself, without its neighbours in time. Raises InputError when
    the clip has no such frame or the truth does not know it, NoPersonError when nobody is seen.
    """
    clip, options = context.clip, context.options
    rgb = _frame(clip, frame)
    whole = Frames(rgb=rgb[None], index=np.zeros(1, np.int64), pts_s=np.zeros(1))
    (detections,) = load_detector(options.detector, threads=options.threads, device=options.device)(
        whole
    )
    if len(detections.boxes) == 0:
        raise NoPersonError(f"{clip.path}: no person found in frame {frame}")
    box = detections.boxes[areas(detections.boxes).argmax()]
    gt = None if truth is None else _true_joints(truth, frame, box, clip)
    middle, side = (box[:2] + box[2:]) / 2, MARGIN * float((box[2:] - box[:2]).max())
    centres = (np.arange(steps) + 0.5) / steps - 0.5
    places = [middle + side * np.array([x, y]) for y in centres for x in centres]
    # one at a time: together they would take gigabytes
    pictures = chain([rgb], (hidden(rgb, place, PATCH * side) for place in places))
    poses = _poses(pictures, 1 + len(places), box, context)
    if not np.isfinite(poses[0]).all():
        raise NoPersonError(f"{clip.path}: the person in frame {frame} is not seen well enough")
    wanted = poses[0] if gt is None else gt
    errors = joint_errors(poses, np.broadcast_to(wanted, poses.shape), root=_ROOT)
    half = side / 2
    return Sensitivity(
        rgb=rgb,
        square=np.concatenate([middle - half, middle + half]),
        errors=errors[1:].reshape(steps, steps, SMPL.n_rotations),
        clean=errors[0],
        against_truth=gt is not None,
    )


def hidden(rgb: Array, centre: Array, side: float) -> Array:
    """A copy of the picture with a grey square of `side` px about `centre` (2,) px."""
    height, width = rgb.shape[:2]
    low = np.round(centre - side / 2).clip(0, [width, height]).astype(int)
    high = np.round(centre + side / 2).clip(0, [width, height]).astype(int)
    out = rgb.copy()
    out[low[1] : high[1], low[0] : high[0]] = GREY
    return out


def _frame(clip: Clip, frame: int) -> Array:
    count = 0
    for frames in read_frames(clip):
        count += len(frames)
        if frame < count:
            return frames.rgb[frame - frames.index[0]].copy()
    raise InputError(f"{clip.path}: has {count} frames, --frame {frame} is not one of them")


def _true_joints(truth: Truth, frame: int, box: Array, clip: Clip) -> Array:
    """The true joints (24, 3) m of the person at a box (4,) px."""
    if truth.points != "joints":
        raise InputError(f"{truth.name}: knows points of the surface; expected SMPL's joints")
    joints = [
        person.points[frame - person.frame_index[0]]
        for person in truth.people
        if person.frame_index[0] <= frame <= person.frame_index[-1]
    ]
    joints = np.array([points for points in joints if np.isfinite(points).all()])
    if len(joints) == 0:
        raise InputError(f"{truth.name}: does not know frame {frame} of {clip.path}")
    away = image_of(joints, truth.K).mean(axis=1) - (box[:2] + box[2:]) / 2
    return joints[int((away**2).sum(axis=1).argmin())]


def _poses(pictures: Iterable[Array], count: int, box: Array, context: Context) -> Array:
    """Joints (N, 24, 3) m of the person at the box in each picture; NaN where nobody is seen."""
    tracks = [track_in_one_frame(i, i, box) for i in range(count)]
    backbone = load_backbone(tracks, context)
    for i, rgb in enumerate(pictures):
        backbone.observe(Frames(rgb=rgb[None], index=np.array([i]), pts_s=np.zeros(1)))
        context.clock.progress("slide the patch", i + 1, count)
    solver = load_chosen_solver(context.body, context.options)
    poses = np.full((count, SMPL.n_rotations, 3), np.nan)
    with one_thread():
        for track, obs in zip(tracks, backbone.observations(), strict=True):
            if obs.valid[0]:
                person = solve_track(track, obs, np.zeros(count), solver, context)
                poses[track.id] = person.joints[0, : SMPL.n_rotations]
    return poses


def heat_map(hurt: Sensitivity) -> Array:
    """The picture (H, W, 3) uint8 with warm colours where a patch makes the error large.

    The scale beside it begins at the error without a patch. Where the person is lost altogether
    the colour is the scale's end.
    """
    grid = np.array([[mean(cell) for cell in row] for row in hurt.errors])
    least = mean(hurt.clean)
    most = max(float(np.nanmax(grid, initial=least)), least + 1)
    level = np.nan_to_num((grid - least) / (most - least), nan=1.0).clip(0, 1)
    height, width = hurt.rgb.shape[:2]
    x0, y0, x1, y1 = hurt.square
    # the picture's pixels as places on the grid
    columns = ((np.arange(width) + 0.5 - x0) / (x1 - x0) * grid.shape[1] - 0.5).astype(np.float32)
    rows = ((np.arange(height) + 0.5 - y0) / (y1 - y0) * grid.shape[0] - 0.5).astype(np.float32)
    across, down = np.meshgrid(columns, rows)
    smooth = cv2.remap(
        level.astype(np.float32), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = ((columns > -0.5) & (columns < grid.shape[1] - 0.5))[None] & (
        (rows > -0.5) & (rows < grid.shape[0] - 0.5)
    )[:, None]
    grey = np.repeat(hurt.rgb.mean(-1, keepdims=True), 3, -1)
    out = np.where(inside[..., None], 0.45 * grey + 0.55 * _colours(smooth), grey)
    return _with_scale(out.round().astype(np.uint8), least, most)


def _colours(level: Array) -> Array:
    """Warm (1) and cold (0) colours (..., 3) uint8 RGB."""
    bgr = cv2.applyColorMap((255 * level).round().astype(np.uint8), cv2.COLORMAP_TURBO)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _with_scale(rgb: Array, least: float, most: float) -> Array:
    """The picture with a colour scale at its right edge."""
    height = rgb.shape[0]
    unit = max(height // 40, 8)  # px
    strip = np.full((height, 8 * unit, 3), 255, np.uint8)
    top, bottom = 3 * unit, height - 3 * unit
    ramp = np.linspace(1, 0, bottom - top)[:, None].repeat(unit, 1)
    strip[top:bottom, unit : 2 * unit] = _colours(ramp)
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = round(bottom - share * (bottom - top))
        cv2.putText(
            strip, f"{least + share * (most - least):.0f} mm", (round(2.5 * unit), y + unit // 3),
            cv2.FONT_HERSHEY_SIMPLEX, unit / 26, (40, 40, 40), max(1, unit // 14), cv2.LINE_AA,
        )  # fmt: skip
    return np.concatenate([rgb, strip], 1)


def table(hurt: Sensitivity) -> str:
    """Each joint's error as Markdown: without a patch, the mean and the worst over its places."""
    what = "the truth" if hurt.against_truth else "the pose without a patch"
    cells = hurt.errors.reshape(-1, SMPL.n_rotations)
    worst = np.nanmax(cells, axis=0, initial=0)
    figures = zip(hurt.clean, joint_means(cells), worst, strict=True)
    rows = [[name, *row] for name, row in zip(SMPL.rotation_names, figures, strict=True)]
    rows.append(["all", mean(hurt.clean), mean(cells), worst.max()])
    columns = [Column(name, form="{:.0f}") for name in ("no patch", "mean", "worst")]
    errors = Table([Column(f"error against {what}, mm", align="left"), *columns], rows)
    lost = int(np.isnan(cells).all(1).sum())
    return f"{errors.markdown()}\n\nThe person is lost at {lost} of {len(cells)} places."
