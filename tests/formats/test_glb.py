"""GLB files as the specification, Khronos's validator and Blender read them."""

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.body.world import to_world
from hpsvid.errors import InputError
from hpsvid.formats.glb import write_glb
from hpsvid.formats.npz import read_motion
from hpsvid.formats.rig import bone_names
from hpsvid.options import ExportOptions, RigName
from hpsvid.types import Array, Motion, World
from tests.factories import SAMPLES, make_motion
from tests.formats.gltf import Glb

CAMERA_TO_Y_UP = np.diag([1.0, -1, -1])
CAMERA_TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
TENTH_MM = 1e-4
VALIDATE = """
const fs = require("fs"), validator = require("gltf-validator");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(r => console.log(JSON.stringify(r.issues)));
"""
BLENDER = """
import json, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 30
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
seen = {}
for frame in range(int(sys.argv[2])):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    for rig in (o for o in bpy.data.objects if o.type == "ARMATURE"):
        world = rig.evaluated_get(graph)
        seen.setdefault(rig.name, []).append(
            {bone.name: list(world.matrix_world @ bone.head) for bone in world.pose.bones})
print("seen " + json.dumps(seen))
"""


def writes(motion: Motion, body: Body, folder: Path, **options: object) -> list[Path]:
    return write_glb(motion, body, folder, "clip", ExportOptions(**options))  # pyright: ignore


def assert_joints(glb: Glb, skin: int, expected: Array, fps: float, start: float = 0) -> None:
    for row in range(len(expected)):
        found = glb.joints_at(skin, start + row / fps)
        np.testing.assert_allclose(found, expected[row], rtol=0, atol=TENTH_MM)


def test_joints_are_where_the_camera_saw_them(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, frames=8, seed=3)
    paths = writes(motion, body, tmp_path)
    assert [path.name for path in paths] == ["clip_person00.glb", "clip_person03.glb"]
    for person, path in zip(motion.people, paths, strict=True):
        expected = person.joints @ CAMERA_TO_Y_UP
        assert_joints(Glb(path), 0, expected, float(motion.clip.fps))


def test_the_skin_is_the_body_without_its_pose_dependent_bulges(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=3, seed=5)
    (path,) = writes(motion, body, tmp_path)
    rigid = dataclasses.replace(body, pose_dirs=torch.zeros_like(body.pose_dirs))
    expected = rigid.vertices_of(motion.people[0].body) @ CAMERA_TO_Y_UP
    for row in range(3):
        found = Glb(path).vertices_at(0, row / float(motion.clip.fps))
        np.testing.assert_allclose(found, expected[row], rtol=0, atol=TENTH_MM)


def test_everyone_in_one_file_comes_and_goes_as_in_the_clip(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=2, frames=10, fps=Fraction(25))
    late = motion.people[1]  # from frame 1 on
    (path,) = writes(motion, body, tmp_path, together=True)
    assert path.name == "clip.glb"
    glb = Glb(path)
    for skin, person in enumerate(motion.people):
        start = person.track.frame_index[0] / 25
        assert_joints(glb, skin, person.joints @ CAMERA_TO_Y_UP, 25, start)
    assert np.ptp(glb.joints_at(1, 0.0), axis=0).max() == 0  # not there yet
    assert [node["extras"]["person"] for node in glb.content["nodes"] if "extras" in node] == [
        0, late.track.id,
    ]  # fmt: skip
    assert glb.content["scenes"][0]["extras"]["fps"] == 25


def test_a_file_padded_to_the_clip_holds_poses(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=2, frames=10, fps=Fraction(25))
    _, path = writes(motion, body, tmp_path, pad_to_clip=True)
    glb = Glb(path)
    times = glb.array(glb.content["animations"][0]["samplers"][0]["input"])
    assert len(times) == 10 and times[0] == 0
    expected = motion.people[1].joints @ CAMERA_TO_Y_UP
    assert_joints(glb, 0, expected, 25, 1 / 25)


def test_scale_and_place_are_as_asked(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=4, fps=Fraction(30))
    (path,) = writes(motion, body, tmp_path, scale=2.5)
    assert_joints(Glb(path), 0, 2.5 * motion.people[0].joints @ CAMERA_TO_Y_UP, 30)
    box = Glb(path).vertices_at(0, 0.0)
    assert np.ptp(box, axis=0).max() == pytest.approx(
        2.5 * np.ptp(body.vertices_of(motion.people[0].body)[0], axis=0).max(), rel=0.03
    )
    (path,) = writes(motion, body, tmp_path, frame="in-place")
    glb = Glb(path)
    joints = np.stack([glb.joints_at(0, row / 30) for row in range(4)])
    np.testing.assert_allclose(joints[:, 0, [0, 2]], 0, atol=1e-6)
    assert joints[..., 1].min() == pytest.approx(0, abs=1e-5)
    kept = np.diff(joints[:, 0, 1])  # up and down
    np.testing.assert_allclose(kept, -np.diff(motion.people[0].joints[:, 0, 1]), atol=1e-5)
    assert "cameras" not in glb.content


