"""Other tools' results become ours: joints where they have them, one clear line where not."""

import json
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import hpsvid
from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.foreign.reading import read_foreign
from hpsvid.formats import FORMATS
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion
from tests.factories import make_motion
from tests.foreign.layouts import (
    CAMERA_AT,
    TO_WORLD,
    Known,
    known,
    write_gvhmr,
    write_phalp,
    write_romp,
    write_wham,
)

MM = 1e-3


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def joints_of(person: Known, body: Body, rows: Array, joints: int = 24) -> Array:
    """Where the loaded body has its joints in the person's pose and place."""
    rest = body.rest_mean[0].numpy()
    rotmats = person.params.rotmats.copy()
    rotmats[:, joints:] = np.eye(3)  # what the file's body does not have
    params = replace(
        person.params, rotmats=rotmats, betas=np.zeros(10, np.float32),
        transl=(person.pelvis - rest).astype(np.float32),
    )  # fmt: skip
    return body.joints_of(params)[rows]


def check(motion: Motion, people: dict[int, Known], body: Body, joints: int = 24) -> None:
    assert [person.track.id for person in motion.people] == list(people)
    for found, person in zip(motion.people, people.values(), strict=True):
        rows = np.flatnonzero(found.valid)
        np.testing.assert_array_equal(found.track.frame_index[rows], person.frames)
        expected = joints_of(person, body, np.arange(len(rows)), joints)
        np.testing.assert_allclose(found.joints[rows], expected, atol=MM)
        assert np.isfinite(found.joints).all() and len(found.track) == np.ptp(person.frames) + 1


def test_gvhmr(tmp_path: Path, body: Body) -> None:
    person = known("smplx")
    path = write_gvhmr(tmp_path / "hmr4d_results.pt", person)
    motion = read_foreign(path, body, fps=30)
    check(motion, {0: person}, body, joints=22)
    assert (motion.clip.width, motion.clip.height) == (640, 480) and motion.camera.K[0, 0] == 800
    assert motion.world is not None
    # the world is the file's, but for the ground's height
    places = to_world(motion.people[0].joints[:, :1], motion.world, np.arange(8))[:, 0]
    lifted = places - person.pelvis_world
    np.testing.assert_allclose(lifted[:, [0, 2]], 0, atol=MM)
    np.testing.assert_allclose(lifted[:, 1], lifted[0, 1], atol=MM)
    np.testing.assert_allclose(motion.world.R[0], TO_WORLD, atol=1e-5)
    np.testing.assert_allclose(motion.world.t[0, [0, 2]], CAMERA_AT[[0, 2]], atol=MM)


def test_wham_of_two_people_with_gaps(tmp_path: Path, body: Body) -> None:
    people = {0: known("smpl"), 4: known("smpl", 1, np.array([2, 3, 6, 7]))}
    motion = read_foreign(write_wham(tmp_path / "wham_output.pkl", people), body, fps=25)
    check(motion, people, body)
    assert motion.clip.fps == 25 and motion.people[1].valid.tolist() == [1, 1, 0, 0, 1, 1]
    assert motion.camera.K[0, 0] == pytest.approx(np.hypot(1280, 720))


@pytest.mark.parametrize("packed", [True, False])
def test_phalp_without_its_ghosts(tmp_path: Path, body: Body, packed: bool) -> None:
    people = {1: known("smpl"), 3: known("smpl", 1, np.array([2, 3, 6, 7]))}
    path = write_phalp(tmp_path / "demo_clip.pkl", people, packed=packed)
    motion = read_foreign(path, body, fps=30)
    check(motion, people, body)
    assert (motion.clip.width, motion.clip.height) == (640, 480)
    assert motion.camera.K[0, 0] == pytest.approx(5000 / 256 * 640)


def test_romp_with_tracks_and_of_one_person_without(tmp_path: Path, body: Body) -> None:
    people = {2: known("smpl"), 5: known("smpl", 1, np.array([2, 3, 6, 7]))}
    check(read_foreign(write_romp(tmp_path / "a.npz", people), body, fps=24), people, body)
    alone = write_romp(tmp_path / "b.npz", {0: people[2]}, tracked=False)
    check(read_foreign(alone, body, fps=24), {0: people[2]}, body)
    both = write_romp(tmp_path / "c.npz", people, tracked=False)
    with pytest.raises(InputError, match="several people and no tracks; run it with --temporal"):
        read_foreign(both, body, fps=24)


