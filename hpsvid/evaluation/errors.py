"""How far motions are from the truth: people matched, every measure, as tables and JSON."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.geometry import image_of
from hpsvid.common.series import nearest, runs
from hpsvid.errors import InputError
from hpsvid.evaluation.collision import collision_ratio
from hpsvid.evaluation.metrics import (
    MM,
    acceleration_errors,
    aligned_errors,
    jerk_sizes,
    joint_errors,
    skate_speeds,
    speeds,
)
from hpsvid.evaluation.truth import ENDS, FEET, PointSet, TruePerson, Truth, points_of
from hpsvid.evaluation.world import WorldErrors, world_errors
from hpsvid.types import Array, Motion, Person

# an estimated person is a true one where their points lie nearer than this share of the true
# one's size in the picture; right ones are at 0.02-0.1
MATCH_SHARE = 0.25
COLLISION_EVERY = 5  # frames; neighbouring poses collide alike, and a pose takes 12 ms
# a motion and a truth of one clip share the frames of the shorter of them; less is a mistake
MIN_SHARED = 0.05
_CHUNK = 16  # poses skinned at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """One true person's errors under one method, NaN where nothing is known or found."""

    clip: str
    person_id: int
    method: str
    points: PointSet
    fps: float  # Hz
    frame_index: Array  # (T,) the truth's frames
    known: Array  # (T,) bool, the truth has a point
    shown: Array  # (T,) bool, the motion has the frame, whether or not it has the person there
    joint: Array  # (T, P) mm, the roots together
    aligned: Array  # (T, P) mm, after the best similarity
    acceleration: Array  # (T, P) mm/s^2, the roots together
    jerk: Array  # (T, P) m/s^3
    true_jerk: Array  # (T, P) m/s^3
    speed: Array  # (T, 4) m/s of wrists and ankles, the roots together
    true_speed: Array  # (T, 4) m/s
    skate: Array  # (T, feet) mm/s
    true_skate: Array  # (T, feet) mm/s
    vertex: Array  # (T,) mm, mean over the surface, the roots together
    collision: Array  # (T,) share of the triangles, every fifth frame
    true_collision: Array  # (T,)
    world: WorldErrors | None = None  # None: truth or motion do not know the ground


def compare(motion: Motion, truth: Truth, body: Body, *, clip: str, method: str) -> list[Errors]:
    """Errors of a motion for every person of the truth, missing ones included.

    body: the one that the motion was made with. Raises InputError when the two have (almost) no
    times in common.
    """
    shown = frames_shown(motion, truth)
    shared, least = int((shown >= 0).sum()), MIN_SHARED * min(len(shown), len(motion.pts_s))
    if shared < max(1, least):
        raise InputError(
            f"{clip}: {shared} of its {len(motion.pts_s)} frames, {_span(motion.pts_s)}, lie at "
            f"times of the truth {truth.name}, {_span(_times(motion, truth))}; expected a motion "
            "of the truth's clip"
        )
    return [
        Errors(
            clip=clip, person_id=person.id, method=method, points=truth.points, fps=truth.fps,
            frame_index=person.frame_index, known=np.asarray(_known(person.points).any(1)),
            shown=shown[person.frame_index] >= 0, **measure(truth, person, claimed, body),
            world=world_errors(truth, person, motion.world, claimed, body),
        )
        for person, claimed in zip(truth.people, match(motion, truth, body), strict=True)
    ]  # fmt: skip


def frames_shown(motion: Motion, truth: Truth) -> Array:
    """(F,) int64: for each frame of the truth's clip the motion's of that time, -1 where none is.

    A motion may be of a part of the frames, as `live` saves those that it had time for. Each
    belongs to the truth's frame of the nearest time within half a step between frames, and where
    several do, the nearest of them.
    """
    times, own = _times(motion, truth), motion.pts_s
    if len(times) == 0:
        return np.array([], np.int64)
    closest = nearest(own, times)
    away = np.abs(times[closest] - own)
    step = np.median(np.diff(times)) if len(times) > 1 else 1 / truth.fps
    rows = np.flatnonzero(away <= step / 2)
    rows = rows[np.argsort(-away[rows], kind="stable")]  # the nearest is written last
    shown = np.full(len(times), -1)
    shown[closest[rows]] = rows
    return shown


