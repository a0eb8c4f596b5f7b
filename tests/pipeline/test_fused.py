"""Landmarks and dense maps together: one look at each crop, joints by the doubt of both."""

from dataclasses import replace

import numpy as np
import pytest

from hpsvid.errors import InputError
from hpsvid.options import Options
from hpsvid.pipeline.fused import SURER, TOGETHER, FusedBackbone, fused
from hpsvid.types import Camera, Frames, Observations, Track

FRAMES = 4000


def read(joints, sigma, first=0) -> Observations:
    total = len(joints)
    return Observations(
        track_id=0,
        frame_index=np.arange(first, first + total),
        joints=joints.astype(np.float32),
        sigma=np.full((total, 29), sigma, np.float32),
        twist=np.tile(np.array([1, 0], np.float32), (total, 23, 1)),
        betas=np.zeros((total, 10), np.float32),
        landmarks2d=np.zeros((total, 33, 3), np.float32),
        pelvis=np.zeros((total, 3), np.float32),
        valid=np.ones(total, bool),
    )


def noise(a, b):
    """Errors (T, 29, 3) of two readings with these deviations and the correlation TOGETHER."""
    rng = np.random.default_rng(0)
    shared, one, other = rng.normal(size=(3, FRAMES, 29, 3))
    mix = np.sqrt(TOGETHER), np.sqrt(1 - TOGETHER)
    return a * (mix[0] * shared + mix[1] * one), b * (mix[0] * shared + mix[1] * other)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.05), (0.05, 0.07), (0.06, 0.04), (0.03, 0.3)])
def test_the_mean_is_as_good_as_it_says_and_no_worse_than_either(a, b):
    one, other = noise(a, b)
    both = fused(read(one, a), read(other, b / SURER))  # the dense network is surer than it may be
    off = both.joints.std()
    assert off < 1.01 * min(a, b)
    assert np.abs(both.sigma / off - 1).max() < 0.02
    if b > a / TOGETHER:  # says nothing that the better one does not say
        assert np.array_equal(both.joints, one.astype(np.float32))
    else:
        assert off < 0.99 * min(a, b)


def test_frames_are_matched_and_only_what_both_saw_is_mixed():
    one, other = read(np.zeros((5, 29, 3)), 0.05, first=3), read(np.ones((9, 29, 3)), 0.05 / SURER)
    valid = np.ones(9, bool)
    valid[4] = False
    masks = np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((9, 64, 64), np.uint8)
    dense = replace(
        other, valid=valid, masks=masks, crops=np.zeros((9, 4), np.float32),
        places=np.zeros((9, 8, 3), np.int16),
    )  # fmt: skip
    both = fused(one, dense)
    assert both.frame_index.tolist() == [3, 4, 5, 6, 7]
    assert np.allclose(both.joints[[0, 2, 3, 4]], 0.5)
    assert not both.joints[1].any()
    assert both.masks is not None
    assert both.masks[:, 0, 0].tolist() == [3, 4, 5, 6, 7]


def test_the_landmark_network_is_asked_once_about_a_crop(body):
    track = Track(
        id=0,
        frame_index=np.arange(6),
        boxes=np.tile(np.array([200, 100, 320, 400], np.float32), (6, 1)),
        scores=np.ones(6, np.float32),
        detected=np.ones(6, bool),
    )
    K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    options = Options(backbone="fused", align=True, threads=1)
    backbone = FusedBackbone([track], Camera(K=K, source="given"), body, options)
    asked, own = [], backbone.network

    def counted(crops):
        answer = own(crops)
        asked.append(crops)
        return answer

    backbone.network = counted
    rgb = np.random.default_rng(0).integers(0, 255, (6, 480, 640, 3), dtype=np.uint8)
    for part in (slice(0, 4), slice(4, 6)):
        backbone.observe(
            Frames(rgb=rgb[part], index=np.arange(6)[part], pts_s=np.arange(6)[part] / 30)
        )
    assert asked
    assert len({crops.tobytes() for crops in asked}) == len(asked)
    (obs,) = backbone.observations()
    assert obs.masks is not None
    assert len(obs.masks) == len(obs)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"align": True}, "no dense maps"), ({"backbone": "fused", "network": "small"}, "large"),
     ({"backbone": "fused", "lifter": "geometric"}, "learned")],
)  # fmt: skip
def test_what_cannot_go_together_is_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        Options(**wrong)
