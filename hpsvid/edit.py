"""Motion in, Motion out: keep some of the people."""

from dataclasses import replace

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.boxes import areas
from hpsvid.errors import InputError, NoPersonError
from hpsvid.options import Options
from hpsvid.types import Motion, Track

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