def _times(motion: Motion, truth: Truth) -> Array:
    """Times (F,) s, on the motion's clock, of the frames of the truth's clip.

    A truth without times only numbers its frames. A motion of a whole clip gives them its own
    times; for any other motion they follow each other at the clip's rate.
    """
    if truth.pts_s is not None:
        return truth.pts_s
    count = 1 + max((int(p.frame_index[-1]) for p in truth.people), default=0)
    own, fps = motion.pts_s, float(motion.clip.fps)
    if motion.clip.part is not None:
        return np.arange(count) / (fps * motion.clip.part.every)
    whole = len(own) >= (motion.clip.frame_count or round(float(own[-1:].sum()) * fps) + 1)
    if not whole:
        return np.arange(count) / fps
    return np.concatenate([own[:count], own[-1] + np.arange(1, 1 + count - len(own)) / fps])


def _span(times: Array) -> str:
    return f"{times[0]:.2f}-{times[-1]:.2f} s" if len(times) else "no time"


def match(motion: Motion, truth: Truth, body: Body) -> list[list[tuple[Person, Array]]]:
    """The estimated people that belong to each true person, with the frames that they fill.

    Each comes with indices (T,) into its own frames, one for each frame of the true person, -1
    where it has none.

    An estimated person belongs to the true person whose points are nearest to its own in the
    picture: by the median over the frames that both have, relative to the true person's size
    there. Where several belong to one (a track was lost and found again), the longest comes first
    and the others fill the frames that it leaves open.
    """
    claims: list[list[tuple[Person, Array]]] = [[] for _ in truth.people]
    shown = frames_shown(motion, truth)
    true_images = [image_of(person.points, truth.K) for person in truth.people]
    for estimate in motion.people:
        image = image_of(points_of(estimate, truth.points, body), motion.camera.K)
        places = [_places(estimate, shown[person.frame_index]) for person in truth.people]
        apart = [
            _apart(image[place[place >= 0]], true_image[place >= 0])
            for place, true_image in zip(places, true_images, strict=True)
        ]
        if apart and min(apart) < MATCH_SHARE:
            nearest = int(np.argmin(apart))
            claims[nearest].append((estimate, places[nearest]))
    for claimed in claims:
        claimed.sort(key=lambda claim: int((claim[1] >= 0).sum()), reverse=True)
        taken = np.array(False)
        for i, (estimate, place) in enumerate(claimed):
            claimed[i] = (estimate, np.where(taken, -1, place))
            taken = taken | (place >= 0)
    return claims


def _places(estimate: Person, shown: Array) -> Array:
    """Indices (T,) into a person's track of these frames (T,) of the motion; -1 for none."""
    place = shown - estimate.track.frame_index[0]
    return np.where((shown >= 0) & (place >= 0) & (place < len(estimate.track)), place, -1)


def _apart(image: Array, truth: Array) -> float:
    """Median distance between points (T, P, 2) px, relative to the truth's size; inf: unknown.

    Of points that the truth does not know (NaN) the others decide.
    """
    known = _known(truth)
    rows = known.sum(1) >= 2  # fewer have no size
    if not rows.any():
        return math.inf
    image, truth, known = image[rows], truth[rows], known[rows]
    span = np.nanmax(truth, axis=1) - np.nanmin(truth, axis=1)
    gaps = np.linalg.norm(image - truth, axis=-1)
    gap = np.nansum(np.where(known, gaps, 0), axis=1) / known.sum(1)
    return float(np.median(gap / np.maximum(np.linalg.norm(span, axis=-1), 1)))


