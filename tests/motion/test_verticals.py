"""Up from the lines of the scene: upright edges say it, other lines say nothing."""

import numpy as np
import pytest

from hpsvid.motion.upright import tangents
from hpsvid.motion.verticals import with_lines
from hpsvid.motion.world import up_of
from hpsvid.types import Array
from hpsvid.video.lines import NO_LINES, SceneLines, line_segments, scene_lines

SIZE, FOCAL = (480, 360), 400.0
K = np.array([[FOCAL, 0, 240], [0, FOCAL, 180], [0, 0, 1.0]])
UP = up_of(np.deg2rad(22), np.deg2rad(9))


def edges(up: Array, count: int, seed: int) -> Array:
    """Edges (S, 4) px of 0.8 m along `up` (3,) somewhere before the camera."""
    rng = np.random.default_rng(seed)
    foot = rng.uniform([-1.5, -1, 3], [1.5, 1, 6], (count, 3))
    ends = [(point @ K.T)[:, :2] / point[:, 2:] for point in (foot, foot + 0.8 * up)]
    return np.concatenate(ends, 1) + rng.normal(0, 0.4, (count, 4))


def lines_of(segments: Array) -> SceneLines:
    frame = np.zeros(len(segments), np.int64)
    return scene_lines(segments, frame, np.eye(3)[None], FOCAL, SIZE)


def scattered(count: int, seed: int) -> Array:
    """Segments (S, 4) px in all directions."""
    rng = np.random.default_rng(seed)
    start, angle = rng.uniform(60, 300, (count, 2)), rng.uniform(0, np.pi, count)
    return np.concatenate([start, start + 50 * np.stack([np.cos(angle), np.sin(angle)], 1)], 1)


def degrees_off(up: Array) -> float:
    return float(np.rad2deg(np.arccos(np.clip(up @ UP, -1, 1))))


def people_say(off_deg: float) -> tuple[Array, Array]:
    """Up that is off by so much, and the information of people who stand."""
    off = np.deg2rad(off_deg) * np.array([0.8, 0.6])
    up = UP + off @ tangents(UP)
    return up / np.linalg.norm(up), np.diag(1 / np.deg2rad([8.5, 5.5]) ** 2)


def test_upright_edges_among_others_correct_people() -> None:
    up, information = people_say(9)
    segments = np.concatenate([edges(UP, 25, 1), scattered(60, 2)])
    found, told = with_lines(up, information, lines_of(segments))
    assert degrees_off(found) < 1
    sigma = np.rad2deg(np.sqrt(np.trace(np.linalg.inv(told))))
    assert degrees_off(found) / 3 < sigma < 3


def test_level_edges_at_a_right_angle_say_up_without_a_single_upright_one() -> None:
    first = tangents(UP)[0] + 0.6 * tangents(UP)[1]
    ways = (first, np.cross(UP, first))
    level = [edges(way / np.linalg.norm(way), 20, seed) for seed, way in enumerate(ways, 5)]
    up, information = people_say(9)
    found, told = with_lines(up, information, lines_of(np.concatenate([*level, scattered(30, 2)])))
    assert degrees_off(found) < 1
    assert np.rad2deg(np.sqrt(np.trace(np.linalg.inv(told)))) < 2.5


def test_edges_of_one_slanting_thing_do_not_outdo_people() -> None:
    """A ladder that leans by 15 degrees: its rails are no upright edges, whatever they agree on."""
    up, information = people_say(2)
    lean = UP + np.tan(np.deg2rad(15)) * tangents(UP)[1]
    rails = edges(lean / np.linalg.norm(lean), 3, 7)
    found, _ = with_lines(up, information, lines_of(np.concatenate([rails, scattered(40, 2)])))
    assert degrees_off(found) < 6


@pytest.mark.parametrize("lines", [NO_LINES, lines_of(scattered(60, 3))])
def test_lines_that_agree_on_nothing_leave_what_people_say(lines: SceneLines) -> None:
    up, information = people_say(0)
    found, told = with_lines(up, information, lines)
    assert degrees_off(found) < 4
    assert np.rad2deg(np.sqrt(np.trace(np.linalg.inv(told)))) > 5


def test_lines_are_found_in_pictures_but_not_on_people() -> None:
    picture = np.full((360, 480, 3), 90, np.uint8)
    picture[40:300, 100:140] = 200  # a post: two edges
    picture[60:320, 300:380] = 20  # somebody
    box = np.array([[290.0, 50, 390, 330]])
    found = line_segments(picture, box)
    assert len(found) >= 2
    assert found[:, [0, 2]].max() < 150
    assert np.abs(found[:2, 0] - found[:2, 2]).max() < 1  # the longest are upright
    assert len(line_segments(np.full((90, 160, 3), 50, np.uint8), box)) == 0
