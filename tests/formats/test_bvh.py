"""BVH files as two parsers of other people read them."""

import dataclasses
import time
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.formats.bvh import euler_zxy, write_bvh
from hpsvid.formats.rig import RIGS
from hpsvid.options import ExportOptions, RigName
from hpsvid.types import Array, BodyParams
from tests.factories import make_motion, make_params, make_person

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # bvhio's import of glm is on its way out
    import bvhio

CAMERA_TO_Y_UP = np.diag([1.0, -1, -1])
TENTH_MM = 1e-4


def quietly(read: Any, *args: Any) -> Any:
    """Call another package's parser: one leaves its file open, one wonders which way is up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(*args)


def joints_by_bvhio(path: Path, rig: RigName) -> Array:
    """World joints (T, 24, 3) m in SMPL's order."""
    root = quietly(bvhio.readAsHierarchy, str(path))
    places: dict[str, list[list[float]]] = {}
    first, last = root.getKeyframeRange()
    for frame in range(first, last + 1):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            places.setdefault(joint.Name, []).append(list(joint.PositionWorld))
    return np.stack([places[name] for name in RIGS[rig]], 1) / 100


def joints_by_pybvh(path: Path, rig: RigName) -> Array:
    """World joints (T, 29, 3) m in SMPL's order; End Sites are hpsvid's leaves."""
    pybvh = pytest.importorskip("pybvh")
    skeleton = quietly(pybvh.read_bvh_file, path)
    names = [node.name for node in skeleton.nodes]
    sites = [
        f"EndSite{RIGS[rig][SMPL.parents[leaf]]}"
        for leaf in range(SMPL.n_rotations, len(SMPL.parents))
    ]
    return skeleton.node_positions()[:, [names.index(n) for n in (*RIGS[rig], *sites)]] / 100


def channels(path: Path) -> Array:
    """The numbers (T, 75) of the MOTION section."""
    lines = path.read_text(encoding="ascii").split("Frame Time:")[1].splitlines()[1:]
    return np.array([line.split() for line in lines], float)


@pytest.mark.parametrize("rig", get_args(RigName))
def test_two_parsers_see_the_joints_that_were_written(
    tmp_path: Path, body: Body, rig: RigName
) -> None:
    motion = make_motion(body, frames=10, seed=7)
    paths = write_bvh(motion, body, tmp_path, "clip", ExportOptions(rig=rig))
    assert [path.name for path in paths] == ["clip_person00.bvh", "clip_person03.bvh"]
    for person, path in zip(motion.people, paths, strict=True):
        expected = person.joints @ CAMERA_TO_Y_UP
        np.testing.assert_allclose(
            joints_by_bvhio(path, rig), expected[:, : SMPL.n_rotations], rtol=0, atol=TENTH_MM
        )
        np.testing.assert_allclose(joints_by_pybvh(path, rig), expected, rtol=0, atol=TENTH_MM)


def test_wild_and_gimbal_near_poses_come_back(tmp_path: Path, body: Body) -> None:
    """Any rotation in each joint; and middle angles at, or a hair off, a right angle."""
    wild = Rotation.random(20 * 24, rng=np.random.default_rng(3)).as_matrix().reshape(20, 24, 3, 3)
    rng = np.random.default_rng(4)
    zxy = rng.uniform(-np.pi, np.pi, (20, 24, 3))
    off = rng.choice([0, 1e-7, 1e-5, 3e-5, 1e-3], (20, 24))
    zxy[..., 1] = rng.choice([-1, 1], (20, 24)) * np.pi / 2 - off
    locked = Rotation.from_euler("ZXY", zxy.reshape(-1, 3)).as_matrix().reshape(20, 24, 3, 3)
    shape = make_params(40, seed=1)
    rotmats = np.concatenate([wild, locked]).astype(np.float32)
    person = make_person(body, dataclasses.replace(shape, rotmats=rotmats))
    motion = dataclasses.replace(make_motion(body, 0, frames=40), people=(person,))
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions())
    expected = (person.joints @ CAMERA_TO_Y_UP)[:, : SMPL.n_rotations]
    np.testing.assert_allclose(joints_by_bvhio(path, "smpl"), expected, rtol=0, atol=TENTH_MM)
    assert np.isfinite(channels(path)).all()


