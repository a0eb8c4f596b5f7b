"""Motion in, Motion out: people kept, dropped, split, merged, renamed; smoothed, pinned, cut."""

from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from hpsvid.body.hinges import HINGES
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.body.world import in_world
from hpsvid.common.boxes import areas
from hpsvid.common.records import take_frames
from hpsvid.common.series import interpolate, interpolate_rotations
from hpsvid.errors import InputError, NoPersonError
from hpsvid.motion.lock import FADE_S, bend_limb, posed, reposed
from hpsvid.motion.smoothing import (
    FILLED_WEIGHT,
    certainty,
    of_bones,
    smooth_path,
    smooth_rotations,
)
from hpsvid.options import Options
from hpsvid.types import Array, BodyParams, Motion, Person, Track

MAX_STRENGTH = 20.0  # of smoothing: rotations at 0.3 Hz
# joints that can be held, and the limb that is bent for it
PINNED = dict(sorted((SMPL.names[limb[2]], limb) for limb in HINGES))


def check_body(motion: Motion, body: Body) -> None:
    """Refuse to give a saved motion another body than it was made with.

    Betas of one body say nothing on another. A motion that does not name its body passes.
    Raises InputError.
    """
    made_with = motion.provenance.body
    if made_with is not None and not body.knows(str(made_with.get("sha256"))):
        raise InputError(
            f"{motion.clip.path}: the result was made with the body {made_with.get('name')}, the "
            f"body chosen now is {body.name}; choose the same one with --smpl or $HPSVID_SMPL"
        )


def keep_people(motion: Motion, options: Options) -> Motion:
    """A saved motion with only the people that `options` ask for.

    Raises InputError when there is no such person, NoPersonError when there is nobody at all.
    """
    if not motion.people:
        raise NoPersonError(f"{motion.clip.path}: the result holds no person; nothing to write")
    kept = select_tracks(
        [person.track for person in motion.people],
        person=options.person,
        max_people=options.max_people,
    )
    ids = {track.id for track in kept}
    return replace(motion, people=tuple(p for p in motion.people if p.track.id in ids))


def select_tracks(
    tracks: list[Track], *, person: int | None = None, max_people: int | None = None
) -> list[Track]:
    """The tracks that the user asked for, in the order of their ids.

    person: keep only this id. max_people: keep in each shot those who cover the most picture over
    time; the same person has another track, with another id, after a cut.
    Raises InputError when there is no such person or max_people is below 1.
    """
    if max_people is not None and max_people < 1:
        raise InputError(f"--max-people {max_people}: must be at least 1")
    if person is not None:
        chosen = [track for track in tracks if track.id == person]
        if tracks and not chosen:
            known = ", ".join(str(track.id) for track in tracks)
            raise InputError(f"--person {person}: no such person; the clip has {known}")
        return chosen
    shots: dict[int, list[Track]] = {}
    for track in sorted(tracks, key=lambda track: -areas(track.boxes.astype(np.float64)).sum()):
        shots.setdefault(track.shot_start, []).append(track)
    kept = [track for shot in shots.values() for track in shot[:max_people]]
    return sorted(kept, key=lambda track: track.id)


def trim(motion: Motion, start_s: float | None, end_s: float | None) -> Motion:
    """What people do from `start_s` until before `end_s`, on the clip's clock; None: no limit.

    The times of the clip stay, so that the motion still fits its video.
    Raises NoPersonError when nobody is there then.
    """
    first, end = np.searchsorted(
        motion.pts_s, [-np.inf if start_s is None else start_s, np.inf if end_s is None else end_s]
    )
    people = []
    for person in motion.people:
        at = person.track.frame_index
        rows = slice(*np.searchsorted(at, [first, end]).tolist())
        if rows.start < rows.stop:
            people.append(_rows_of(person, rows))
    if not people:
        raise NoPersonError(
            f"{motion.clip.path}: nobody between {start_s or 0:g} s and "
            f"{'the end' if end_s is None else f'{end_s:g} s'}"
        )
    return replace(motion, people=tuple(people))


def keep(motion: Motion, ids: Collection[int]) -> Motion:
    """Only these people. Raises InputError when one of them is not there."""
    for person_id in ids:
        person_of(motion, person_id)
    return replace(motion, people=tuple(p for p in motion.people if p.track.id in ids))


def drop(motion: Motion, ids: Collection[int]) -> Motion:
    """All but these people. Raises InputError when one is not there, NoPersonError for all."""
    for person_id in ids:
        person_of(motion, person_id)
    people = tuple(p for p in motion.people if p.track.id not in ids)
    if not people:
        raise NoPersonError(f"{motion.clip.path}: without these nobody is left")
    return replace(motion, people=people)


