"""Occlusions as 3DPW-XOCC has them, and the map of where they hurt."""

import weakref
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hpsvid.body.smpl import load_chosen_body
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.evaluation import sensitivity
from hpsvid.evaluation.occlude import CUT_SHARE, largest_boxes, occluded, plan
from hpsvid.evaluation.results import read_truths
from hpsvid.evaluation.sensitivity import Sensitivity, heat_map, table
from hpsvid.options import Options
from hpsvid.pipeline.stages import StageClock, make_context
from hpsvid.types import Clip, Track
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import SAMPLES, write_walk

SIZE = (640, 480)
BOX = np.array([250.0, 60, 400, 460])


def shares(window: np.ndarray) -> np.ndarray:
    """How much of BOX each side of a window (4,) takes away, of its width or height."""
    inwards = (window - BOX) * [1, 1, -1, -1]
    return inwards / np.tile(BOX[2:] - BOX[:2], 2)


def test_key_frames_cut_a_part_away_two_times_in_three_and_all_moves_linearly():
    frames = 8 * 600 + 5
    taken = plan(np.tile(BOX, (frames, 1)), *SIZE, seed=0)
    keys = taken.window[::8]
    cuts = np.stack([shares(window) for window in keys])
    cut = cuts > 1e-9
    assert cut.sum(1).max() == 1
    assert cut.any(1).mean() == pytest.approx(2 / 3, abs=0.06)
    assert (cut.sum(0) > 60).all()  # every side
    assert CUT_SHARE[0] <= cuts[cut].min() < cuts[cut].max() <= CUT_SHARE[1]
    untouched = keys[~cut.any(1)]
    np.testing.assert_array_equal(untouched, np.tile([0, 0, *SIZE], (len(untouched), 1)))
    for values in (taken.window, taken.patch):
        np.testing.assert_allclose(values[19], values[16] + 3 / 8 * (values[24] - values[16]))


def test_patches_are_squares_on_the_visible_person():
    taken = plan(np.tile(BOX, (8 * 400, 1)), *SIZE, seed=1)
    patch, window = taken.patch[::8], taken.window[::8]
    sides = patch[:, 2:] - patch[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])
    assert (patch[:, :2] >= window[:, :2] - 1e-9).all()
    assert (patch[:, 2:] <= window[:, 2:] + 1e-9).all()
    half = 1.25 * 400 / 2
    low = np.maximum([325 - half, 260 - half], window[:, :2]).clip(0)
    high = np.minimum([325 + half, 260 + half], window[:, 2:]).clip(0, SIZE)
    share = sides.prod(1) / (high - low).prod(1)
    assert share.max() <= 0.3
    assert share.max() > 0.28
    assert share.min() < 0.02


def test_where_nobody_is_nothing_is_cut_and_the_seed_decides_the_rest():
    boxes = np.full((30, 4), np.nan)
    taken = plan(boxes, *SIZE, seed=2)
    np.testing.assert_array_equal(taken.window, np.tile([0, 0, *SIZE], (30, 1)))
    same, other = plan(boxes, *SIZE, seed=2), plan(boxes, *SIZE, seed=3)
    np.testing.assert_array_equal(taken.patch, same.patch)
    assert np.abs(taken.patch - other.patch).max() > 10
    assert len(plan(boxes[:1], *SIZE, seed=0).patch) == 1  # a picture


def test_pixels_are_black_outside_noise_in_the_patch_and_else_untouched():
    rgb = np.random.default_rng(0).integers(1, 255, (48, 64, 3)).astype(np.uint8)
    window, patch = np.array([10, 0, 64, 40.0]), np.array([4, 8, 24, 28.0])
    out = occluded(rgb, window, patch, np.random.default_rng(1))
    inside = np.zeros((48, 64), bool)
    inside[0:40, 10:64] = True
    noisy = np.zeros_like(inside)
    noisy[8:28, 10:24] = True
    assert (out[~inside] == 0).all()
    assert (out[inside & ~noisy] == rgb[inside & ~noisy]).all()
    assert out[noisy].std() > 40
    assert abs(out[noisy].mean() - 128) < 15


def test_the_largest_person_is_hit():
    def track(start: int, side: float, frames: int) -> Track:
        return Track(
            id=start, frame_index=np.arange(start, start + frames),
            boxes=np.full((frames, 4), [0, 0, side, side], np.float32),
            scores=np.ones(frames, np.float32), detected=np.ones(frames, bool),
        )  # fmt: skip

    boxes = largest_boxes([track(1, 50, 4), track(3, 90, 3), track(4, 70, 3)], 8)
    assert np.isnan(boxes[[0, 7]]).all()
    assert boxes[1:7, 2].tolist() == [50, 50, 90, 90, 90, 70]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of a sample, whose person is large."""
    return write_walk(tmp_path_factory.mktemp("clip") / "walk.mp4", 10)


def test_the_command_writes_a_clip_like_the_input(clip: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        ran = CliRunner().invoke(
            app, ["occlude", str(clip), "--out", str(tmp_path / name), "--seed", "4", "--quiet"]
        )
        assert ran.exit_code == 0, ran.output
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    before, after = probe(clip), probe(tmp_path / "one.mp4")
    assert (after.width, after.height, after.fps) == (before.width, before.height, before.fps)
    (ours,), (theirs,) = (list(read_frames(c, chunk=64)) for c in (after, before))
    np.testing.assert_allclose(ours.pts_s, theirs.pts_s, atol=1e-4)
    changed = np.abs(ours.rgb.astype(int) - theirs.rgb).max(-1) > 60
    assert changed.mean((1, 2)).min() > 0.003


def test_hiding_the_person_hurts_more_than_hiding_the_wall(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[np.ndarray]] = []
    hide = sensitivity.hidden

    def hidden(rgb: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
        assert sum(ref() is not None for ref in made) <= 1  # of pictures in memory
        picture = hide(rgb, centre, side)
        made.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(sensitivity, "hidden", hidden)
    body = load_chosen_body(None)
    (truth,) = read_truths(SAMPLES / "studio_walk.npz", body, None)
    source = probe(SAMPLES / "studio_walk.mp4")

    def slid(clip: Clip, frame: int) -> Sensitivity:
        options = Options(network="small", solver="hybrik")
        context = make_context(clip, body, options, StageClock())
        return sensitivity.sensitivity(context, frame, steps=3, truth=truth)

    found = slid(source, 64)
    assert found.errors.shape == (3, 3, 24)
    assert found.against_truth
    x0, y0, x1, y1 = found.square
    feet = truth.people[0].points[64, [0, 10], :] @ truth.K.T
    feet = feet[:, :2] / feet[:, 2:]
    assert ((feet > [x0, y0]) & (feet < [x1, y1])).all()
    clean = found.clean.mean()
    grid = found.errors.mean(-1)
    corners = grid[[0, 0, 2, 2], [0, 2, 0, 2]]
    assert np.abs(corners - clean).max() < 15  # walls and floor
    assert np.nanmax(grid[:, 1]) > clean + 15  # head, hips or feet
    picture = heat_map(found)
    assert picture.shape[0] == source.height
    assert picture.shape[1] > source.width
    assert "| left_foot |" in table(found)
    with pytest.raises(InputError, match="has 10 frames, --frame 10 is not one of them"):
        slid(probe(clip), 10)
