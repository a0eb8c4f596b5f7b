"""The table of bodies over people: masks, and what covers them."""

import json

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.motion.person import make_person
from hpsvid.motion.smoothing import Smoothed
from hpsvid.types import Motion, Provenance
from tests.motion.test_person import CAMERA, CLIP, moving, observe, track_of
from tools.people.film import Frame
from tools.tables.alignment import REAL_MASKS, Shown, cover, filled, mesh_masks
from tools.tables.alignment_takes import masks_of


def test_a_polygon_is_filled_between_its_corners():
    mask = filled([[[2, 1], [8, 1], [8, 5], [2, 5]]], (10, 8))
    assert mask.shape == (8, 10)
    assert mask[1:5, 2:8].all()
    assert mask.sum() <= 7 * 5  # a border that lies on a pixel's middle may count


def test_covers_count_what_is_on_both_and_leave_out_what_is_ignored():
    mask, mesh = np.zeros((2, 10, 10), bool)
    mask[:, :6] = True
    mesh[:, 4:8] = True
    shown = Shown(frame=0, mask=mask, counts=np.ones((10, 10), bool))
    assert cover(mesh, shown) == pytest.approx((2 / 8, 2 / 4, 2 / 6))
    counts = np.ones((10, 10), bool)
    counts[:, 6:] = False
    assert cover(mesh, Shown(frame=0, mask=mask, counts=counts)) == pytest.approx((2 / 6, 1, 2 / 6))


def test_the_mesh_lies_where_its_joints_do(body: Body):
    params = moving(body, 4)
    obs = observe(body, params)
    evidence = Smoothed(raw=obs, obs=obs, pts_s=np.arange(4) / 30)
    person = make_person(track_of(4), evidence, params.rotmats, params.betas, body, CAMERA)
    motion = Motion(
        clip=CLIP, pts_s=np.arange(4) / 30, camera=CAMERA, people=(person,), provenance=Provenance()
    )
    (mask,) = mesh_masks(motion, 2, body, (CLIP.width, CLIP.height))
    x, y = person.joints2d[2, :22].astype(int).T
    assert mask[y, x].mean() > 0.9
    assert mesh_masks(motion, 9, body, (CLIP.width, CLIP.height)) == []


def test_real_masks_are_of_people_within_their_pictures():
    clips = json.loads(REAL_MASKS.read_text(encoding="utf-8"))
    assert sum(len(facts["masks"]) for facts in clips.values()) == 40
    for facts in clips.values():
        width, height = facts["size"]
        for row in facts["masks"]:
            mask = filled(row["person"], (width, height))
            assert 1000 < mask.sum() < 0.3 * width * height
            corners = np.concatenate([np.array(points) for points in row["person"]])
            assert (corners >= 0).all()
            assert (corners <= [width, height]).all()


def test_a_takes_masks_are_of_those_who_show():
    owner = np.full((4, 30, 40), -1, np.int16)
    owner[:, :25, :20] = 0
    owner[:1, :25, 20:] = 1  # most samples there show nobody
    frames = [Frame(rgb=np.zeros((0,)), owner=owner, nearness=np.zeros(0))] * 8
    arrays = masks_of(frames, 2, np.eye(3))
    assert arrays["person"].tolist() == [0]
    assert arrays["frame"].tolist() == [3]
    assert np.array_equal(arrays["mask"][0], (owner == 0).all(0))