def rename(motion: Motion, old: int, new: int) -> Motion:
    """Person `old` called `new`. Raises InputError when there is no `old`, or a `new` already."""
    person = person_of(motion, old)
    if new < 0 or (new != old and any(p.track.id == new for p in motion.people)):
        raise InputError(f"person {new}: expected a number from 0 on that nobody else has")
    renamed = replace(person, track=replace(person.track, id=new))
    others = [p for p in motion.people if p.track.id != old]
    return replace(motion, people=_in_order([*others, renamed]))


def split(motion: Motion, person_id: int, at_s: float) -> Motion:
    """A person as two: until `at_s`, and from then on under the next number that is free.

    For a track that changes over to another person. Raises InputError when there is no such
    person, or not on both sides of that time.
    """
    person = person_of(motion, person_id)
    times = motion.pts_s[person.track.frame_index]
    row = int(np.searchsorted(times, at_s))
    if not 0 < row < len(times):
        raise InputError(
            f"person {person_id}: is there from {times[0]:.2f} s to {times[-1]:.2f} s; expected a "
            f"time between them, found {at_s:g} s"
        )
    before, after = _rows_of(person, slice(0, row)), _rows_of(person, slice(row, len(times)))
    number = max(p.track.id for p in motion.people) + 1
    after = replace(after, track=replace(after.track, id=number))
    others = [p for p in motion.people if p.track.id != person_id]
    return replace(motion, people=_in_order([*others, before, after]))


def merge(motion: Motion, first: int, second: int, body: Body) -> Motion:
    """Two people as one, called `first`: a track that was lost and found again.

    Frames between them are interpolated and count as not seen. The shape is the mean of both, by
    frames seen. Raises InputError when one is not there, they are the same, are there at one time,
    or have a cut between them.
    """
    before, after = sorted(
        (person_of(motion, first), person_of(motion, second)),
        key=lambda person: int(person.track.frame_index[0]),
    )
    end, start = int(before.track.frame_index[-1]), int(after.track.frame_index[0])
    if before is after or start <= end:
        raise InputError(
            f"people {first} and {second}: expected two who are there one after the other; found "
            f"{before.track.id} until frame {end}, {after.track.id} from frame {start} on"
        )
    if before.track.shot_start != after.track.shot_start:
        raise InputError(f"people {first} and {second}: there is a cut between them")
    rows = np.arange(before.track.frame_index[0], after.track.frame_index[-1] + 1)
    known = np.concatenate([before.track.frame_index, after.track.frame_index])
    seen = [max(int(person.valid.sum()), 1) for person in (before, after)]
    betas = np.average([before.body.betas, after.body.betas], 0, seen).astype(np.float32)
    rest = body.rest_joints(torch.from_numpy(betas))[0].numpy()
    times, at = motion.pts_s[rows], motion.pts_s[known]

    def over_all(name: str, owner: Callable[[Person], Any] = lambda person: person) -> Array:
        parts = [getattr(owner(person), name) for person in (before, after)]
        return interpolate(times, at, np.concatenate(parts), parts[0].dtype)

    def where_known(values: list[Array], else_value: float) -> Array:
        joined = np.concatenate(values)
        made = np.full((len(rows), *joined.shape[1:]), else_value, joined.dtype)
        made[known - rows[0]] = joined
        return made

    pair = (before, after)
    pelvis = interpolate(times, at, np.concatenate([person.joints[:, 0] for person in pair]))
    rotmats = np.concatenate([person.body.rotmats for person in pair]).astype(np.float64)
    params = BodyParams(
        rotmats=interpolate_rotations(times, at, rotmats).astype(np.float32),
        betas=betas,
        transl=(pelvis - rest).astype(np.float32),
    )
    track = Track(
        id=first,
        frame_index=rows,
        boxes=over_all("boxes", lambda person: person.track),
        scores=where_known([person.track.scores for person in pair], 0),
        detected=where_known([person.track.detected for person in pair], False),
        shot_start=before.track.shot_start,
    )
    both = all(person.contacts is not None for person in pair)
    joined = Person(
        track=track,
        body=params,
        joints=over_all("joints"),
        joints2d=over_all("joints2d"),
        sigma=over_all("sigma"),
        valid=where_known([person.valid for person in pair], False),
        reprojection_px=where_known([person.reprojection_px for person in pair], np.nan),
        evidence_error=where_known([person.evidence_error for person in pair], np.nan),
        contacts=over_all("contacts") if both else None,
    )
    merged = reposed(joined, params, body, motion.camera)
    others = [p for p in motion.people if p.track.id not in (first, second)]
    return replace(motion, people=_in_order([*others, merged]))


