"""Motion in, Motion out, and the commands that do it."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import hpsvid
from hpsvid.body.skeleton import JOINT
from hpsvid.body.world import to_world
from hpsvid.cli import app
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.edit import PINNED, drop, keep, merge, pin, rename, smooth, split, trim
from hpsvid.errors import InputError, NoPersonError
from hpsvid.motion.lock import reposed
from hpsvid.motion.world import find_world
from hpsvid.video.egomotion import still_camera
from tests.factories import make_motion


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def frames(motion: hpsvid.Motion) -> dict[int, list[int]]:
    return {p.track.id: [int(p.track.frame_index[0]), len(p.track)] for p in motion.people}


def test_a_stretch_of_time_keeps_its_frames_and_the_clips_clock(body: hpsvid.Body) -> None:
    motion = make_motion(body, people=2, frames=12, pts_s=np.arange(12) / 4)
    cut = trim(motion, 0.5, 1.5)  # frames 2, 3, 4, 5
    assert frames(cut) == {0: [2, 4], 3: [2, 4]}
    np.testing.assert_array_equal(cut.pts_s, motion.pts_s)
    for before, after in zip(motion.people, cut.people, strict=True):
        rows = after.track.frame_index - before.track.frame_index[0]
        for name in ("joints", "joints2d", "sigma", "valid", "evidence_error"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[rows])
        np.testing.assert_array_equal(after.body.rotmats, before.body.rotmats[rows])
        np.testing.assert_array_equal(after.body.betas, before.body.betas)
    assert frames(trim(motion, None, 0.25)) == {0: [0, 1]}  # the other comes later
    assert frames(trim(motion, None, None)) == frames(motion)
    with pytest.raises(NoPersonError, match="nobody between 9 s and the end"):
        trim(motion, 9, None)


def test_people_are_kept_dropped_renamed_and_split(body: hpsvid.Body) -> None:
    motion = make_motion(body, people=3, frames=12, pts_s=np.arange(12) / 4)  # 0, 3, 6
    assert list(frames(keep(motion, [6, 0]))) == list(frames(drop(motion, [3]))) == [0, 6]
    assert list(frames(rename(motion, 6, 1))) == [0, 1, 3]
    halves = split(motion, 3, 1.0)
    assert frames(halves)[3] == [1, 3] and frames(halves)[7] == [4, 8]
    joined = np.concatenate([p.joints for p in halves.people if p.track.id in (3, 7)])
    np.testing.assert_array_equal(joined, motion.people[1].joints)
    for wrong, says in (
        (lambda: keep(motion, [5]), "person 5: no such person; the result has 0, 3, 6"),
        (lambda: rename(motion, 0, 3), "nobody else has"),
        (lambda: rename(motion, 0, -1), "from 0 on"),
        (lambda: split(motion, 3, 0.25), "is there from 0.25 s to 2.75 s"),
        (lambda: drop(motion, [0, 3, 6]), "nobody is left"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()


def test_the_commands_write_new_results(body: hpsvid.Body, tmp_path: Path) -> None:
    source, out = tmp_path / "a.npz", tmp_path / "b.npz"
    hpsvid.save(make_motion(body, people=3, frames=12, pts_s=np.arange(12) / 4), source)
    kept = source.read_bytes()
    for command, expected in (
        (("tracks", "keep", source, "0,3"), {0: [0, 12], 3: [1, 11]}),
        (("tracks", "drop", source, "0"), {3: [1, 11], 6: [2, 10]}),
        (("tracks", "rename", source, "6", "2"), {0: [0, 12], 2: [2, 10], 3: [1, 11]}),
        (("tracks", "split", source, "0", "--at", "0:01"),
         {0: [0, 4], 3: [1, 11], 6: [2, 10], 7: [4, 8]}),
        (("trim", source, "--start", "0:02", "--end", "2.5"),
         {0: [8, 2], 3: [8, 2], 6: [8, 2]}),
    ):  # fmt: skip
        ran = call(*command, "--out", out)
        assert ran.exit_code == 0, ran.output
        assert frames(hpsvid.load(out)) == expected
    assert source.read_bytes() == kept
    assert "| 6 | 0.50 | 2.75 | 10 |" in call("tracks", "list", source).stdout
    ran = call("tracks", "drop", source, "0", "--out", source)
    assert ran.exit_code == 1 and "is the input itself" in ran.stderr
    ran = call("tracks", "keep", source, "x", "--out", out)
    assert ran.exit_code == 1 and "expected numbers of people" in ran.stderr
    assert call("trim", source, "--start", "soon", "--out", out).exit_code == 2


def test_a_saved_result_is_exported_from_a_time_on(body: hpsvid.Body, tmp_path: Path) -> None:
    hpsvid.save(make_motion(body, people=1, frames=12, pts_s=np.arange(12) / 4), tmp_path / "a.npz")
    ran = call("export", tmp_path / "a.npz", "--start", 1, "--end", 2, "-o", tmp_path / "a.csv",
               "--format", "csv", "--fps", "4", "-q")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["1.0", "1.25", "1.5", "1.75"]


def walking(body: hpsvid.Body, frames: int = 60) -> hpsvid.Motion:
    """One person of wandering poses at 30 Hz, with noise in every frame."""
    motion = make_motion(body, people=1, frames=frames, fps=Fraction(30), seed=8)
    person = motion.people[0]
    rng = np.random.default_rng(1)
    noise = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 0.05, (frames, 24, 3)))).numpy()
    params = replace(person.body, rotmats=(person.body.rotmats @ noise).astype(np.float32))
    return replace(motion, people=(reposed(person, params, body, motion.camera),))


def roughness(motion: hpsvid.Motion) -> float:
    joints = motion.people[0].joints
    return float(np.abs(np.diff(joints, 3, axis=0)).mean())


def test_smoothing_calms_and_delays_nothing(body: hpsvid.Body) -> None:
    motion = walking(body)
    before = motion.people[0]
    calm, calmer = (smooth(motion, strength, body) for strength in (1, 4))
    assert roughness(calmer) < roughness(calm) / 2 < roughness(motion) / 4
    for made in (calm, calmer):
        person = made.people[0]
        np.testing.assert_allclose(body.joints_of(person.body), person.joints, atol=1e-5)
        assert np.linalg.norm(person.joints - before.joints, axis=-1).mean() < 0.12
        np.testing.assert_array_equal(person.sigma, before.sigma)
    unknown = replace(before, sigma=np.full_like(before.sigma, np.nan))  # as imported
    made = smooth(replace(motion, people=(unknown,)), 2, body)
    assert np.isfinite(made.people[0].joints).all()
    with pytest.raises(InputError, match="--strength 0: expected more than 0, at most 20"):
        smooth(motion, 0, body)
    with pytest.raises(InputError, match="person 5: no such person"):
        smooth(motion, 1, body, 5)


@pytest.mark.parametrize("joint", ["left_ankle", "right_wrist"])
@pytest.mark.parametrize("world", [True, False])
def test_a_pinned_joint_rests_and_its_neighbours_follow(
    body: hpsvid.Body, joint: str, world: bool
) -> None:
    motion = smooth(walking(body), 2, body)
    ground = find_world(motion.people, body, motion.pts_s, still_camera(60), hpsvid.Options())
    motion = replace(motion, world=ground if world else None)
    pinned = pin(motion, 0, joint, (20, 40), body)
    before, after = (m.people[0].joints.astype(np.float64) for m in (motion, pinned))
    if world:
        before, after = (to_world(j, ground, np.arange(60)) for j in (before, after))
    held = after[20:40, JOINT[joint]]
    assert np.ptp(before[20:40, JOINT[joint]], axis=0).max() > 0.02
    root, middle, end = PINNED[joint]
    target = np.median(before[20:40, end], 0)
    length = sum(
        np.linalg.norm(before[0, b] - before[0, a]) for a, b in ((root, middle), (middle, end))
    )
    reached = np.linalg.norm(target - before[20:40, root], axis=-1) < 0.98 * length
    assert reached.sum() > 10 and np.abs(held - target)[reached].max() < 3e-3  # m
    # the fade takes 0.2 s: outside of it nothing is changed at all
    for name in ("joints", "joints2d"):
        one, other = (getattr(m.people[0], name) for m in (motion, pinned))
        np.testing.assert_allclose(one[:14], other[:14], atol=1e-5)
        np.testing.assert_allclose(one[46:], other[46:], atol=1e-5)
    np.testing.assert_array_equal(
        motion.people[0].body.rotmats[:14], pinned.people[0].body.rotmats[:14]
    )
    # only that limb bends, and nothing jumps
    limb = set(SMPL_LIMB[joint])
    rest = [j for j in range(24) if j not in limb]
    np.testing.assert_allclose(after[:, rest], before[:, rest], atol=1e-5)
    moved = np.linalg.norm(after - before, axis=-1)[:, JOINT[joint]]
    assert np.abs(np.diff(moved)).max() < 0.35 * moved.max() + 0.03
    for wrong, says in (
        (lambda: pin(motion, 0, "head", (20, 40), body), "'head': expected one of left_ankle"),
        (lambda: pin(motion, 0, joint, (60, 70), body), "is there in frames 0 to 59"),
        (lambda: pin(motion, 4, joint, (20, 40), body), "no such person"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()


SMPL_LIMB = {"left_ankle": (4, 7, 10), "right_wrist": (19, 21, 23)}  # what hangs from hip, shoulder


def test_a_track_that_was_lost_is_one_again(body: hpsvid.Body) -> None:
    motion = smooth(walking(body), 1, body)
    halves = split(motion, 0, 1.0)
    gap = trim(split(halves, 1, 1.2), None, None)
    assert frames(gap) == {0: [0, 30], 1: [30, 6], 2: [36, 24]}
    merged = merge(drop(gap, [1]), 2, 0, body)
    assert frames(merged) == {2: [0, 60]}
    person, whole = merged.people[0], motion.people[0]
    assert not person.valid[30:36].any() and not person.track.detected[30:36].any()
    for rows in (slice(30), slice(36, 60)):
        np.testing.assert_allclose(person.joints[rows], whole.joints[rows], atol=1e-4)
        np.testing.assert_array_equal(person.valid[rows], whole.valid[rows])
    steps = np.linalg.norm(np.diff(person.joints, axis=0), axis=-1).max(1)
    assert steps[29:37].max() < 2 * steps.max() and np.isfinite(person.joints).all()
    assert np.isnan(person.reprojection_px[30:36]).all()
    for wrong, says in (
        (lambda: merge(make_motion(body, people=2), 0, 3, body), "one after the other"),
        (lambda: merge(motion, 0, 0, body), "one after the other"),
        (lambda: merge(motion, 0, 9, body), "person 9: no such person"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()


def test_the_commands_that_change_poses(body: hpsvid.Body, tmp_path: Path) -> None:
    source, out = tmp_path / "a.npz", tmp_path / "b.npz"
    motion = walking(body, 40)
    hpsvid.save(split(motion, 0, 0.5), source)
    for command in (
        ("tracks", "merge", source, 0, 1),
        ("smooth", source, "--strength", 3, "--person", 1),
        ("edit", "pin", source, "--person", 0, "--joint", "left_wrist", "--frames", "5:12"),
    ):
        ran = call(*command, "--out", out)
        assert ran.exit_code == 0, ran.output
        joints = np.concatenate([p.joints for p in hpsvid.load(out).people])
        assert joints.shape == (40, 29, 3)
    ran = call("edit", "pin", source, "--person", 0, "--joint", "left_wrist", "--frames", "9",
               "--out", out)  # fmt: skip
    assert ran.exit_code == 1 and "expected two numbers of frames, such as 120:140" in ran.stderr
