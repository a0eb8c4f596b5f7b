"""How the background flows: what is kept of it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hpsvid.types import Array, Detections, Frames
from hpsvid.video.egomotion import BackgroundWatch, camera_turn
from hpsvid.video.flow import CELLS, EACH, NONE, STEP_S, FlowWatch, flow_within
from tests.video.test_egomotion import wall

RATE = 30.0
SIZE = (480, 270)


def pictures(shifts: Array) -> list[Array]:
    """A wall that shifts by these px (F,), in colour, with a bright block that goes its own way."""
    frames = []
    for i, shift in enumerate(shifts):
        move = np.array([[1, 0, -200 - shift], [0, 1, -200.0]])
        grey = cv2.warpAffine(wall(), move, SIZE).clip(0, 255).astype(np.uint8)
        grey[80:200, 100 + 5 * i : 160 + 5 * i] = np.roll(grey[80:200, 300:360], 5 * i, 0)
        frames.append(np.repeat(grey[..., None], 3, 2))
    return frames


def watched(shifts: Array, cut: int = -1) -> BackgroundWatch:
    watch, rgb = BackgroundWatch(*SIZE), np.stack(pictures(shifts))
    index = np.arange(len(rgb))
    frames = Frames(rgb=rgb, index=index, pts_s=index / RATE)
    people = [
        Detections(
            frame_index=int(i), boxes=np.array([[100 + 5 * i, 80, 160 + 5 * i, 200]], np.float32),
            scores=np.ones(1, np.float32),
        )
        for i in index
    ]  # fmt: skip
    watch.see(frames, index == cut, people)
    return watch


def test_the_background_flows_as_the_picture_moves_and_people_have_no_part_in_it() -> None:
    steps = watched(2.0 * np.arange(20)).steps()
    flow = camera_turn(steps, 400.0, focal_known=True).flow
    assert len(flow.frames) >= 7
    long = flow.frames[:, 1] - flow.frames[:, 0]
    assert (long >= STEP_S * RATE - 1e-6).all() and (long <= 3).all()
    assert (flow.frames[1:, 0] == flow.frames[:-1, 1]).all()
    px = flow.points(slice(None)) * flow.focal_px / steps.scale
    moved = px[:, :, 1] - px[:, :, 0]
    assert np.isfinite(moved[..., 0]).sum(1).min() > 20
    off = np.abs(moved - np.stack([-2.0 * long, 0 * long], -1)[:, None])
    assert np.nanquantile(off, 0.95) < 0.3
    assert steps.flow.shape[1] <= CELLS[0] * CELLS[1] * EACH
    assert len(flow_within(flow, 6, 14).frames) < len(flow.frames)


def test_a_standing_camera_and_another_shot_keep_nothing() -> None:
    assert not len(watched(np.zeros(20)).steps().flow)
    cut = watched(2.0 * np.arange(20), cut=10).steps()
    assert not ((cut.flow_frames[:, 0] < 10) & (cut.flow_frames[:, 1] >= 10)).any()


def test_pictures_without_features_and_steps_that_damaged_files_hold() -> None:
    blank, watch = np.full((90, 160), 7, np.uint8), FlowWatch()
    for i in range(6):
        watch.look(blank, np.zeros((0, 4)), i, i / 10)
    assert watch.steps()[1].shape == (0, 0, 4)
    steps = watched(2.0 * np.arange(9)).steps()
    assert (steps.flow[..., 0] == NONE).any() or steps.flow.shape[1] > 20
    with pytest.raises(ValueError, match="flow_frames"):
        replace(steps, flow_frames=steps.flow_frames + 900)
