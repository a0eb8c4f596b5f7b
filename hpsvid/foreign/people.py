"""What another tool's file says of people, and the Motion that it comes to.

A file holds angles and places for the body of its own tool. Angles mean the same on every body with
SMPL's joints. A place is that of the pelvis: `transl` + the rest pelvis of the file's body. Betas
are taken over only by the body that they were made for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import image_of
from hpsvid.common.series import interpolate, interpolate_rotations
from hpsvid.errors import InputError, NoPersonError
from hpsvid.foreign.values import from_axis_angle, numbers
from hpsvid.motion.feet import contact_points, standing_heights
from hpsvid.motion.world import LOWEST_SHARE, find_world, with_contacts
from hpsvid.options import Options
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    Array,
    BodyParams,
    Camera,
    Clip,
    Motion,
    Person,
    Provenance,
    Track,
    World,
)
from hpsvid.video.egomotion import still_camera

Family = Literal["own", "smpl", "smplx"]
# Rest pelvis of the mean neutral body, m: SMPL 1.0, SMPL-X 1.1. Betas move it by some cm.
MEAN_PELVIS = {"smpl": (-0.0018, -0.2233, 0.0282), "smplx": (0.0031, -0.3514, 0.0120)}
PICTURE = (1280, 720)  # px, of files that say no size when there is no video
MOST_FRAMES = 1_000_000  # of a clip: nine hours at 30 fps
_BOX_MARGIN = 0.1  # of the joints' box, on each side
_STAGE_MARGIN = 1.15  # of a picture that is to hold a whole motion
_CAMERA_HEIGHT_M = 1.0
_NEAR_GROUND_M = 0.05  # of y = 0: a sole that stands on it
_TO_Y_UP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Where a body is."""

    root: Array  # (N, 3, 3) rotation of the root
    pelvis: Array  # (N, 3) m


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForeignPerson:
    """One person as a file has them, in the frames in which they were seen."""

    id: int
    frame_index: Array  # (N,) int64, increasing
    rotmats: Array  # (N, 24, 3, 3) float64, parent-relative; the root's is not looked at
    betas: Array  # (10,) float32, of the loaded body
    camera: Placed | None  # in the camera's axes: x right, y down, z forward
    world: Placed | None = None  # y up

    def __post_init__(self) -> None:
        frames = self.frame_index
        if len(frames) == 0 or frames[0] < 0 or (np.diff(frames) <= 0).any():
            raise ValueError(f"person {self.id}: expected numbers of frames that increase")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForeignResult:
    """What a file says. Every person has the same of `camera` and `world`."""

    tool: str
    people: Sequence[ForeignPerson]
    fps: float | None  # Hz, where the file says it
    focal: Callable[[int, int], float] = field(default=lambda width, height: 1.0 * width)
    K: Array | None = None  # (3, 3) px, where the file says it
    size: tuple[int, int] | None = None  # px, width and height, where the file says it


def as_motion(
    result: ForeignResult, path: Path, body: Body, clip: Clip | None, fps: float | None
) -> Motion:
    """The Motion of another tool's result.

    clip: of its video, where the user gave one; fps: as the user gave it. Raises InputError when
    neither these nor the file say the rate, or the clip is another one; NoPersonError.
    """
    if not result.people:
        raise NoPersonError(f"{path}: the result of {result.tool} holds no person")
    with_video = clip is not None
    last = max(int(person.frame_index[-1]) for person in result.people)
    clip = _clip_of(result, path, clip, fps, last + 1)
    pts_s = np.arange(max(last + 1, clip.frame_count or 0)) / float(clip.fps)
    people = [_filled(person, pts_s) for person in result.people]
    if result.people[0].camera is None:
        camera = Camera(K=_intrinsics(result, clip.width, clip.height), source="guessed")
        world, floor = _stage(people, body, clip, camera.K, len(pts_s))
        people = [_before(person, world, floor) for person in people]
    else:
        K = _intrinsics(result, clip.width, clip.height)
        camera = Camera(K=K, source="guessed" if result.K is None else "given")
        world = _world_of(result, people, body, pts_s)
    made = tuple(_person(person, body, camera.K, world, pts_s) for person in people)
    if world is None:
        world = find_world(made, body, pts_s, still_camera(len(pts_s)), Options())
        made = tuple(with_contacts(person, body, world, pts_s) for person in made)
    from hpsvid import __version__

    return Motion(
        clip=clip,
        pts_s=pts_s,
        camera=camera,
        people=made,
        provenance=Provenance(
            hpsvid_version=__version__,
            body={"name": body.name, "sha256": body.sha256},
            other={"imported": {"tool": result.tool, "file": path.name, "video": with_video}},
        ),
        world=world,
    )


