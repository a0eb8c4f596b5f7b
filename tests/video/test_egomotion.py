"""How the camera turns, from the background."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.options import Options
from hpsvid.pipeline.stages import StageClock, make_context, with_turn
from hpsvid.types import Array, Clip
from hpsvid.video.egomotion import BackgroundWatch, CameraTurn, Steps, camera_turn

SIZE = (480, 270)
FOCAL = 420.0
K = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
NOBODY = np.zeros((0, 4))


def wall() -> Array:
    """Patches of light, as sharp as a film's."""
    rng = np.random.default_rng(0)
    grain = rng.uniform(0, 255, (90, 160)).astype(np.float32)
    return cv2.GaussianBlur(
        cv2.resize(grain, (1600, 900), interpolation=cv2.INTER_CUBIC), (0, 0), 2
    )


def film(turns: Rotation, person: bool = False) -> list[tuple[Array, Array]]:
    """What a camera sees of a wall at infinity, with a bright patch that goes its own way."""
    picture, middle = wall(), np.array([[FOCAL, 0, 800], [0, FOCAL, 450], [0, 0, 1]])
    frames = []
    for i, turn in enumerate(turns.as_matrix()):
        grey = cv2.warpPerspective(picture, K @ turn.T @ np.linalg.inv(middle), SIZE)
        rgb = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
        boxes = NOBODY
        if person:
            x = 100 + 4 * i
            rgb[60:250, x : x + 90] = np.roll(rgb[60:250, 200:290], 3 * i, 0)
            boxes = np.array([[x, 60, x + 90, 250.0]])
        frames.append((rgb, boxes))
    return frames


def turn_of(
    frames: list[tuple[Array, Array]], focal: float = FOCAL, known: bool = True
) -> CameraTurn:
    watch = BackgroundWatch(*SIZE)
    for rgb, boxes in frames:
        watch.update(rgb, boxes, cut=False)
    return camera_turn(watch.steps(), focal, focal_known=known)


def errors_deg(found: CameraTurn, turns: Rotation) -> Array:
    from_first = (turns[0].inv() * turns).as_matrix()
    return np.rad2deg(Rotation.from_matrix(found.turns.mT @ from_first).magnitude())


def there_and_back(frames: int, degrees: float) -> Rotation:
    """A pan with a little roll and nod, which ends where it began."""
    swing = np.sin(np.linspace(0, np.pi, frames))
    return Rotation.from_euler("YXZ", degrees * swing[:, None] * [1, 0.2, 0.1], degrees=True)


@pytest.mark.parametrize("person", [False, True])
def test_a_pan_is_followed_to_a_fifth_of_a_degree_and_comes_back(person: bool) -> None:
    turns = there_and_back(60, 35)
    found = turn_of(film(turns, person))
    assert not found.stands
    assert not found.parallax
    assert found.seen == 1
    off = errors_deg(found, turns)
    assert off.max() < 0.3
    assert off[-1] < 0.1  # drift is bounded where the view comes back


def test_the_focal_length_is_told_by_a_wide_pan_and_not_by_a_small_one() -> None:
    told = turn_of(film(there_and_back(50, 30)), focal=700, known=False)
    assert told.focal_px == pytest.approx(FOCAL, rel=0.03)
    assert turn_of(film(there_and_back(50, 3)), focal=700, known=False).focal_px is None


def test_a_camera_that_stands_is_exactly_still() -> None:
    rng = np.random.default_rng(1)
    still = film(Rotation.identity(30), person=True)
    grainy = [((rgb + rng.normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8), boxes)
              for rgb, boxes in still]  # fmt: skip
    found = turn_of(grainy)
    assert found.stands
    assert (found.turns == np.eye(3)).all()


def test_a_cut_begins_anew_and_a_blank_picture_is_bridged() -> None:
    turns = there_and_back(30, 20)
    frames = film(turns)
    frames[12] = (np.zeros_like(frames[0][0]), NOBODY)
    watch = BackgroundWatch(*SIZE)
    for i, (rgb, boxes) in enumerate(frames):
        watch.update(rgb, boxes, cut=i == 20)
    found = camera_turn(watch.steps(), FOCAL, focal_known=True)
    assert found.seen == pytest.approx(29 / 30)
    assert errors_deg(found, turns)[:12].max() < 0.2
    assert (found.turns[20] == np.eye(3)).all()
    after = (turns[20].inv() * turns[20:]).as_matrix()
    off = Rotation.from_matrix(found.turns[20:].mT @ after).magnitude()
    assert np.rad2deg(off).max() < 0.2


@pytest.mark.parametrize("frames", [[[0, 9]], [[-1, 1]], [[1, 1]], [[1, 2], [0, 1]]])
def test_steps_of_a_damaged_store_are_refused(frames: list[list[int]]) -> None:
    watch = BackgroundWatch(*SIZE)
    for rgb, boxes in film(Rotation.identity(4)):
        watch.update(rgb, boxes, cut=False)
    flow = np.zeros((len(frames), 3, 4), np.int16)
    with pytest.raises(ValueError, match="flow_frames"):
        replace(watch.steps(), flow_frames=np.array(frames), flow=flow)


def test_pictures_without_anything_to_follow_say_nothing() -> None:
    found = turn_of([(np.full((*SIZE[::-1], 3), 90, np.uint8), NOBODY)] * 5)
    assert found.stands
    assert found.seen == 0


def test_a_standing_camera_stands_though_somebody_covers_the_background_for_a_moment() -> None:
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (45, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    watch = BackgroundWatch(480, 360)
    for frame in range(40):
        shift = 12 * (frame - 20) if frame in (20, 21, 22) else 0
        watch.update(np.roll(background, shift, 1), np.zeros((0, 4)), cut=frame == 0)
    turn = camera_turn(watch.steps(), 400.0, focal_known=True)
    assert turn.stands and not turn.parallax
    assert (turn.turns == np.eye(3)).all()


@pytest.mark.parametrize("nearer", [True, False])
def test_a_camera_that_comes_nearer_is_told_to_travel(nearer: bool) -> None:
    """What grows by half in the picture is nearer: no turning does that."""
    maps = np.tile(np.eye(3), (20, 1, 1))
    if nearer:
        grown = np.linspace(1, 1.5, 20)
        maps[:, 0, 0] = maps[:, 1, 1] = grown
        maps[:, :2, 2] = (1 - grown)[:, None] * [160, 90]  # about the middle
    else:
        maps[:, 0, 2] = np.linspace(0, 8, 20)
    steps = Steps(
        key=np.zeros(20, np.int64), homography=maps, scale=0.25, width=1280, height=720,
        segments=np.zeros((0, 4)), segment_frame=np.zeros(0, np.int64),
    flow_frames=np.zeros((0, 2), np.int64), flow=np.zeros((0, 0, 4), np.int16),
    )  # fmt: skip
    clip = Clip(
        path=Path("a.mp4"), width=1280, height=720, fps=Fraction(30), rotation=0, audio=False,
        frame_count=20,
    )  # fmt: skip
    body = cast(Body, None)  # has no part in it
    context, turn = with_turn(make_context(clip, body, Options(), StageClock()), steps)
    assert not turn.stands
    assert context.travels == turn.parallax == nearer
