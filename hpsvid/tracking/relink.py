"""Look at the tracks of a shot once more when all of it is known, and mend who is who by clothes.

Online, a track follows motion first. Its clothes are kept in spells, which end where its box meets
another's and where the clothes change for good. When the shot is over, two tracks that changed
people where they met change back, sightings of somebody else are taken out of a track, and tracks
of one person who was lost behind others are joined. Each step needs clear evidence. Constants were
chosen on seeds 0-24 of `tools.tables.crossings`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from hpsvid.common.boxes import iou
from hpsvid.tracking.follow import SURE_SCORE, Follow, Sighting, Spell, unlikeness
from hpsvid.types import Array

MEETING = 0.3  # IoU of two boxes whose people meet
WINDOW_S = 3.0  # before and after a change, in which spells say what somebody wears
ENOUGH = 3  # sightings of them
MARGIN = 0.4  # by which clothes must speak for a change: the sum of two distances (0.3-0.5: same)
STRANGE = 0.5  # distance of a spell's clothes from those before and after: somebody else's
ALIKE = 0.35  # distance up to which clothes are the same person's
NEAR = 0.6  # heights that a person moves unseen at once
REACH = 1.5  # and in a second
SHARED_S = 0.2  # by which two tracks of one person may overlap
MAX_SIZE_CHANGE = 1.6  # ratio of heights


def met(boxes: Array, scores: Array) -> Array:
    """Which boxes (B, 4) px of one frame lie partly on a sure other one, (B,) bool."""
    overlap = iou(boxes, boxes) * (scores >= SURE_SCORE)
    np.fill_diagonal(overlap, 0)
    return overlap.max(1, initial=0) > MEETING


def relinked(follows: list[Follow], fps: float, max_gap_s: float) -> list[Follow]:
    """The people of a shot; `follows`: what was followed online, in any order, and used up.

    max_gap_s: how long a person may stay unseen, s. Tracks without clothes stay as they are.
    """
    follows = sorted(follows, key=lambda follow: follow.number)
    window = WINDOW_S * fps
    _change_back(follows, window)
    pieces = [piece for follow in follows for piece in _strangers(follow, window)]
    people = _joined(follows, pieces, fps, max_gap_s)
    for follow in people:
        follow.best_score = max(sighting.score for sighting in follow.sightings)
    return people


def _change_back(follows: list[Follow], window: float) -> None:
    """Let pairs of tracks change people again, the clearest first."""
    stale = {(i, j) for i in range(len(follows)) for j in range(i)}
    best: dict[tuple[int, int], tuple[float, float, int]] = {}
    for _ in range(2 * len(follows)):  # two may change more than once
        for i, j in stale:
            best[i, j] = max(_changes(follows[i], follows[j], window), default=(0.0, 0.0, -1))
        if not best or max(best.values())[0] <= MARGIN:
            return
        i, j = max(best, key=lambda pair: (best[pair], pair))
        _change(follows[i], follows[j], best[i, j][2])
        stale = {pair for pair in best if i in pair or j in pair}


def _changes(one: Follow, other: Follow, window: float) -> Iterator[tuple[float, float, int]]:
    """Frames after which clothes say that two tracks have changed people.

    By how much, how little both boxes jump there (heights, negative), and the frame.
    """
    if one.sightings[-1].frame < other.sightings[0].frame:
        return
    if other.sightings[-1].frame < one.sightings[0].frame:
        return
    places = {sighting.frame: sighting.centre_size for sighting in other.sightings}
    shared = [sighting for sighting in one.sightings if sighting.frame in places]
    for sighting, following in pairwise(shared):
        a, b = sighting.centre_size, places[sighting.frame]
        size = max(a[3], b[3])
        if np.linalg.norm(a[:2] - b[:2]) > NEAR * size:
            continue
        before, after = _sides(one, sighting.frame, window)
        its_before, its_after = _sides(other, sighting.frame, window)
        if not (before and after and its_before and its_after):
            continue
        stay = _distance(before, after) + _distance(its_before, its_after)
        gain = stay - _distance(before, its_after) - _distance(its_before, after)
        if gain > MARGIN:
            jumps = (a - places[following.frame], b - following.centre_size)
            jumped = float(sum(np.linalg.norm(jump) for jump in jumps)) / size
            yield round(gain, 3), -jumped, sighting.frame


def _change(one: Follow, other: Follow, frame: int) -> None:
    """Let two tracks change people after a frame."""

    def swapped(a: list, b: list, after: list[bool], its_after: list[bool]) -> list:
        return [x for x, late in zip(a, after, strict=True) if not late] + [
            x for x, late in zip(b, its_after, strict=True) if late
        ]

    late = [s.frame > frame for s in one.sightings], [s.frame > frame for s in other.sightings]
    a, b = one.sightings, other.sightings
    one.sightings, other.sightings = swapped(a, b, *late), swapped(b, a, *late[::-1])
    late = [s.first > frame for s in one.spells], [s.first > frame for s in other.spells]
    c, d = one.spells, other.spells
    one.spells, other.spells = swapped(c, d, *late), swapped(d, c, *late[::-1])


def _strangers(follow: Follow, window: float) -> Iterator[Follow]:
    """Take sightings out of a track that show somebody else between its own; yield them."""
    for spell in follow.spells[1:-1]:
        before = _enough([s for s in follow.spells if spell.first - window <= s.last < spell.first])
        after = _enough([s for s in follow.spells if spell.last < s.first <= spell.last + window])
        if _distance(before, after) > ALIKE or _distance([spell], before + after) < STRANGE:
            continue
        inside = [spell.first <= sighting.frame <= spell.last for sighting in follow.sightings]
        taken = [s for s, is_taken in zip(follow.sightings, inside, strict=True) if is_taken]
        follow.sightings = [
            s for s, is_taken in zip(follow.sightings, inside, strict=True) if not is_taken
        ]
        follow.spells = [other for other in follow.spells if other is not spell]
        yield replace(follow, sightings=taken, spells=[spell])


def _joined(
    follows: list[Follow], pieces: list[Follow], fps: float, max_gap_s: float
) -> list[Follow]:
    """One track of those that show one person; pieces that go on to no track are dropped."""
    rows = follows + pieces
    pairs = sorted(
        (unlike, i, j)
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
        if (unlike := _goes_on(one, other, fps, max_gap_s)) <= ALIKE
    )
    following: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in following and j not in following.values():
            following[i] = j
    people = []
    for head in sorted(set(range(len(rows))) - set(following.values())):
        chain = [head]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        if min(chain) < len(follows):
            people.append(_as_one([rows[k] for k in chain]))
    return people


def _as_one(chain: list[Follow]) -> Follow:
    """Tracks that follow each other in time as one."""
    sightings: list[Sighting] = []
    for follow in chain:
        last = sightings[-1].frame if sightings else -1
        sightings += [sighting for sighting in follow.sightings if sighting.frame > last]
    return replace(chain[0], sightings=sightings, spells=[s for f in chain for s in f.spells])


def _goes_on(one: Follow, other: Follow, fps: float, max_gap_s: float) -> float:
    """How unlike the clothes are of two tracks of which the second may go on as the first; or 1."""
    last, first = one.sightings[-1], other.sightings[0]
    gap_s = (first.frame - last.frame) / fps
    if one is other or not -SHARED_S < gap_s <= max_gap_s:
        return 1.0
    a, b = last.centre_size, first.centre_size
    tall = max(a[3], b[3])
    reach = (NEAR + REACH * max(gap_s, 0)) * tall
    too_far = np.linalg.norm(a[:2] - b[:2]) > reach or tall > MAX_SIZE_CHANGE * min(a[3], b[3])
    if too_far or other.sightings[-1].frame <= last.frame:
        return 1.0
    window = WINDOW_S * fps
    before = _enough([s for s in one.spells if s.last >= one.spells[-1].last - window])
    after = _enough([s for s in other.spells if s.first <= other.spells[0].first + window])
    return _distance(before, after)


def _sides(follow: Follow, frame: int, window: float) -> tuple[list[Spell], list[Spell]]:
    """The spells mostly up to a frame and mostly after it."""
    near = [s for s in follow.spells if s.last >= frame - window and s.first <= frame + window]
    return (
        _enough([s for s in near if s.first + s.last <= 2 * frame]),
        _enough([s for s in near if s.first + s.last > 2 * frame]),
    )


def _enough(spells: list[Spell]) -> list[Spell]:
    """The spells of more than a moment; none of them where they say too little."""
    spells = [spell for spell in spells if spell.count > 1]
    return spells if sum(spell.count for spell in spells) >= ENOUGH else []


def _distance(spells: list[Spell], others: list[Spell]) -> float:
    """How unlike the clothes of those two spells are that are most alike, 0..1; 1 without any."""
    return min((unlikeness(a.clothes, b.clothes) for a in spells for b in others), default=1.0)
