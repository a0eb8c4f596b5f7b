"""Motion in, Motion out: keep, drop, split and rename people, keep a stretch of time."""

from collections.abc import Collection
from dataclasses import fields, replace

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.boxes import areas
from hpsvid.common.records import take_frames
from hpsvid.errors import InputError, NoPersonError
from hpsvid.options import Options
from hpsvid.types import Motion, Person, Track

# What version 0.1.0 called the shipped free body: one hash with one thread, another with two.
EARLIER_FREE_BODY = frozenset({
    "f38dd65481d7087ec6a5346eea65d7cf8de38140f380ed6fa8e7cfd33a7dcd09",
    "a1f9f356d53cb5d31069097147c50d1a335bcc278041ddae32fc3bce14e96b30",
})  # fmt: skip


def check_body(motion: Motion, body: Body) -> None:
    """Refuse to give a saved motion another body than it was made with.

    Betas of one body say nothing on another. A motion that does not name its body passes.
    Raises InputError.
    """
    made_with = motion.provenance.body
    if made_with is None or (made_with.get("sha256") in EARLIER_FREE_BODY and body.free):
        return
    if made_with.get("sha256") != body.sha256:
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
