"""Counting identity errors on motions whose bodies lie on known people."""

from dataclasses import replace

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.types import Motion
from tests.factories import make_motion
from tools.tables.crossings import Identities, count, kind_of
from tools.tables.takes import seeds_of

FRAMES, SECOND_FROM = 30, 1  # the second person of the motion appears a frame later


@pytest.fixture
def met(body: Body) -> tuple[Motion, Identities]:
    """Two people 2000 px apart, and that this is true of them; one is hidden in the end."""
    motion = make_motion(body, people=2, frames=FRAMES)
    people, joints2d, boxes = [], np.zeros((2, FRAMES, 29, 2)), np.zeros((2, FRAMES, 4))
    for which, person in enumerate(motion.people):
        moved = person.joints2d + np.array([2000.0 * which, 0])
        box = np.concatenate([moved.min(1), moved.max(1)], 1)
        joints2d[which] = moved[:1]
        joints2d[which, person.track.frame_index] = moved
        boxes[which, person.track.frame_index] = box
        track = replace(person.track, boxes=box)
        people.append(
            replace(person, joints2d=moved, track=track, valid=np.ones(len(person.valid), bool))
        )
    plain = np.ones((2, FRAMES), bool)
    plain[1, :SECOND_FROM] = plain[1, 25:] = False
    truth = Identities(joints2d=joints2d, boxes=boxes, plain=plain)
    return replace(motion, people=tuple(people)), truth


def test_right_bodies_count_nothing(met):
    motion, truth = met
    counts = count(motion, truth)
    assert (counts.switches, counts.swallowed, counts.double, counts.missed) == (0, 0, 0, 0)
    assert counts.plain == FRAMES + 24


def test_nobody_found_misses_all_who_are_in_plain_view(met):
    assert count(None, met[1]).missed == FRAMES + 24


def test_a_body_that_goes_over_to_the_other_person(met):
    motion, truth = met
    first, second = motion.people
    astray = second.joints2d.copy()
    astray[14:] = first.joints2d[SECOND_FROM + 14 :]
    counts = count(replace(motion, people=(first, replace(second, joints2d=astray))), truth)
    assert counts.swallowed == 1
    assert counts.double == FRAMES - 15
    assert counts.missed == 25 - 15
    assert counts.switches == 0  # the first person is shown by their own track all along


def test_two_who_change_places(met):
    motion, truth = met
    first, second = motion.people
    one, other = first.joints2d.copy(), second.joints2d.copy()
    one[15:], other[14:] = second.joints2d[14:], first.joints2d[15:]
    swapped = (replace(first, joints2d=one), replace(second, joints2d=other))
    counts = count(replace(motion, people=swapped), truth)
    assert counts.switches == 2 and counts.double == 0 and counts.missed == 0
    filled = [replace(p, valid=np.arange(len(p.valid)) < 5) for p in swapped]
    assert count(replace(motion, people=tuple(filled)), truth).switches == 0


def test_seeds_are_numbers_and_ranges():
    assert list(seeds_of("0-2,7")) == [0, 1, 2, 7]
    assert kind_of(0) != kind_of(1) and kind_of(4) == kind_of(0)
