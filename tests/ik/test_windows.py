"""Windows: nothing lost, padding marked, and no trace of the cutting in the result."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch

from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.series import RATE_HZ, interpolate_rotations, rate_times
from hpsvid.errors import InputError
from hpsvid.ik.windows import blend, solve, split
from hpsvid.types import BodyParams, Observations, Window


def observations(total: int) -> Observations:
    rng = np.random.default_rng(total)
    return Observations(
        track_id=1,
        frame_index=np.arange(100, 100 + total),
        joints=rng.normal(size=(total, 29, 3)).astype(np.float32),
        sigma=np.full((total, 29), 0.05, np.float32),
        twist=rng.normal(size=(total, 23, 2)).astype(np.float32),
        betas=np.zeros((total, 10), np.float32),
        landmarks2d=np.zeros((total, 33, 3), np.float32),
        pelvis=rng.normal(size=(total, 3)).astype(np.float32),
        valid=np.ones(total, bool),
    )


def framewise(window: Window) -> BodyParams:
    """A stand-in solver in which a frame's answer depends on that frame only."""
    joints = torch.from_numpy(window.obs.joints)[:, :24]
    return BodyParams(
        rotmats=axis_angle_to_matrix(joints).numpy(),
        betas=np.arange(10, dtype=np.float32),
        transl=window.obs.pelvis,
    )


CUTS = [(None, 0), (1, 0), (2, 1), (16, 0), (16, 8), (16, 15), (64, 0)]


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 50])
@pytest.mark.parametrize(("length", "overlap"), CUTS)
def test_split_covers_every_frame_once_marked(total, length, overlap):
    obs = observations(total)
    parts = list(split(obs, length, overlap))
    covered = np.zeros(total, int)
    for window in parts:
        assert len(window.obs) == (length or total)
        places = window.start + np.flatnonzero(window.valid)
        covered[places] += 1
        assert np.array_equal(window.obs.frame_index[window.valid], obs.frame_index[places])
        assert np.array_equal(window.obs.joints[window.valid], obs.joints[places])
    assert covered.min() >= 1
    padded = sum(int((~window.valid).sum()) for window in parts)
    assert padded == max((length or total) - total, 0)
    for before, after in pairwise(parts):
        assert before.start + (length or total) - after.start >= overlap


@pytest.mark.parametrize("total", [1, 15, 50])
@pytest.mark.parametrize(("length", "overlap"), CUTS)
def test_a_framewise_solver_does_not_notice_windows(total, length, overlap):
    obs = observations(total)
    whole = framewise(next(split(obs, None)))
    parts = [(window.start, framewise(window)) for window in split(obs, length, overlap)]
    blended = blend(parts, total)
    assert np.abs(blended.rotmats - whole.rotmats).max() < 1e-6
    assert np.abs(blended.transl - whole.transl).max() < 1e-6
    assert np.array_equal(blended.betas, whole.betas)


def test_windows_that_disagree_fade_into_each_other():
    """Two solvers' answers 40 degrees and 1 m apart: no frame-to-frame step is a jump."""
    eye = torch.eye(3).expand(32, 24, 3, 3)
    bent = axis_angle_to_matrix(torch.tensor([0.0, 0.7, 0.0])).expand(32, 24, 3, 3)
    parts = [
        (start, BodyParams(rotmats=r.numpy(), betas=np.zeros(10, np.float32), transl=t))
        for start, r, t in (
            (0, eye, np.zeros((32, 3), np.float32)),
            (16, bent, np.ones((32, 3), np.float32)),
        )
    ]
    blended = blend(parts, 48)
    assert np.abs(np.diff(blended.transl[:, 0])).max() < 0.12
    angle = np.arctan2(blended.rotmats[:, 5, 0, 2], blended.rotmats[:, 5, 0, 0])
    assert np.all(np.diff(angle) > -1e-6)
    assert np.abs(np.diff(angle)).max() < 0.12 * 0.7
    gram = blended.rotmats @ blended.rotmats.swapaxes(-1, -2)
    assert np.allclose(gram, np.eye(3), atol=1e-6)


def test_bad_overlap_and_uncovered_frames_are_refused():
    with pytest.raises(InputError, match="overlap 16"):
        next(split(observations(20), 16, 16))
    part = framewise(next(split(observations(4), None)))
    with pytest.raises(ValueError, match="frame 4"):
        blend([(0, part)], 6)


def test_a_long_track_is_solved_a_window_at_a_time():
    """All windows, and all answers, at once took 12 kB a frame: half a gigabyte for 30 minutes."""
    seen: list[weakref.ref] = []

    class Watching:
        name, window_length = "watching", 16

        def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
            assert not any(earlier() is not None for earlier in seen[:-1])
            part = framewise(window)
            seen.extend([weakref.ref(window.obs.joints), weakref.ref(part.rotmats)])
            return part

    rotmats = solve(observations(200), np.arange(200) / RATE_HZ, np.zeros(10), Watching())
    assert len(rotmats) == 200 and len(seen) == 2 * 24


@pytest.mark.parametrize("fps", [5.0, 24.0, 25.0, 60.0, 120.0])
def test_a_steady_turn_comes_back_from_the_solvers_rate(fps):
    pts_s = np.arange(round(2 * fps)) / fps + 0.7
    times = rate_times(pts_s)
    assert times is not None
    assert times[0] == pts_s[0] and 0 <= times[-1] - pts_s[-1] < 1 / RATE_HZ
    assert np.diff(times) == pytest.approx(1 / RATE_HZ)

    def turned(when):
        vector = torch.zeros(len(when), 24, 3)
        vector[..., 1] = torch.from_numpy(3 * when).float()[:, None]
        return axis_angle_to_matrix(vector).numpy()

    assert np.abs(interpolate_rotations(pts_s, times, turned(times)) - turned(pts_s)).max() < 1e-5


def test_clips_of_the_solvers_rate_are_left_alone():
    assert rate_times(np.arange(50) / 29.97) is None
    assert rate_times(np.array([0.4])) is None
    varying = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.06, 50))
    assert rate_times(varying) is not None