def _clip_of(
    result: ForeignResult, path: Path, clip: Clip | None, fps: float | None, frames: int
) -> Clip:
    if frames > MOST_FRAMES:
        raise InputError(f"{path}: frame {frames - 1}, expected fewer than {MOST_FRAMES} frames")
    rate = fps or (None if clip is None else clip.fps) or result.fps
    if rate is None:
        raise InputError(
            f"{path}: the result of {result.tool} does not say its frame rate; say it with --fps "
            "30, or give the clip with --video"
        )
    rate = Fraction(rate).limit_denominator(1001)
    if clip is not None:
        size = (clip.width, clip.height)
        if result.size is not None and result.size != size:
            raise InputError(
                f"{clip.path}: is {clip.width} x {clip.height} px, the result was made from "
                f"{result.size[0]} x {result.size[1]}; give the clip that it was made from"
            )
        if clip.frame_count is not None and clip.frame_count < frames:
            raise InputError(
                f"{clip.path}: has {clip.frame_count} frames, the result reaches frame "
                f"{frames - 1}; give the clip that it was made from"
            )
        return replace(clip, fps=rate)
    width, height = result.size or PICTURE
    return Clip(
        path=path, width=width, height=height, fps=rate, rotation=0, audio=False, frame_count=None
    )


def _intrinsics(result: ForeignResult, width: int, height: int) -> Array:
    if result.K is not None:
        return np.asarray(result.K, np.float64)
    focal = result.focal(width, height)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Filled:
    """A person in all frames from their first to their last, on the loaded body."""

    track_id: int
    rows: Array  # (T,) int64, frames of the clip
    valid: Array  # (T,) bool
    rotmats: Array  # (T, 24, 3, 3) float64
    betas: Array  # (10,) float32
    pelvis: Array  # (T, 3) m, in the axes of the root's rotation
    world_root: Array | None  # (T, 3, 3)
    world_pelvis: Array | None  # (T, 3) m


def _filled(person: ForeignPerson, pts_s: Array) -> _Filled:
    """What the file leaves out between two frames is interpolated."""
    seen = person.frame_index
    rows = np.arange(seen[0], seen[-1] + 1)
    here = person.camera or person.world
    assert here is not None
    rotmats = person.rotmats.copy()
    rotmats[:, 0] = here.root

    def over_all(values: Array) -> Array:
        return interpolate(pts_s[rows], pts_s[seen], values)

    def turned(values: Array) -> Array:
        return interpolate_rotations(pts_s[rows], pts_s[seen], np.asarray(values, np.float64))

    both = person.world if person.camera is not None else None
    return _Filled(
        track_id=person.id,
        rows=rows,
        valid=np.isin(rows, seen),
        rotmats=turned(rotmats),
        betas=person.betas,
        pelvis=over_all(here.pelvis),
        world_root=None if both is None else turned(both.root[:, None])[:, 0],
        world_pelvis=None if both is None else over_all(both.pelvis),
    )


def shape_of(family: Family, betas: Array, body: Body) -> tuple[Array, Array]:
    """Betas (B,) on the loaded body, and the rest pelvis (3,) m of the file's body.

    betas: (K,) of the file; those of another body than the loaded one say nothing about it.
    """
    known = body.shape_dirs.shape[-1] if family == "own" else N_BETAS
    shape = np.zeros(known, np.float32)
    if family == "smplx" or (family == "smpl" and body.free):
        return shape, np.array(MEAN_PELVIS[family])
    count = min(known, len(betas))
    shape[:count] = betas[:count]
    return shape, _rest_pelvis(body, shape)


def smpl_person(
    person_id: int, values: Mapping[str, Any], body: Body, keys: tuple[str, str, str, str],
    world_keys: tuple[str, str] | None = None,
) -> ForeignPerson:  # fmt: skip
    """A person of a file that has SMPL's axis-angles (N, 72), betas and places (N, 3) m.

    keys: of the frames' numbers, the angles, the betas and the places before the camera;
    world_keys: of angles and places with y up, where the file has them.
    """
    count = len(frames := numbers(values[keys[0]], (-1,)).astype(np.int64))
    shape, rest = shape_of("smpl", numbers(values[keys[2]], (count, -1)).mean(0), body)

    def placed(pose: str, place: str) -> tuple[Array, Placed]:
        rotmats = from_axis_angle(numbers(values[pose], (count, 72)))
        return rotmats, Placed(root=rotmats[:, 0], pelvis=numbers(values[place], (count, 3)) + rest)

    rotmats, camera = placed(keys[1], keys[3])
    known = world_keys is not None and all(key in values for key in world_keys)
    return ForeignPerson(
        id=person_id, frame_index=frames, rotmats=rotmats, betas=shape, camera=camera,
        world=placed(*world_keys)[1] if known and world_keys else None,
    )  # fmt: skip


