"""What the closing summary says of a motion."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.pipeline.summary import in_words
from hpsvid.types import Camera, CameraSource, Motion
from tests.factories import make_motion


def motion_of(body: Body, *, height_px: float, off_px: float, seen: float) -> Motion:
    """One person of that height in the picture, seen in that share of 20 frames."""
    motion = make_motion(body, people=1, frames=20)
    (person,) = motion.people
    boxes = np.tile(np.array([100, 50, 140, 50 + height_px], np.float32), (20, 1))
    valid = np.arange(20) < 20 * seen
    off = np.where(valid, np.float32(off_px), np.float32(np.nan))
    person = replace(
        person, track=replace(person.track, boxes=boxes), valid=valid, reprojection_px=off
    )
    return replace(motion, people=(person,))


@pytest.mark.parametrize(
    ("height_px", "off_px", "seen", "grade", "says"),
    [
        (400, 6, 1.0, "good", "100% of the frames, 1.5% of the height"),
        (400, 16, 1.0, "fair", "look at the overlay"),
        (400, 30, 1.0, "poor", "7.5% of the height"),
        (400, 6, 0.7, "fair", "filled in"),
        (400, 6, 0.4, "poor", "seen in 40%"),
        (60, 1, 1.0, "fair", "only 60 px tall"),
    ],
)
def test_a_person_is_graded_in_words(
    body: Body, height_px: float, off_px: float, seen: float, grade: str, says: str
) -> None:
    _, line = in_words(motion_of(body, height_px=height_px, off_px=off_px, seen=seen))
    assert line.startswith(f"person 0: {grade}; ") and says in line


def test_a_person_who_was_never_seen_is_poor(body: Body) -> None:
    _, line = in_words(motion_of(body, height_px=300, off_px=0, seen=0.0))
    assert line.startswith("person 0: poor; seen in 0%")


@pytest.mark.parametrize(
    ("source", "says"),
    [("given", "as given"), ("metadata", "as the file states"), ("guessed", "--focal PX")],
)
def test_the_focal_lengths_source_is_told(body: Body, source: str, says: str) -> None:
    motion = make_motion(body, people=0)
    camera = Camera(K=motion.camera.K, source=source)  # pyright: ignore[reportArgumentType]
    (line,) = in_words(replace(motion, camera=camera))
    assert "1000 px" in line and says in line


@pytest.mark.parametrize("source", get_args(CameraSource))
def test_whatever_says_the_focal_length_is_named(body: Body, source: CameraSource) -> None:
    motion = motion_of(body, height_px=300, off_px=5, seen=1.0)
    said, *_ = in_words(replace(motion, camera=Camera(K=motion.camera.K, source=source)))
    assert "1000 px" in said
