"""Motion capture read from files as they are in the world, and seen by a camera."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpsvid.body.model import Body
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.errors import InputError
from hpsvid.mocap.amass import (
    MotionCapture,
    read_mocap,
    read_mocap_folder,
    resample,
    seen_by_camera,
)


def save(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def amass(width: int, **changes: object) -> dict[str, np.ndarray]:
    """The keys of an AMASS file of 6 frames with `poses` of this width."""
    frames = 6
    rng = np.random.default_rng(width)
    rate = "mocap_frame_rate" if width == 165 else "mocap_framerate"
    arrays = {
        "poses": rng.normal(0, 0.5, (frames, width)),
        "trans": rng.normal(0, 1, (frames, 3)),
        "betas": rng.normal(0, 1, 16),
        "gender": np.array("female"),
        rate: np.array(120.0),
    }
    return arrays | {key: np.asarray(value) for key, value in changes.items()}


def world_joints(body: Body, clip: MotionCapture) -> np.ndarray:
    arrays = (clip.rotmats, clip.betas, clip.transl)
    return body.joints(*(torch.from_numpy(a) for a in arrays)).numpy()


@pytest.mark.parametrize(("width", "joints"), [(72, 24), (156, 22), (165, 22)])
def test_amass_files_of_all_three_models_become_a_y_up_body(
    tmp_path: Path, body: Body, width: int, joints: int
) -> None:
    data = amass(width)
    save(tmp_path / "walk_poses.npz", **data)
    (clip,) = read_mocap(tmp_path / "walk_poses.npz", body)
    assert (clip.name, clip.fps, len(clip)) == ("walk_poses", 120.0, 6)

    rotmats = torch.eye(3).repeat(6, 24, 1, 1)
    axis_angle = torch.from_numpy(data["poses"][:, : joints * 3]).float().unflatten(1, (-1, 3))
    rotmats[:, :joints] = axis_angle_to_matrix(axis_angle)
    betas, trans = (torch.from_numpy(data[k]).float() for k in ("betas", "trans"))
    x, y, z = body.joints(rotmats, betas[:10], trans).unbind(-1)  # as AMASS means it: z up
    np.testing.assert_allclose(world_joints(body, clip), torch.stack([x, z, -y], -1), atol=2e-6)


def test_a_file_pickled_in_part_still_reads(tmp_path: Path, body: Body) -> None:
    """SMPL-X files of AMASS hold pickled marker tables beside the motion."""
    save(tmp_path / "a.npz", **amass(165), markers=np.array({"a": 1}, dtype=object))
    assert len(read_mocap(tmp_path / "a.npz", body)[0]) == 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"poses": np.zeros((6, 63))}, r"\(6, 63\)"),
        ({"poses": np.zeros((0, 72)), "trans": np.zeros((0, 3))}, "at least 1"),
        ({"trans": np.zeros((5, 3))}, r"expected \(6, 3\)"),
        ({"poses": np.full((6, 72), np.nan)}, "not finite"),
        ({"betas": np.zeros(4)}, "10 or more"),
        ({"mocap_framerate": 0.0}, "from 1 to 1000"),
        ({"up_axis": "x"}, "'y' or 'z'"),
        ({"clip_nframes": [4, 3]}, "adds up to 7"),
    ],
)
def test_unusable_files_say_what_is_wrong(
    tmp_path: Path, body: Body, changes: dict[str, object], says: str
) -> None:
    path = tmp_path / "bad.npz"
    save(path, **amass(72, **changes))
    with pytest.raises(InputError, match=says):
        read_mocap(path, body)


@pytest.mark.parametrize("key", ["poses", "trans", "betas", "mocap_framerate"])
def test_a_missing_key_is_named(tmp_path: Path, body: Body, key: str) -> None:
    data = amass(72)
    del data[key]
    save(tmp_path / "a.npz", **data)
    with pytest.raises(InputError, match=key):
        read_mocap(tmp_path / "a.npz", body)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 torn"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, body: Body, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_mocap(path, body)


def test_folders_are_walked_in_order_past_shape_files(tmp_path: Path, body: Body) -> None:
    (tmp_path / "b").mkdir()
    save(tmp_path / "b" / "two.npz", **amass(72, clip_nframes=[2, 4]))
    save(tmp_path / "b" / "neutral_stagei.npz", betas=np.zeros(16))
    save(tmp_path / "a.npz", **amass(156))
    clips = list(read_mocap_folder(tmp_path, body))
    assert [(clip.name, len(clip)) for clip in clips] == [("a", 6), ("two_0", 2), ("two_1", 4)]
    with pytest.raises(InputError, match="not a folder"):
        read_mocap_folder(tmp_path / "none", body)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no motion"):
        read_mocap_folder(tmp_path / "empty", body)


def test_shared_sets_stand_upright_on_the_floor(shared: Path, body: Body) -> None:
    (clip,) = read_mocap(shared / "data/mocap/free/train/cmu_cyun/02_01.npz", body)
    joints = world_joints(body, clip)
    assert clip.fps == 30
    assert clip.licence.startswith("CMU")
    assert (joints[:, 15, 1] - joints[:, 7, 1] > 1.0).all()  # walking: head above ankle
    assert abs(joints[..., 1].min()) < 0.1


def test_bandai_clips_are_split_at_their_seams(shared: Path, body: Body) -> None:
    folder = shared / "data/mocap/noncommercial/val/bandai"
    path = max(folder.glob("*.npz"), key=lambda p: p.stat().st_size)
    clips = read_mocap(path, body)
    with np.load(path) as data:
        assert [len(clip) for clip in clips] == data["clip_nframes"].tolist()
        assert [clip.name for clip in clips] == data["clip_names"].tolist()
    assert len(clips) > 1
    steps = [np.linalg.norm(np.diff(clip.transl, axis=0), axis=1).max() for clip in clips]
    assert max(steps) < 0.25  # m in 1/30 s: nobody jumps where clips meet


def spinning(fps: float, seconds: float = 2.0) -> MotionCapture:
    """A body that turns once a second about y while it slides along x at 1 m/s."""
    times = torch.arange(int(seconds * fps) + 1) / fps
    axis_angle = torch.zeros(len(times), 24, 3)
    axis_angle[:, 0, 1] = 2 * torch.pi * times
    transl = torch.zeros(len(times), 3)
    transl[:, 0] = times
    return MotionCapture(
        name="spin",
        rotmats=axis_angle_to_matrix(axis_angle).numpy(),
        transl=transl.numpy(),
        betas=np.zeros(10, np.float32),
        fps=fps,
        licence="",
    )


@pytest.mark.parametrize(
    ("source", "target"), [(120, 30), (60, 24), (30, 60), (50, 50), (24, 29.97)]
)
def test_resampling_keeps_a_steady_turn_steady(source: float, target: float) -> None:
    new, exact = resample(spinning(source), target), spinning(target)
    assert new.fps == target
    assert len(new) == int(2 * target) + 1
    np.testing.assert_allclose(new.rotmats, exact.rotmats[: len(new)], atol=2e-6)
    np.testing.assert_allclose(new.transl, exact.transl[: len(new)], atol=1e-6)


def test_resampling_a_single_frame_and_to_no_rate() -> None:
    still = spinning(30, seconds=0)
    assert len(resample(still, 60)) == 1
    with pytest.raises(InputError, match="more than 0"):
        resample(still, 0)


def test_a_camera_sees_the_same_body_moved_rigidly(body: Body) -> None:
    rng = np.random.default_rng(0)
    rotmats = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 0.6, (8, 24, 3))).float())
    clip = MotionCapture(
        name="a",
        rotmats=rotmats.numpy(),
        transl=rng.normal(0, 1, (8, 3)).astype(np.float32),
        betas=rng.normal(0, 1, 10).astype(np.float32),
        fps=30,
        licence="",
    )
    world = world_joints(body, clip)
    poses = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 1, (8, 3)))).numpy()
    places = rng.normal(0, 3, (8, 3))
    for rotation, translation in [(poses[0], places[0]), (poses, places)]:  # fixed, moving
        seen = seen_by_camera(clip, rotation, translation, body)
        joints = body.joints_of(seen)
        expected = np.einsum("...ij,...kj->...ki", rotation, world) + translation[..., None, :]
        np.testing.assert_allclose(joints, expected, atol=3e-6)
