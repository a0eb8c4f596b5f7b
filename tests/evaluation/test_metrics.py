"""Each measure against an independent formula."""

import math

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from hpsvid.evaluation.metrics import (
    acceleration_error,
    acceleration_errors,
    aligned_errors,
    auc,
    jerk_sizes,
    joint_errors,
    joint_means,
    mean,
    mpjpe,
    pa_mpjpe,
    pck,
    skate_speeds,
)

RNG = np.random.default_rng(0)
SHIFT = np.array([0.03, 0, 0.04])  # 50 mm


def joints(frames: int = 20, count: int = 12) -> np.ndarray:
    return RNG.normal(size=(frames, count, 3))


def test_mpjpe_of_a_shift_is_its_length():
    gt = joints()
    assert mpjpe(gt + SHIFT, gt) == pytest.approx(50)
    assert mpjpe(gt + SHIFT, gt, root=0) == pytest.approx(0, abs=1e-9)
    assert mpjpe(gt + SHIFT, gt, root=(6, 7)) == pytest.approx(0, abs=1e-9)


def test_mpjpe_counts_what_is_known():
    gt = joints()
    pred = gt + SHIFT / 5
    gt[3], gt[5, 2], pred[6, 1] = np.nan, np.nan, np.nan
    assert mpjpe(pred, gt) == pytest.approx(10)
    assert np.isnan(mpjpe(pred, np.full_like(gt, np.nan)))


def test_pa_mpjpe_forgives_a_similarity_and_not_a_mirror():
    gt = joints()
    turned = np.stack(
        [0.1 + 1.7 * f @ Rotation.from_rotvec([i, 1, -i]).as_matrix().T for i, f in enumerate(gt)]
    )
    assert pa_mpjpe(turned, gt) == pytest.approx(0, abs=1e-9)
    assert pa_mpjpe(turned * [-1, 1, 1], gt) > 100


def test_pa_mpjpe_agrees_with_scipy():
    """scipy's procrustes normalises both sets and may mirror: undo the one, avoid the other."""
    gt = joints()
    pred = gt + 0.2 * joints()
    errors = []
    for ours, truth in zip(pred, gt, strict=True):
        a, b, _ = procrustes(truth, ours)
        size = np.linalg.norm(truth - truth.mean(0))
        errors.append(np.linalg.norm(a - b, axis=1).mean() * size * 1000)
    assert pa_mpjpe(pred, gt) == pytest.approx(np.mean(errors), rel=1e-9)


def test_pa_mpjpe_leaves_unknown_joints_out_of_the_fit():
    gt = joints()
    pred = gt + 0.1 * joints()
    few = pa_mpjpe(pred[:, :9], gt[:, :9])
    wrecked = pred.copy()
    wrecked[:, 9:] = np.nan
    assert pa_mpjpe(wrecked, gt) == pytest.approx(few)
    wrecked[0, 2:] = np.nan  # two joints fit anything
    assert pa_mpjpe(wrecked, gt) == pytest.approx(pa_mpjpe(pred[1:, :9], gt[1:, :9]))


def test_acceleration_and_jerk_of_closed_forms():
    fps = 50.0
    t = np.arange(100)[:, None, None] / fps
    falling = np.tile(0.5 * 9.81 * t**2, (1, 3, 3)) * [0, 1, 0]
    assert acceleration_error(falling, 0 * falling, fps) == pytest.approx(9810)
    assert acceleration_error(falling, falling + 5 + t, fps) == pytest.approx(0, abs=1e-6)
    assert mean(jerk_sizes(falling, fps)) == pytest.approx(0, abs=1e-6)
    cubic = np.tile(t**3 / 6, (1, 3, 3)) * [2, 0, 0]
    assert mean(jerk_sizes(cubic, fps)) == pytest.approx(2)


def test_acceleration_skips_triples_with_a_hole():
    fps = 30.0
    still = np.zeros((10, 2, 3))
    still[4, 0] = np.nan
    found = acceleration_errors(still, 0 * still, fps)
    assert np.isnan(found[:, 0]).tolist() == [t in (2, 3, 4) for t in range(8)]
    assert mean(found) == 0
    assert np.isnan(acceleration_error(still[:2], 0 * still[:2], fps))


def test_errors_of_each_point_lie_where_it_counts_and_sum_up_to_the_mean():
    gt = joints()
    pred = gt + 0.1 * joints()
    gt[3], pred[5, 2] = np.nan, np.nan
    errors = joint_errors(pred, gt)
    assert errors[0, 4] == pytest.approx(1000 * math.dist(pred[0, 4], gt[0, 4]))
    assert np.isnan(errors[3]).all()
    assert np.isnan(errors).sum() == 12 + 1
    assert mean(errors) == mpjpe(pred, gt)
    means = joint_means(errors)
    assert means[2] == pytest.approx(np.mean([errors[t, 2] for t in range(20) if t not in (3, 5)]))
    aligned = joint_means(aligned_errors(pred, gt))
    assert np.all(aligned < means)
    halves = np.concatenate([joint_errors(p, g) for p, g in zip(
        np.split(pred, [7]), np.split(gt, [7]), strict=True)])  # fmt: skip
    np.testing.assert_array_equal(halves, errors)


def test_pck_and_auc_of_evenly_spread_errors():
    """Errors of 0, 1, ..., 300 mm: at most h mm are h + 1 of 301, whatever the threshold."""
    errors = np.append(np.arange(301.0), np.nan)
    assert pck(errors) == pytest.approx(151 / 301)
    assert pck(errors, 10) == pytest.approx(11 / 301)
    assert auc(errors) == pytest.approx(76 / 301)  # the mean threshold is 75
    assert auc(np.zeros(4)) == 1
    assert np.isnan(pck(np.full(3, np.nan)))


def test_a_foot_skates_only_while_the_truth_stands():
    fps, frames = 50.0, 40
    truth = np.zeros((frames, 3, 3))
    truth[20:, 1, 0] = np.arange(20) * 0.02  # 1 m/s: this foot walks off
    truth[:, 2, 2] = np.arange(frames) * 9.0  # no foot
    slides = truth + np.arange(frames)[:, None, None] * [0, 0, 0.004]  # 200 mm/s

    def skate(pred: np.ndarray, feet: list[int]) -> float:
        return mean(skate_speeds(pred, truth, fps, feet))

    assert skate(slides, [0, 1]) == pytest.approx(200)
    wild = slides.copy()
    wild[25, 1] += 5  # while it walks, anything goes
    assert skate(wild, [0, 1]) == pytest.approx(200)
    assert skate(truth, [0, 1]) == 0
    assert np.isnan(skate(slides, [2]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        mpjpe(joints(3), joints(4))
