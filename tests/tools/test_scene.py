"""The scene renderer: perspective, occlusion, light and shadow are where they belong."""

import numpy as np
import pytest

from tools.build_body.look import CAP, EYE, JERSEY, SHOES, SKIN, TROUSERS
from tools.people.room import SUPERSAMPLE, Light, Room, draw_room, look_at, make_room
from tools.people.scene import box_mesh, draw, dress, floor_shadow

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


def test_nearer_box_hides_the_farther_one_and_shares_are_exact(room):
    near = box_mesh((0.0, 0.8, 0.2), (0.5, 0.5, 0.1), 0, GREY)
    far = box_mesh((0.0, 0.8, 0.9), (0.5, 0.5, 0.1), 0, GREY)
    aside = box_mesh((30.0, 0.8, 0.9), (0.5, 0.5, 0.1), 0, GREY)
    picture = draw(room, view(), LIGHT, [far, near, aside])
    assert picture.visible[1] == 1
    assert 0 < picture.visible[0] < 0.6
    assert picture.visible[2] == 0  # out of view
    assert picture.owner[45 * SUPERSAMPLE, 80 * SUPERSAMPLE] == 1
    assert not (picture.owner == 2).any()


def test_a_thing_before_the_lens_and_behind_it_is_survived(room):
    around = box_mesh((0.3, 1.2, -1.8), (0.2, 0.2, 4.0), 0, GREY)
    behind = box_mesh((0.3, 1.2, -2.9), (0.5, 0.5, 0.5), 0, GREY)
    picture = draw(room, view(), LIGHT, [around, behind])
    assert picture.visible[1] == 0
    assert np.isfinite(picture.visible).all()


def test_shadow_lies_away_from_the_light_and_under_the_thing(room):
    slanted = Light(towards=np.array([1.0, 1.0, 0.0]), key=0.6, fill=0.4)
    box = box_mesh((0.0, 1.0, 0.0), (0.3, 0.1, 0.3), 0, GREY)
    dark = floor_shadow([box], room, slanted)
    row, column = np.unravel_index(dark.argmax(), dark.shape)
    x = (column + 0.5) / dark.shape[1] * 4 - 2
    z = (row + 0.5) / dark.shape[0] * 4 - 2
    assert (x, z) == (pytest.approx(-1.0, abs=0.1), pytest.approx(0.0, abs=0.1))
    assert 0 <= dark.min() < 0.01
    assert dark.max() < 1
    standing = box_mesh((0.5, 0.5, 0.0), (0.3, 1.0, 0.3), 0, GREY)
    under = floor_shadow([standing], room, slanted)[100, 125]  # (0.5, 0) in cells of 2 cm
    assert under > 0.5


def test_box_corners_and_normals():
    box = box_mesh((1.0, 2, 3), (0.2, 0.4, 0.6), 90, GREY)
    # turned by a quarter, its width lies along z
    assert np.ptp(box.vertices, axis=0) == pytest.approx([0.6, 0.4, 0.2])
    outward = ((box.vertices - [1, 2, 3]) * box.normals).sum(1)
    assert (outward > 0.09).all()


def test_suit_takes_the_new_colours_and_keeps_the_eyes(body):
    fresh = {
        "jersey": (200, 10, 10), "trousers": (10, 200, 10), "shoes": (10, 10, 200),
        "skin": (90, 60, 40), "hair": (1, 2, 3),
    }  # fmt: skip
    dressed = dress(body, **fresh)
    assert body.colours is not None
    known = (JERSEY, TROUSERS, SHOES, SKIN, CAP)
    for old, new in zip(known, fresh.values(), strict=True):
        part = (body.colours == np.array(old)).all(1)
        assert part.sum() > 50
        assert np.abs(dressed[part].astype(int) - new).max() <= 2
    eyes = (body.colours == np.array(EYE)).all(1)
    assert eyes.any()
    assert (dressed[eyes] == EYE).all()


def test_two_pictures_are_the_same(room):
    box = box_mesh((0.0, 0.8, 0.2), (0.5, 0.5, 0.1), 30, GREY)
    first, second = (draw(room, view(3), LIGHT, [box]).rgb for _ in range(2))
    assert first.shape == (90, 160, 3)
    assert (first == second).all()
    other = make_room(room.low, room.high, seed=2)
    assert (draw(other, view(3), LIGHT, [box]).rgb != first).any()