def spin(axis_angle_per_frame: list[float], frames: int) -> BodyParams:
    """A body whose root turns steadily about one axis."""
    params = make_params(1, seed=2)
    angles = np.arange(frames)[:, None] * np.array(axis_angle_per_frame)
    rotmats = np.repeat(params.rotmats, frames, 0)
    rotmats[:, 0] = axis_angle_to_matrix(torch.from_numpy(angles)).numpy()
    transl = np.repeat(params.transl, frames, 0)
    return BodyParams(rotmats=rotmats, betas=params.betas, transl=transl)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_someone_who_spins_has_angles_without_jumps(tmp_path: Path, body: Body, axis: int) -> None:
    """Three turns at 7 degrees a frame: 7 degrees a frame in the file, somersaults included."""
    step = [0.0, 0.0, 0.0]
    step[axis] = np.deg2rad(7)
    person = make_person(body, spin(step, 155))
    motion = dataclasses.replace(make_motion(body, 0, frames=155), people=(person,))
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions())
    root = channels(path)[:, 3:6]
    assert np.abs(np.diff(root, axis=0)).max() < 7.01
    travelled = np.abs(root[-1] - root[0])
    assert travelled.max() == pytest.approx(7 * 154, abs=0.01)


def test_angles_hold_still_inside_the_gimbal_lock() -> None:
    """While only z + y is determined, neither jumps about."""
    turn = np.linspace(0, 6, 60)
    zxy = np.stack([turn, np.full(60, np.pi / 2), 0 * turn], -1)
    zxy[:5, 1] = 1.0  # comes from outside the lock
    zxy[:5, 0] = 0
    exact = Rotation.from_euler("ZXY", zxy).as_matrix()
    angles = euler_zxy(exact.astype(np.float32).astype(float))
    back = Rotation.from_euler("ZXY", angles).as_matrix()
    np.testing.assert_allclose(back, exact, atol=1e-6)
    assert np.abs(np.diff(angles[5:], axis=0)).max() < 0.11


def test_the_file_keeps_to_its_format(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=10)
    for rig in get_args(RigName):
        (path,) = write_bvh(motion, body, tmp_path, rig, ExportOptions(rig=rig))
        text = path.read_text(encoding="ascii")
        words = [line.split() for line in text.splitlines()]
        names = [line[1:] for line in words if line[0] in ("ROOT", "JOINT")]
        assert all(len(name) == 1 for name in names)  # no spaces
        assert sorted(name[0] for name in names) == sorted(set(RIGS[rig]))
        counts = [line[1] for line in words if line[0] == "CHANNELS"]
        assert counts == ["6"] + ["3"] * 23
        assert text.count("End Site") == 5
        assert "nan" not in text.lower().split("motion", 1)[1]
        assert "-0.00000 " not in text.split("MOTION", 1)[1]
        assert channels(path).shape == (10, 75)


@pytest.mark.parametrize(
    ("fps", "wanted", "frame_time"),
    [
        (Fraction(25), None, 0.04),
        (Fraction(30000, 1001), None, 1001 / 30000),
        (Fraction(24), 60, 1 / 60),
    ],
)
def test_frame_time_and_count_follow_the_rate(
    tmp_path: Path, body: Body, fps: Fraction, wanted: int | None, frame_time: float
) -> None:
    motion = make_motion(body, people=1, frames=25, fps=fps)
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions(fps=wanted))
    text = path.read_text()
    stated = float(text.split("Frame Time:")[1].split()[0])
    assert stated == pytest.approx(frame_time, abs=1e-8)
    frames = int(text.split("Frames:")[1].split()[0])
    assert len(channels(path)) == frames
    assert frames == 25 if wanted is None else frames == 61  # 24 steps of 1/24 s: one second


def test_variable_rate_becomes_the_nominal_one(tmp_path: Path, body: Body) -> None:
    """A clip that drops every third frame plays on at its true speed."""
    pts_s = np.delete(np.arange(60) / 30, np.arange(2, 60, 3))
    times = pts_s[:, None]
    params = make_params(len(pts_s), seed=0)
    transl = (times * [0.6, 0, 0] + [0, 0, 4]).astype(np.float32)
    person = make_person(body, dataclasses.replace(params, transl=transl))
    motion = make_motion(body, people=0, fps=Fraction(30), pts_s=pts_s)
    motion = dataclasses.replace(motion, people=(person,))
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions())
    root_x = channels(path)[:, 0]
    assert len(root_x) == 59  # the last frame of the 60 is among those dropped
    np.testing.assert_allclose(np.diff(root_x), 2.0, atol=1e-3)  # cm a frame: 0.6 m/s


def test_a_single_frame_is_a_file(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=1)
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions())
    assert len(channels(path)) == 1
    (path,) = write_bvh(motion, body, tmp_path, "b", ExportOptions(fps=60))
    assert len(channels(path)) == 1


def test_ten_minutes_of_motion_are_written_in_seconds(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=18_000, fps=Fraction(30))
    start = time.process_time()
    (path,) = write_bvh(motion, body, tmp_path, "a", ExportOptions())
    assert time.process_time() - start < 15  # about 1.5 s on a free core
    assert path.stat().st_size > 18_000 * 75 * 8