def smooth(motion: Motion, strength: float, body: Body, person_id: int | None = None) -> Motion:
    """Calmer motion of one person, or of everyone: smoothed once more, at a lower cut-off.

    strength: 1 smooths rotations at 6 Hz, the way at 4.5 Hz, the distance at 1 Hz, 2 at half of
    that. Nothing is delayed. Raises InputError when it is no number above 0, or nobody is that one.
    """
    if not 0 < strength <= MAX_STRENGTH:
        raise InputError(f"--strength {strength}: expected more than 0, at most {MAX_STRENGTH:g}")
    if person_id is not None:
        person_of(motion, person_id)

    def smoothed(person: Person) -> Person:
        times = motion.pts_s[person.track.frame_index]
        sigma = np.nan_to_num(person.sigma.astype(np.float64), nan=1.0)  # imported: not known
        sure = certainty(sigma**2, person.valid)
        params, pelvis = person.body, person.joints[:, 0].astype(np.float64)
        weight = np.where(person.valid, 1.0, FILLED_WEIGHT)
        moved = smooth_path(pelvis, weight, times, strength) - pelvis
        params = replace(
            params,
            rotmats=smooth_rotations(params.rotmats, of_bones(sure), times, strength),
            transl=(params.transl + moved).astype(np.float32),
        )
        return reposed(person, params, body, motion.camera)

    people = (
        smoothed(person) if person_id in (None, person.track.id) else person
        for person in motion.people
    )
    return replace(motion, people=tuple(people))


def pin(motion: Motion, person_id: int, joint: str, frames: tuple[int, int], body: Body) -> Motion:
    """A hand or foot held at one place in the clip's frames from the first until before the last.

    The place is the median of where the joint is then, in the world where that is known. The limb
    is bent to it (inverse kinematics) as far as it reaches, the rest stays; within FADE_S before
    and after the correction comes and goes. Raises InputError when there is no such person or
    joint, or the person is not there then.
    """
    person = person_of(motion, person_id)
    if joint not in PINNED:
        raise InputError(f"{joint!r}: expected one of {', '.join(PINNED)}")
    at = person.track.frame_index
    window = np.flatnonzero((at >= frames[0]) & (at < frames[1]))
    if len(window) == 0:
        raise InputError(
            f"frames {frames[0]}:{frames[1]}: person {person_id} is there in frames {at[0]} to "
            f"{at[-1]}"
        )
    limb = PINNED[joint]
    placed = person.body if motion.world is None else in_world(person, motion.world)
    local, places, turned = posed(placed, body)
    held = places[:, limb[2]]
    move = np.median(held[window], 0) - held
    times, first, last = motion.pts_s[at], window[0], window[-1]
    away = np.maximum(times[first] - times, times - times[last]).clip(0) / FADE_S
    share = (1 - away).clip(0)
    move[:first], move[last + 1 :] = move[first], move[last]
    move *= (share * share * (3 - 2 * share))[:, None]
    bend_limb(local, places, turned, move, limb)
    local[:, 0] = person.body.rotmats[:, 0]
    rotmats = np.where((share > 0)[:, None, None, None], local, person.body.rotmats)
    params = replace(person.body, rotmats=rotmats.astype(np.float32))
    pinned = reposed(person, params, body, motion.camera)
    people = (pinned if other is person else other for other in motion.people)
    return replace(motion, people=tuple(people))


def person_of(motion: Motion, person_id: int) -> Person:
    """The person with this number. Raises InputError when there is none."""
    for person in motion.people:
        if person.track.id == person_id:
            return person
    known = ", ".join(str(person.track.id) for person in motion.people) or "nobody"
    raise InputError(f"person {person_id}: no such person; the result has {known}")


def _rows_of(person: Person, rows: slice) -> Person:
    """A person in a run of a track's frames."""
    body = person.body
    values = {field.name: getattr(person, field.name) for field in fields(person)}
    arrays = {name: a[rows] for name, a in values.items() if isinstance(a, np.ndarray)}
    return replace(
        person,
        **arrays,
        track=take_frames(person.track, rows),
        body=replace(body, rotmats=body.rotmats[rows], transl=body.transl[rows]),
    )


def _in_order(people: list[Person]) -> tuple[Person, ...]:
    return tuple(sorted(people, key=lambda person: person.track.id))