def measure(
    truth: Truth, person: TruePerson, claimed: Iterable[tuple[Person, Array]], body: Body
) -> dict[str, Array]:
    """Errors of the estimated people that are this true person, over the frames they fill.

    claimed: as `match` gives them. Returns the arrays of `Errors` by field.
    """
    frames, points = person.points.shape[:2]
    out = {name: np.full((frames, points), np.nan) for name in _PER_POINT}
    out |= {name: np.full((frames, len(ENDS[truth.points])), np.nan) for name in _PER_END}
    out |= {name: np.full((frames, len(FEET[truth.points])), np.nan) for name in _PER_FOOT}
    out |= {name: np.full(frames, np.nan) for name in ("vertex", "collision", "true_collision")}
    for estimate, places in claimed:
        estimated = points_of(estimate, truth.points, body)
        for run in runs(places >= 0):
            place = places[run]
            for name, values in point_errors(estimated[place], truth, person, run).items():
                before = (len(place) - len(values)) // 2  # a difference lies amid its frames
                out[name][run.start + before : run.start + before + len(values)] = values
            known = np.asarray(_known(person.points[run]).any(1))
            for at, values in _surfaces(person, run, estimate, place, body, known):
                for name, value in values.items():
                    out[name][at] = value
    return out


_PER_POINT = ("joint", "aligned", "acceleration", "jerk", "true_jerk")
_PER_END = ("speed", "true_speed")
_PER_FOOT = ("skate", "true_skate")


def point_errors(pred: Array, truth: Truth, person: TruePerson, run: slice) -> dict[str, Array]:
    """Errors of points (T, P, 3) m against those of a true person in the frames of `run` (T).

    Returns arrays of `Errors` by field; those of a difference over k frames have T - k rows.
    """
    gt, steady = person.points[run], person.steady[run]
    pred = np.where(_known(gt)[..., None], pred, np.nan)
    root, feet, ends = truth.root, FEET[truth.points], ENDS[truth.points]
    centred, true_centred = at_root(pred, root), at_root(steady, root)
    return {
        "joint": joint_errors(pred, gt, root=root),
        "aligned": aligned_errors(pred, gt),
        "acceleration": acceleration_errors(centred, true_centred, truth.fps),
        "jerk": jerk_sizes(pred, truth.fps),
        "true_jerk": jerk_sizes(steady, truth.fps),
        "speed": speeds(centred[:, ends], truth.fps),
        "true_speed": speeds(true_centred[:, ends], truth.fps),
        "skate": skate_speeds(pred, steady, truth.fps, feet),
        "true_skate": skate_speeds(steady, steady, truth.fps, feet),
    }


def _known(points: Array) -> Array:
    return np.asarray(np.isfinite(points).all(-1))


def at_root(points: Array, root: tuple[int, ...]) -> Array:
    """Points (T, P, 3) relative to the middle of these of them."""
    return points - points[:, root].mean(1, keepdims=True)


def _surfaces(
    person: TruePerson, run: slice, estimate: Person, place: Array, body: Body, known: Array
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """Measures of the surface for some of the true frames at a time: (frames, name -> values)."""
    same_mesh = person.body is not None and np.array_equal(person.body.faces, body.faces)
    rows = np.arange(run.start, run.stop)
    for start in range(0, len(rows), _CHUNK):
        keep = start + np.flatnonzero(known[start : start + _CHUNK])
        if len(keep) == 0:
            continue
        at = rows[keep]
        some = at % COLLISION_EVERY == 0
        if not (same_mesh or some.any()):
            continue
        surface = body.vertices_of(estimate.body, place[keep])
        yield at[some], {"collision": collision_ratio(surface[some], body)}
        if person.body is None or person.params is None:
            continue
        true_surface = person.body.vertices_of(person.params, at)
        yield at[some], {"true_collision": collision_ratio(true_surface[some], person.body)}
        if same_mesh:
            pelvis = estimate.joints[place[keep], :1]
            away = (surface - pelvis) - (true_surface - person.points[at, :1])
            yield at, {"vertex": np.linalg.norm(away, axis=-1).mean(1) * MM}
