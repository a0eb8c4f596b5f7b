"""Alignment with masks and places: what a viewer would see of the outline, and what stays put."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import axis_angle_to_matrix, image_of
from hpsvid.common.raster import NEAR_M, edge_functions, homogeneous_px, visible_faces
from hpsvid.motion.align import align
from hpsvid.types import BodyParams
from tests.motion.test_person import CAMERA, moving, observe

COUNT = 64
LOOKED = [0, 2, 4, 6, 8]


def drawn(body, params, t, crop):
    """The faces (64, 64) that a crop's cells see, -1 none."""
    x, y, side, _ = crop
    K = np.diag([COUNT / side, COUNT / side, 1]) @ CAMERA.K
    K[:2, 2] = (CAMERA.K[:2, 2] - [x - side / 2, y - side / 2]) * COUNT / side
    image = homogeneous_px(body.vertices_of(params, slice(t, t + 1))[0], K)
    faces = edge_functions(image, body.faces, COUNT, COUNT, NEAR_M, True)
    return visible_faces(*faces, (0, 0, COUNT, COUNT), 1, NEAR_M)[0][..., 0]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(scope="module")
def scene(body):
    """The true body, evidence with its exact maps, and a body whose arms and legs are off."""
    true = moving(body, 9)
    obs = observe(body, true)
    crops = np.full((9, 4), np.nan, np.float32)
    masks = np.zeros((9, COUNT, COUNT), np.uint8)
    places = np.full((9, 64, 3), -1, np.int16)
    rng = np.random.default_rng(0)
    for t in LOOKED:
        image = image_of(body.vertices_of(true, slice(t, t + 1))[0], CAMERA.K)
        low, high = image.min(0), image.max(0)
        crops[t] = *((low + high) / 2), 1.25 * (high - low).max(), 0
        seen = drawn(body, true, t, crops[t])
        masks[t] = 255 * (seen >= 0)
        cells = rng.permutation(np.flatnonzero(seen >= 0))[:64]
        places[t] = np.stack([cells, body.faces[seen.ravel()[cells], 0], np.full(64, 20)], -1)
    flat = obs.landmarks2d.copy()
    flat[..., 2] = 0  # nothing but the maps says where the body is
    obs = replace(obs, landmarks2d=flat, crops=crops, masks=masks, places=places)
    off = np.zeros((9, 24, 3), np.float32)
    off[:, JOINT["left_shoulder"]] = off[:, JOINT["right_hip"]] = 0.12
    off[:, JOINT["right_knee"], 0] = 0.15
    turned = axis_angle_to_matrix(torch.from_numpy(off)) @ torch.from_numpy(true.rotmats)
    moved = true.transl + np.array([0.02, -0.02, 0], np.float32)
    return true, obs, BodyParams(rotmats=turned.numpy(), betas=true.betas, transl=moved)


def of_vertices(body, one, other):
    """Mean distance of vertices across the view (T,) m."""
    apart = body.vertices_of(one) - body.vertices_of(other)
    return np.linalg.norm(apart[..., :2], axis=-1).mean(1)


@pytest.mark.parametrize("kept", ["both", "masks", "places"])
def test_a_body_that_is_off_falls_on_its_mask_and_places(body, scene, kept):
    true, obs, off = scene
    if kept == "masks":
        obs = replace(obs, places=np.full_like(obs.places, -1))
    if kept == "places":
        obs = replace(obs, masks=np.zeros_like(obs.masks))
    rotmats, transl = align(body, off.rotmats, off.betas, off.transl, obs, CAMERA)
    found = BodyParams(rotmats=rotmats, betas=off.betas, transl=transl)
    before, after = of_vertices(body, true, off), of_vertices(body, true, found)
    assert (after[LOOKED] < 0.75 * before[LOOKED]).all()
    assert (after < 0.85 * before).all()  # between two looks, too
    for t in LOOKED:
        mask = obs.masks[t] > 127
        if kept != "places":
            crop = obs.crops[t]
            assert iou(drawn(body, found, t, crop) >= 0, mask) > 0.02 + iou(
                drawn(body, off, t, crop) >= 0, mask
            )


def test_without_maps_nothing_changes(body, scene):
    _, obs, off = scene
    for blind in (
        replace(obs, masks=None, crops=None, places=None),
        replace(obs, crops=np.full_like(obs.crops, np.nan)),
    ):
        rotmats, transl = align(body, off.rotmats, off.betas, off.transl, blind, CAMERA)
        assert np.array_equal(rotmats, off.rotmats)
        assert np.array_equal(transl, off.transl)


def test_somebody_elses_mask_far_away_and_wrong_places_do_not_move_a_body(body, scene):
    true, obs, _ = scene
    rng = np.random.default_rng(1)
    places = obs.places.copy()
    places[..., 1] = rng.integers(0, len(body.template), places.shape[:2])
    wrong = replace(obs, masks=np.roll(obs.masks, COUNT // 2, 2), places=places)
    rotmats, transl = align(body, true.rotmats, true.betas, true.transl, wrong, CAMERA)
    found = BodyParams(rotmats=rotmats, betas=true.betas, transl=transl)
    assert of_vertices(body, true, found).max() < 0.03
