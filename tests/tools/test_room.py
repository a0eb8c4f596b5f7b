"""The room and its camera, boxes in it and their shadows on its floor."""

import numpy as np
import pytest

from hpsvid.common.raster import vertex_normals
from tools.people.props import painted_box
from tools.people.room import SUPERSAMPLE, Light, Room, draw_room, look_at, make_room
from tools.people.shadow import floor_shadow

LIGHT = Light(towards=np.array([0.0, 1.0, 0.0]), key=0.5, fill=0.5)
GREY = (128, 128, 128)
SIZE = (160, 90)


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(np.array([-2.0, 0, -2]), np.array([2.0, 2.5, 2]), seed=1)


def view(roll_deg: float = 0.0):
    eye, target = np.array([0.3, 1.2, -1.8]), np.array([0.0, 0.8, 0.5])
    return look_at(eye, target, focal_px=130, size=SIZE, roll_deg=roll_deg)


def pixel_of(point, seen):
    image = seen.K @ (seen.rotation @ point + seen.translation)
    return image[:2] / image[2]


def shadow_of(centre, size, room, light):
    box = painted_box(GREY, centre, size, 0)
    return floor_shadow([(box.vertices, box.surface.faces)], room, light)


def test_camera_looks_at_its_target_and_has_up_above():
    seen = view()
    target = pixel_of(np.array([0.0, 0.8, 0.5]), seen)
    assert target == pytest.approx([80, 45], abs=1e-6)
    assert pixel_of(np.array([0.0, 1.0, 0.5]), seen)[1] < target[1]
    assert np.linalg.det(seen.rotation) == pytest.approx(1)
    assert seen.eye == pytest.approx([0.3, 1.2, -1.8])


def test_positive_roll_tips_the_right_side_up():
    level, rolled = view(), view(roll_deg=10)
    point = np.array([-0.8, 0.8, 0.5])  # looking along +z, world -x is on the right
    assert pixel_of(point, level)[0] > 80
    assert pixel_of(point, rolled)[1] < pixel_of(point, level)[1] - 2


def test_room_corners_are_drawn_where_they_project(room):
    seen = view()
    marked = make_room(room.low, room.high, seed=1)
    texels = np.full_like(marked.texels, 200)
    for offset, height, width in marked.levels[2]:  # the floor is black at all levels
        texels[offset : offset + height * width] = 0
    picture = draw_room(
        Room(low=room.low, high=room.high, texels=texels, levels=marked.levels),
        seen, LIGHT, np.zeros((4, 4)),
    )  # fmt: skip
    foot = pixel_of(np.array([0.0, 0.0, 2.0]), seen) * SUPERSAMPLE  # where floor meets far wall
    column, row = int(foot[0]), round(foot[1])
    assert picture[row + 1, column].max() == 0
    assert picture[row - 2, column].min() > 50


def test_shadow_lies_away_from_the_light_and_under_the_thing(room):
    slanted = Light(towards=np.array([1.0, 1.0, 0.0]), key=0.6, fill=0.4)
    dark = shadow_of((0.0, 1.0, 0.0), (0.3, 0.1, 0.3), room, slanted)
    row, column = np.unravel_index(dark.argmax(), dark.shape)
    x = (column + 0.5) / dark.shape[1] * 4 - 2
    z = (row + 0.5) / dark.shape[0] * 4 - 2
    assert (x, z) == (pytest.approx(-1.0, abs=0.1), pytest.approx(0.0, abs=0.1))
    assert 0 <= dark.min() < 0.01
    assert dark.max() < 1
    standing = shadow_of((0.5, 0.5, 0.0), (0.3, 1.0, 0.3), room, slanted)
    under = standing[100, 125]  # (0.5, 0) in cells of 2 cm
    assert under > 0.5


def test_box_corners_and_faces():
    box = painted_box(GREY, (1.0, 2, 3), (0.2, 0.4, 0.6), 90)
    # turned by a quarter, its width lies along z
    assert np.ptp(box.vertices, axis=0) == pytest.approx([0.6, 0.4, 0.2])
    normals = vertex_normals(box.vertices, box.surface.faces)
    outward = np.abs(((box.vertices - [1, 2, 3]) * normals).sum(1))
    assert (outward > 0.09).all()
    assert (box.surface.texels == [*GREY, 255]).all()


def test_rooms_differ_by_seed_and_not_by_run(room):
    seen, dark = view(3), np.zeros((4, 4))
    first = draw_room(room, seen, LIGHT, dark)
    again = make_room(room.low, room.high, seed=1)
    assert (draw_room(again, seen, LIGHT, dark) == first).all()
    other = make_room(room.low, room.high, seed=2)
    assert (draw_room(other, seen, LIGHT, dark) != first).any()