def _rest_pelvis(body: Body, betas: Array) -> Array:
    return body.rest_joints(torch.from_numpy(betas))[JOINT["pelvis"]].double().numpy()


def _params(person: _Filled, body: Body) -> BodyParams:
    return BodyParams(
        rotmats=person.rotmats.astype(np.float32),
        betas=person.betas,
        transl=(person.pelvis - _rest_pelvis(body, person.betas)).astype(np.float32),
    )


def _person(person: _Filled, body: Body, K: Array, world: World | None, pts_s: Array) -> Person:
    params = _params(person, body)
    joints = body.joints_of(params)
    joints2d = image_of(joints, K).astype(np.float32)
    low, high = joints2d.min(1), joints2d.max(1)
    margin = _BOX_MARGIN * (high - low)
    count = len(params)
    made = Person(
        track=Track(
            id=person.track_id,
            frame_index=person.rows,
            boxes=np.concatenate([low - margin, high + margin], 1),
            scores=person.valid.astype(np.float32),
            detected=person.valid,
        ),
        body=params,
        joints=joints,
        joints2d=joints2d,
        sigma=np.full((count, N_JOINTS), np.nan, np.float32),  # no other tool says it
        valid=person.valid,
        reprojection_px=np.full(count, np.nan, np.float32),
        evidence_error=np.full((count, N_JOINTS), np.nan, np.float32),
    )
    return made if world is None else with_contacts(made, body, world, pts_s)


def _lowest(person: _Filled, body: Body) -> Array:
    """Height (T,) m of the lower sole of somebody in axes with y up."""
    points = contact_points(body, _params(person, body))[..., 1]
    return (points - standing_heights(body)).min(1)


def _stage(
    people: list[_Filled], body: Body, clip: Clip, K: Array, frames: int
) -> tuple[World, float]:
    """A level camera before a motion that was in no picture.

    The file's ground is kept where somebody's lower sole is near it, else put below that sole.
    """
    floor = min(float(np.quantile(_lowest(person, body), LOWEST_SHARE)) for person in people)
    floor = 0.0 if abs(floor) < _NEAR_GROUND_M else floor
    everything = np.concatenate([body.joints_of(_params(p, body)).reshape(-1, 3) for p in people])
    low, high = everything.min(0).astype(np.float64), everything.max(0).astype(np.float64)
    across = (high[0] - low[0]) * K[0, 0] / clip.width
    upright = 2 * max(high[1] - floor - _CAMERA_HEIGHT_M, _CAMERA_HEIGHT_M) * K[1, 1] / clip.height
    away = high[2] + _STAGE_MARGIN * max(across, upright)
    return World(
        up=np.array([0.0, -1.0, 0.0]),
        up_sigma_deg=0.0,
        R=np.tile(_TO_Y_UP, (frames, 1, 1)),
        t=np.tile([(low[0] + high[0]) / 2, _CAMERA_HEIGHT_M, away], (frames, 1)),
        made_from="the file, which has no camera: a level one was put before the motion",
    ), floor


def _before(person: _Filled, world: World, floor: float) -> _Filled:
    """Somebody in the file's axes as the still camera of `_stage` sees them."""
    turn, place = world.R[0].T, world.t[0] + [0, floor, 0]
    rotmats = person.rotmats.copy()
    rotmats[:, 0] = turn @ rotmats[:, 0]
    return replace(person, rotmats=rotmats, pelvis=(person.pelvis - place) @ turn.T)


def _world_of(
    result: ForeignResult, people: list[_Filled], body: Body, pts_s: Array
) -> World | None:
    """The camera's way, as the file's longest person says it; None where no file says it.

    Axes are the file's; the ground is put below the person's lower sole.
    """
    longest = max(people, key=lambda person: len(person.rows))
    if longest.world_root is None or longest.world_pelvis is None:
        return None
    turn = longest.world_root @ longest.rotmats[:, 0].mT
    rotmats = longest.rotmats.copy()
    rotmats[:, 0] = longest.world_root
    standing = replace(longest, rotmats=rotmats, pelvis=longest.world_pelvis)
    floor = float(np.quantile(_lowest(standing, body), LOWEST_SHARE))
    place = longest.world_pelvis - (turn @ longest.pelvis[..., None])[..., 0] - [0, floor, 0]
    times = pts_s[longest.rows]
    return World(
        up=turn[0].T @ [0.0, 1.0, 0.0],
        up_sigma_deg=0.0,
        R=interpolate_rotations(pts_s, times, turn[:, None])[:, 0],
        t=interpolate(pts_s, times, place),
        made_from=f"the result of {result.tool}",
    )