def test_the_camera_sees_a_joint_where_the_picture_has_it(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=1)
    (path,) = writes(motion, body, tmp_path)
    lens = Glb(path).content["cameras"][0]["perspective"]
    x, y, z = Glb(path).joints_at(0, 0.0)[0]
    tangent = np.tan(lens["yfov"] / 2)
    column = 640 + 640 * x / -z / tangent / lens["aspectRatio"]
    row = 360 - 360 * y / -z / tangent
    np.testing.assert_allclose([column, row], motion.people[0].joints2d[0, 0], atol=0.01)


def on_the_ground(motion: Motion, *, moving: bool = False) -> Motion:
    """The same people before a camera that looks down, and turns and walks if it moves."""
    steps = np.arange(len(motion.pts_s)) * float(moving)
    angles = np.stack([np.full(len(steps), np.pi - 0.4), 0.05 * steps, 0.02 * steps], -1)
    R = Rotation.from_euler("xyz", angles).as_matrix()
    t = np.stack([0.1 * steps, np.full(len(steps), 1.7), 0.3 * steps], -1)
    up = R[0].T @ [0, 1.0, 0]
    world = World(up=up, up_sigma_deg=1.0, R=R, t=t, made_from="a test")
    return dataclasses.replace(motion, world=world)


@pytest.mark.parametrize("moving", [False, True])
def test_in_the_world_people_and_camera_are_where_the_ground_is(
    tmp_path: Path, body: Body, moving: bool
) -> None:
    motion = on_the_ground(make_motion(body, frames=5, fps=Fraction(30)), moving=moving)
    assert motion.world is not None
    for person, path in zip(
        motion.people, writes(motion, body, tmp_path, frame="world"), strict=True
    ):
        at = person.track.frame_index
        glb, expected = Glb(path), to_world(person.joints, motion.world, at)
        assert_joints(glb, 0, expected, 30)
        camera = next(n for n, node in enumerate(glb.content["nodes"]) if "camera" in node)
        for row in range(len(at)):  # the camera's own axes: y up, looking along -z
            seen = np.linalg.inv(glb.globals_at(row / 30)[camera])
            joints = expected[row] @ seen[:3, :3].T + seen[:3, 3]
            np.testing.assert_allclose(joints, person.joints[row] @ CAMERA_TO_Y_UP, atol=TENTH_MM)


def test_without_a_ground_there_is_no_world(tmp_path: Path, body: Body) -> None:
    with pytest.raises(InputError, match="does not say where the ground is"):
        writes(make_motion(body), body, tmp_path, frame="world")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rig", get_args(RigName))
def test_bones_have_the_names_of_the_rig(tmp_path: Path, body: Body, rig: RigName) -> None:
    (path,) = writes(make_motion(body, 1, frames=1), body, tmp_path, rig=rig)
    content = Glb(path).content
    names = tuple(content["nodes"][joint]["name"] for joint in content["skins"][0]["joints"])
    assert names == bone_names(rig)
    assert len(set(names)) == len(SMPL.parents)


def test_what_cannot_be_written_is_said_in_a_line(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, frames=2)
    with pytest.raises(InputError, match="2 people in place would stand inside each other"):
        writes(motion, body, tmp_path, together=True, frame="in-place")
    licensed = dataclasses.replace(body, free=False)
    with pytest.raises(InputError, match="--licensed-mesh"):
        writes(motion, licensed, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert writes(motion, licensed, tmp_path, licensed_mesh=True)


def test_the_validator_of_khronos_has_nothing_to_say(tmp_path: Path, body: Body) -> None:
    found = subprocess.run(
        ["node", "-e", "require.resolve('gltf-validator')"], capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("needs npm's gltf-validator in a folder of $NODE_PATH")
    motion = make_motion(body, frames=6)
    sample = read_motion(SAMPLES / "two_people.npz")
    place = tmp_path / "place"
    place.mkdir()
    files = [
        *writes(motion, body, tmp_path),
        *writes(motion, body, tmp_path, together=True, fps=29.97),
        *writes(make_motion(body, 1, frames=1), body, place, frame="in-place"),
        *write_glb(sample, body, tmp_path, "sample", ExportOptions(together=True)),
    ]
    for path in files:
        ran = subprocess.run(
            ["node", "-e", VALIDATE, str(path)], capture_output=True, check=True, text=True
        )
        issues = json.loads(ran.stdout)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"][:3]


@pytest.mark.timeout(600)
def test_blender_sees_the_joints_that_were_written(tmp_path: Path, body: Body) -> None:
    """$HPSVID_BPY names a Python that has bpy (PyPI); this one does where it is not set."""
    python = os.environ.get("HPSVID_BPY", sys.executable)
    found = subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("needs bpy: pip install bpy in some environment, HPSVID_BPY=its python")
    motion = make_motion(body, frames=6, fps=Fraction(30))
    (path,) = writes(motion, body, tmp_path, together=True)
    ran = subprocess.run(
        [python, "-c", BLENDER, str(path), "6"], capture_output=True, check=True, text=True
    )
    seen = json.loads(ran.stdout.split("seen ")[1].splitlines()[0])
    for rig, person in zip(sorted(seen), motion.people, strict=True):
        rows = seen[rig][int(person.track.frame_index[0]) :]
        places = np.array([[row[name] for name in bone_names("smpl")] for row in rows])
        np.testing.assert_allclose(
            places, person.joints @ CAMERA_TO_BLENDER.T, rtol=0, atol=TENTH_MM
        )