@pytest.mark.parametrize("name", ["amass", "bvh"])
def test_our_own_exports_come_back(tmp_path: Path, body: Body, name: str) -> None:
    motion = make_motion(body, people=1, frames=9, fps=Fraction(30), seed=3)
    row = FORMATS[name]  # pyright: ignore[reportArgumentType]
    (path,) = row.write(motion, body, tmp_path, "a", ExportOptions())
    found = read_foreign(path, body)
    assert found.clip.fps == 30 and found.world is not None
    shape = found.people[0].body.betas
    assert len(shape) == 16
    np.testing.assert_allclose(shape[:10], motion.people[0].body.betas, atol=0.02)
    np.testing.assert_allclose(shape[10:], 0, atol=0.02)
    joints = to_world(found.people[0].joints, found.world, np.arange(9))
    expected = motion.people[0].joints @ np.diag([1, -1, -1])
    shift = (joints - expected)[:, 0].mean(0)
    np.testing.assert_allclose(shift[[0, 2]], 0, atol=MM)
    joint = slice(22) if name == "amass" else slice(24)  # SMPL-H has no such hands
    np.testing.assert_allclose((joints - expected - shift)[:, joint], 0, atol=MM)


def test_smplx_npz_under_its_own_names(tmp_path: Path, body: Body) -> None:
    person = known("smplx")
    angles = person.angles(world=True, joints=22)
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    pelvis = person.pelvis_world @ z_up.T
    turned = torch.from_numpy(z_up @ TO_WORLD @ person.params.rotmats[:, 0].astype(np.float64))
    from hpsvid.common.geometry import matrix_to_axis_angle

    np.savez(
        tmp_path / "stageii.npz", global_orient=matrix_to_axis_angle(turned).numpy(),
        body_pose=angles[:, 3:], transl=pelvis - person.rest, betas=np.ones((8, 10)),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"`mocap_framerate`"):
        read_foreign(tmp_path / "stageii.npz", body)
    found = read_foreign(tmp_path / "stageii.npz", body, fps=50)
    assert found.world is not None and found.clip.fps == 50
    joints = to_world(found.people[0].joints, found.world, np.arange(8))
    expected = joints_of(person, body, np.arange(8), 22) @ TO_WORLD.T + CAMERA_AT
    shift = (joints - expected)[0, 0]
    np.testing.assert_allclose(joints - expected, np.broadcast_to(shift, joints.shape), atol=MM)
    np.testing.assert_allclose(shift[[0, 2]], 0, atol=MM)


RIG = """HIERARCHY
ROOT Hips { OFFSET 0 90 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Chest { OFFSET 0 20 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT Neck { OFFSET 0 25 0 CHANNELS 3 Zrotation Xrotation Yrotation
JOINT Head { OFFSET 0 8 0 CHANNELS 3 Zrotation Xrotation Yrotation End Site { OFFSET 0 15 0 } } }
%s } %s }
MOTION
Frames: 2
Frame Time: 0.04
"""


def hanging_rig() -> str:
    """A skeleton in centimetres whose arms hang down at rest."""
    three = "CHANNELS 3 Zrotation Xrotation Yrotation"
    arms = " ".join(
        f"JOINT {side}Shoulder {{ OFFSET {3 * sign} 20 0 {three} JOINT {side}Arm {{ OFFSET "
        f"{12 * sign} 0 0 {three} JOINT {side}ForeArm {{ OFFSET 0 -28 0 {three} JOINT {side}Hand "
        f"{{ OFFSET 0 -25 0 {three} End Site {{ OFFSET 0 -8 0 }} }} }} }} }}"
        for side, sign in (("Left", 1), ("Right", -1))
    )
    legs = " ".join(
        f"JOINT {side}UpLeg {{ OFFSET {9 * sign} 0 0 {three} JOINT {side}Leg {{ OFFSET 0 -42 0 "
        f"{three} JOINT {side}Foot {{ OFFSET 0 -40 0 {three} End Site {{ OFFSET 0 -5 12 }} }} }} }}"
        for side, sign in (("Left", 1), ("Right", -1))
    )
    return RIG % (arms, legs)


