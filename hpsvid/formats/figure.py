"""The people of a Motion as files have them: evenly timed, in a file's axes, unit and frame.

Every writer takes its people from `figures`, the one place that knows the frames of reference.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import forward_kinematics
from hpsvid.body.world import in_world
from hpsvid.common.geometry import slerp
from hpsvid.common.series import nearest
from hpsvid.errors import InputError
from hpsvid.formats.rig import evenly_timed, in_world_axes
from hpsvid.options import AxisName, ExportOptions
from hpsvid.types import Array, BodyParams, Motion, Person, World

# camera x right, y down, z forward -> world x right, y up, z towards the camera
CAMERA_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
# -> world x right, y forward, z up
CAMERA_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
WORLD_TO_Z_UP = CAMERA_TO_Z_UP @ CAMERA_TO_Y_UP  # of a world with y up, -z away from the camera
AXES: dict[AxisName, Array] = {"y": CAMERA_TO_Y_UP, "z": CAMERA_TO_Z_UP}
WORLD_AXES: dict[AxisName, Array] = {"y": np.eye(3), "z": WORLD_TO_Z_UP}
_UP_AXIS: dict[AxisName, int] = {"y": 1, "z": 2}
LOOP_FADE_S = 0.4  # at the seam of a cycle; about a third of a walking cycle


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """One person as a file has them, in rows at a constant rate.

    World point = turned rest point + place: SMPL turns a body about its pelvis.
    """

    person: Person
    betas: Array  # (10,)
    rotmats: Array  # (T, 24, 3, 3) float64, parent-relative; the pelvis's in the file's axes
    pelvis: Array  # (T, 3) float64, place of the pelvis
    rest: Array  # (29, 3) float64, joints of the rest pose, y up, facing +z
    up: AxisName  # the file's upward axis
    scale: float  # file units per metre
    fps: float  # Hz
    start_s: float  # of the first row, on the clip's clock
    rows: Array  # (T,) int64, frame of the track that is nearest to each row
    present: Array  # (T,) bool; False where the person is not in the clip and the pose is held

    @property
    def id(self) -> int:
        """The person's id in the clip."""
        return self.person.track.id

    @property
    def times_s(self) -> Array:
        """Times (T,) of the rows on the clip's clock."""
        return self.start_s + np.arange(len(self.rotmats)) / self.fps

    @cached_property
    def posed(self) -> tuple[Array, Array]:
        """Joints (T, 29, 3) in the file's axes and unit, global rotations (T, 24, 3, 3)."""
        rest = torch.from_numpy(self.rest - self.rest[0])
        joints, turned = forward_kinematics(torch.from_numpy(self.rotmats), rest)
        return joints.numpy() + self.pelvis[:, None], turned.numpy()

    def landmarks(self, body: Body) -> Array:
        """The 33 BlazePose landmarks (T, 33, 3) on the surface, in the file's axes and unit."""
        at = BodyParams(
            rotmats=self.rotmats.astype(np.float32),
            betas=self.betas,
            transl=((self.pelvis - self.rest[0]) / self.scale).astype(np.float32),
        )
        return body.landmarks_of(at) * self.scale


def figures(
    motion: Motion, body: Body, options: ExportOptions, default_up: AxisName = "y"
) -> list[Figure]:
    """Everyone of a motion in the frame, axes, unit and rate that `options` ask for.

    default_up: the format's own upward axis. In the camera's frame the camera is taken as level.
    Raises InputError when the world is asked for and not known, or the rows would be too many.
    """
    up = options.up_axis or default_up
    return [_figure(motion, person, body, options, up) for person in motion.people]


def world_of(motion: Motion) -> World:
    """Where the ground is. Raises InputError when the result does not say."""
    if motion.world is None:
        raise InputError(
            f"{motion.clip.path}: the result does not say where the ground is; make it again from "
            "the video, or leave out --frame world"
        )
    return motion.world


def _figure(
    motion: Motion, person: Person, body: Body, options: ExportOptions, up: AxisName
) -> Figure:
    padded, axes = options.pad_to_clip, AXES[up]
    if options.frame == "world":
        person, axes = replace(person, body=in_world(person, world_of(motion))), WORLD_AXES[up]
    params, fps = evenly_timed(motion, person, options.fps, padded=padded)
    rotmats, pelvis, rest = in_world_axes(params, body, axes)
    times = motion.pts_s[person.track.frame_index]
    start_s = float(motion.pts_s[0] if padded else times[0])
    moments = start_s + np.arange(len(params)) / fps
    slack = 0.5 / fps
    figure = Figure(
        person=person, betas=params.betas, rotmats=rotmats, pelvis=pelvis, rest=rest, up=up,
        scale=1.0,
        fps=fps, start_s=start_s, rows=nearest(moments, times),
        present=(moments > times[0] - slack) & (moments < times[-1] + slack),
    )  # fmt: skip
    if options.frame == "in-place":
        figure = _in_place(figure, _UP_AXIS[up])
    if options.loop:
        figure = _looped(figure, _UP_AXIS[up])
    return figure if options.scale == 1 else _scaled(figure, options.scale)


def _in_place(figure: Figure, up: int) -> Figure:
    """The figure above the origin in every row, its lowest joint of all rows at height 0."""
    pelvis = np.zeros_like(figure.pelvis)
    pelvis[:, up] = figure.pelvis[:, up] - figure.posed[0][..., up].min()
    return replace(figure, pelvis=pelvis)


def _looped(figure: Figure, up: int) -> Figure:
    """The figure as a cycle: its last row is its first.

    The rows after the cycle fade over into those at its start; what the figure moves along the
    ground from end to end is taken out evenly. Raises InputError when there are too few rows.
    """
    rows = len(figure.rotmats)
    fade = min(round(LOOP_FADE_S * figure.fps), rows // 3)
    if fade < 2:
        raise InputError(f"person {figure.id}: {rows} frames are too few for a --loop")
    period = rows - fade
    share = np.arange(fade) / fade
    share = (share * share * (3 - 2 * share))[:, None]  # of the rows at the start
    drift = (figure.pelvis[period] - figure.pelvis[0]) * (np.arange(3) != up)
    pelvis = figure.pelvis - np.arange(rows)[:, None] / period * drift
    rotmats, after = figure.rotmats[:period].copy(), slice(period, rows)
    rotmats[:fade] = slerp(
        torch.from_numpy(figure.rotmats[after]), torch.from_numpy(rotmats[:fade]),
        torch.from_numpy(share),
    ).numpy()  # fmt: skip
    pelvis[:fade] = (1 - share) * pelvis[after] + share * pelvis[:fade]
    order = np.append(np.arange(period), 0)
    return replace(
        figure, rotmats=rotmats[order], pelvis=pelvis[order], rows=figure.rows[order],
        present=figure.present[order],
    )  # fmt: skip


def _scaled(figure: Figure, scale: float) -> Figure:
    return replace(figure, pelvis=figure.pelvis * scale, rest=figure.rest * scale, scale=scale)


def refuse_overlap(motion: Motion, options: ExportOptions) -> None:
    """Raise InputError when several people would stand in one place of one file."""
    if options.frame == "in-place" and options.together and len(motion.people) > 1:
        raise InputError(
            f"{motion.clip.path}: {len(motion.people)} people in place would stand inside each "
            "other in one file; leave out --together, or take one of them with --person"
        )
