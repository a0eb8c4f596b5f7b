"""Views of a motion other than its meshes over the clip."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.options import DrawOptions, ViewName
from hpsvid.render import load_renderer
from hpsvid.render.overlay import Overlay, person_colour
from hpsvid.render.views import View
from hpsvid.types import Array, Frames, Motion
from tests.factories import make_motion

BLANK = (236, 236, 233)


def drawn(motion: Motion, body: Body, view: str, frames: int = 2, **options: Any) -> Array:
    rgb = np.full((frames, 720, 1280, 3), 90, np.uint8)
    pictures = Frames(rgb=rgb, index=np.arange(frames), pts_s=motion.pts_s[:frames])
    overlay = Overlay(motion, body, load_renderer("raster", 1), alpha=1.0)
    return np.stack(list(View(overlay, DrawOptions(view=view, **options)).draw(pictures)))


@pytest.fixture(scope="module")
def motion(body: Body) -> Motion:
    return make_motion(body, people=1, frames=2, seed=6)


def touched(picture: Array, below: Any) -> Array:
    return (picture != np.array(below)).any(-1)


def test_bones_join_the_joints_in_the_persons_colour(motion: Motion, body: Body) -> None:
    picture = drawn(motion, body, "skeleton")[1]
    for x, y in motion.people[0].joints2d[1]:
        if 0 <= x < 1279 and 0 <= y < 719:
            np.testing.assert_array_equal(picture[round(y), round(x)], person_colour(0))
    assert touched(picture, 90).mean() < 0.05


def test_a_body_alone_is_where_the_overlay_has_it(motion: Motion, body: Body) -> None:
    over, alone = drawn(motion, body, "overlay"), drawn(motion, body, "mesh")
    assert (touched(over, 90) == touched(alone, BLANK)).mean() > 0.999


@pytest.mark.parametrize("view", ["side", "top"])
def test_from_elsewhere_the_whole_body_is_in_the_picture(
    motion: Motion, body: Body, view: ViewName
) -> None:
    mask = touched(drawn(motion, body, view)[0], BLANK)
    assert mask.mean() > 0.01
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()


def test_from_the_side_near_is_left_and_from_above_far_is_up(motion: Motion, body: Body) -> None:
    """A camera that looks along -x of a world with z towards the clip's camera, or down."""
    person = motion.people[0]
    walk = np.array([[0, 0, 0], [0, 0, 2.0]], np.float32)  # away from the clip's camera
    params = dataclasses.replace(
        person.body, rotmats=person.body.rotmats[[0, 0]], transl=person.body.transl[[0, 0]] + walk
    )
    walker = dataclasses.replace(person, body=params, joints=body.joints_of(params))
    moved = dataclasses.replace(motion, people=(walker,))
    for view, axis, sign in (("side", 1, 1), ("top", 0, -1)):
        masks = [touched(picture, BLANK) for picture in drawn(moved, body, view)]  # pyright: ignore
        near, far = (np.argwhere(mask).mean(0) for mask in masks)
        assert sign * (far - near)[axis] > 50  # px
        assert abs((far - near)[1 - axis]) < 30


def test_beside_holds_the_overlay_and_the_side_view(motion: Motion, body: Body) -> None:
    both = drawn(motion, body, "beside", 1)
    assert both.shape == (1, 720, 2560, 3)
    np.testing.assert_array_equal(both[:, :, :1280], drawn(motion, body, "overlay", 1))
    np.testing.assert_array_equal(both[:, :, 1280:], drawn(motion, body, "side", 1))
