"""Interpolation over time: linear for values, by slerp for rotations, held past the ends."""

import numpy as np
import pytest
import torch

from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.series import (
    MIN_STEP_S,
    fill_gaps,
    fill_rotations,
    interpolate,
    interpolate_rotations,
    nearest,
    runs,
    spaced_times,
    values_at,
)


def turns(angles) -> np.ndarray:
    """Rotations (T, 2, 3, 3) about z, of one joint by these angles, of the other by none."""
    vectors = torch.zeros(len(angles), 2, 3, dtype=torch.float64)
    vectors[:, 0, 2] = torch.as_tensor(angles)
    return axis_angle_to_matrix(vectors).numpy()


def angles_of(rotmats: np.ndarray) -> np.ndarray:
    return np.arctan2(rotmats[:, 0, 1, 0], rotmats[:, 0, 0, 0])


def test_values_lie_on_lines_between_the_samples_and_are_held_past_the_ends():
    times = np.array([0.0, 1, 3])
    values = np.array([[0.0, 10], [2, 10], [6, 14]])
    at = np.array([-1.0, 0.5, 1, 2, 9])
    assert interpolate(at, times, values).tolist() == [[0, 10], [1, 10], [2, 10], [4, 12], [6, 14]]
    assert interpolate(at, times, np.ones((3, 2, 5))).shape == (5, 2, 5)


def test_rotations_turn_steadily_in_time_and_are_held_past_the_ends():
    times = np.array([0.0, 1, 3])
    at = np.array([-1.0, 0.25, 1, 2, 9])
    turned = interpolate_rotations(at, times, turns([0.0, 1.0, 0.4]))
    assert angles_of(turned) == pytest.approx([0, 0.25, 1, 0.7, 0.4])
    assert turned[:, 1] == pytest.approx(np.tile(np.eye(3), (5, 1, 1)))


def test_a_moment_a_rounding_error_before_a_frame_is_that_frame():
    rotmats, times = turns([0.0, 1.0, 0.4]), np.array([0.0, 0.1, 0.2])
    at = np.array([np.nextafter(0.1, 0), 0.2])
    assert np.array_equal(interpolate_rotations(at, times, rotmats), rotmats[1:])


def test_each_series_of_a_batch_is_read_at_its_own_places():
    values = torch.tensor([[[0.0], [1], [4]], [[5], [5], [9]]])
    place = torch.tensor([[0.5, 2.0], [1.25, 3.0]])
    assert values_at(place, values)[..., 0].tolist() == [[0.5, 4], [6, 9]]


def test_gaps_are_filled_in_time_and_the_frames_with_a_value_keep_it():
    times = np.array([0.0, 0.1, 0.5, 0.8, 1.0, 1.1])
    valid = np.array([True, False, False, False, True, False])
    values = np.where(valid, [0, 9, 9, 9, 1, 9], 9).astype(np.float32)
    filled = fill_gaps(values, valid, times)
    assert filled.dtype == np.float32
    assert filled == pytest.approx([0, 0.1, 0.5, 0.8, 1, 1])
    rotmats = turns(values.astype(float))
    turned = fill_rotations(rotmats, valid, times)
    assert angles_of(turned) == pytest.approx([0, 0.1, 0.5, 0.8, 1, 1], abs=1e-6)
    assert np.array_equal(turned[valid], rotmats[valid])
    assert fill_rotations(rotmats, np.zeros(6, bool), times) is rotmats


def test_nearest_frame_in_time():
    assert nearest(np.array([-5.0, 0.4, 0.5, 0.6, 7]), np.array([0.0, 1, 3])).tolist() == [
        0, 0, 0, 1, 2,
    ]  # fmt: skip


def test_frames_of_the_same_time_are_set_apart():
    assert np.diff(spaced_times(np.array([4.0, 4.5, 4.5, 5.0]))) == pytest.approx(
        [0.5, MIN_STEP_S, 0.5]
    )


def test_runs_of_true():
    assert runs(np.array([1, 1, 0, 1], bool)) == [slice(0, 2), slice(3, 4)]
    assert runs(np.zeros(3, bool)) == []