def test_a_bvh_of_another_skeleton_has_its_limbs_directions(tmp_path: Path, body: Body) -> None:
    # hips, chest, neck, head, left shoulder .. hand, right .. hand, left leg .., right leg ..
    row = np.zeros((2, 6 + 3 * 17))
    row[:, :3] = [[0, 90, 0], [10, 90, 0]]
    left_arm = 6 + 3 * 4
    row[1, left_arm : left_arm + 3] = [0, -90, 0]  # Zrotation Xrotation Yrotation: arm forward
    text = hanging_rig() + "\n".join(" ".join(map(str, values)) for values in row) + "\n"
    (tmp_path / "a.bvh").write_text(text)
    found = read_foreign(tmp_path / "a.bvh", body)
    assert found.clip.fps == 25 and found.world is not None
    joints = to_world(found.people[0].joints, found.world, np.arange(2))

    def direction(frame: int, start: int, end: int) -> Array:
        bone = joints[frame, end] - joints[frame, start]
        return bone / np.linalg.norm(bone)

    np.testing.assert_allclose(direction(0, 16, 18), [0, -1, 0], atol=1e-4)
    np.testing.assert_allclose(direction(1, 16, 18), [0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(direction(1, 18, 20), [0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(direction(1, 17, 19), [0, -1, 0], atol=1e-4)
    np.testing.assert_allclose(direction(1, 1, 4), [0, -1, 0], atol=1e-4)
    legs = np.linalg.norm(np.diff(joints[0, [1, 4, 7]], axis=0), axis=1).sum()
    step = joints[1, 0] - joints[0, 0]
    np.testing.assert_allclose(step, [10 / 82 * legs, 0, 0], atol=MM)


def test_what_is_imported_works_everywhere(tmp_path: Path, body: Body) -> None:
    person = known("smpl")
    path = write_wham(tmp_path / "wham_output.pkl", {0: person})
    ours = tmp_path / "ours.npz"
    ran = call("import", path, "--fps", 30, "--out", ours)
    assert ran.exit_code == 0 and "WHAM, 1 people, 8 frames at 30 Hz" in ran.stderr
    motion = hpsvid.load(ours)
    assert motion.provenance.other["imported"]["tool"] == "WHAM"
    for command in (
        ("export", ours, "--format", "glb,bvh,json,csv,amass", "--out", tmp_path / "files", "-q"),
        ("view", ours, "--out", tmp_path / "a.html", "-q"),
        ("draw", ours, "--out", tmp_path / "a.mp4", "-q"),
        ("draw", ours, "--view", "side", "--out", tmp_path / "b.mp4", "-q"),
        ("tracks", "rename", ours, 0, 3, "--out", tmp_path / "b.npz"),
    ):
        ran = call(*command)
        assert ran.exit_code == 0, (command, ran.output)
    page = (tmp_path / "a.html").read_text().partition('id="data">')[2].partition("</script>")[0]
    for text in ((tmp_path / "files" / "ours.json").read_text(), page):
        content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert content["people"][0]["sigma"][0][0] is None
    assert list(hpsvid.load(tmp_path / "b.npz").people[0].track.frame_index) == list(range(8))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pkl", pickle.dumps({"x": 1}), "holds x; expected a file of GVHMR"),
        ("b.pkl", b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
        ("c.pkl", b"\x78\x01rubbish", "not a whole pickle"),
        ("d.pt", b"rubbish", "not a readable PyTorch checkpoint"),
        ("e.npz", b"rubbish", "not a readable npz"),
        ("f.bvh", b"HIERARCHY\nROOT a\n{\n}\nMOTION\n", "not a whole .bvh"),
        ("g.bvh", b"rubbish", "has no HIERARCHY and MOTION"),
        ("h.bvh", b"HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xposition }\nMOTION\nFrames: 1\n"
                  b"Frame Time: 0.1\n0\n", "no bone found for pelvis among a; say which is which"),
        ("i.txt", b"rubbish", "suffix '.txt'; expected a file of GVHMR"),
        ("j.pkl", pickle.dumps({0: {"pose": 1, "trans": 2, "betas": 3, "frame_ids": "x"}}),
         "cannot be read as a result"),
        ("k.pkl", pickle.dumps({0: {"pose": np.zeros((1, 72)), "trans": np.full((1, 3), np.nan),
                                    "betas": np.zeros((1, 10)), "frame_ids": np.zeros(1, int)}}),
         "not finite"),
        ("l.pkl", pickle.dumps({0: {"pose": np.zeros((1, 72)), "trans": np.zeros((1, 3)),
                                    "betas": np.zeros((1, 10)), "frame_ids": np.zeros(1, int)}}),
         "does not say its frame rate; say it with --fps"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 6 else "",
)  # fmt: skip
def test_bad_files_get_one_clear_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    ran = call("import", tmp_path / name, "--out", tmp_path / "out.npz")
    assert ran.exit_code == 1 and says in ran.stderr and ran.stderr.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()


def test_foreign_files_and_the_input_are_not_overwritten(tmp_path: Path, body: Body) -> None:
    path = write_wham(tmp_path / "wham_output.pkl", {0: known("smpl")})
    (tmp_path / "theirs.npz").write_bytes(b"theirs")
    ran = call("import", path, "--fps", 30, "--out", tmp_path / "theirs.npz")
    assert ran.exit_code == 1 and "not written by hpsvid" in ran.stderr
    assert (tmp_path / "theirs.npz").read_bytes() == b"theirs"
    hpsvid.save(make_motion(body), tmp_path / "ours.npz")
    ran = call("import", tmp_path / "ours.npz", "--out", tmp_path / "again.npz")
    assert ran.exit_code == 1 and "is a result of hpsvid already" in ran.stderr
