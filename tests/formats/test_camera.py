"""The clip's camera in the files that hold it: people land where the video shows them."""

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.errors import InputError
from hpsvid.formats.camera import write_camera, write_chan
from hpsvid.formats.glb import write_glb
from hpsvid.formats.ownership import written_by_hpsvid
from hpsvid.formats.usd import write_usd
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion, World
from tests.factories import make_motion
from tests.formats.gltf import Glb

Y_UP_TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
TENTH_PX = 0.1
WORLD = ExportOptions(frame="world", together=True)
# Two scenes: the .glb with the camera that it brings, and one with the camera of the .chan alone
BLENDER = """
import json, math, sys, bpy
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Euler, Matrix, Vector
glb, chan, places, width, height = sys.argv[1:]
places = json.load(open(places))
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 30
scene.render.resolution_x, scene.render.resolution_y = int(width), int(height)
bpy.ops.import_scene.gltf(filepath=glb)
(camera,) = (o for o in bpy.data.objects if o.type == "CAMERA")
lone = bpy.data.objects.new("lone", bpy.data.cameras.new("lone"))
scene.collection.objects.link(lone)
lone.data.sensor_fit = "VERTICAL"
def pixels(points):
    seen = [world_to_camera_view(scene, scene.camera, Vector(p)) for p in points]
    return [[s.x * int(width), (1 - s.y) * int(height)] for s in seen]
found = []
for frame, line in enumerate(open(chan)):
    number, *values = map(float, line.split())
    scene.frame_set(frame)
    scene.camera = camera
    bones = {}
    graph = bpy.context.evaluated_depsgraph_get()
    for rig in (o for o in bpy.data.objects if o.type == "ARMATURE"):
        rig = rig.evaluated_get(graph)
        bones[rig.name] = pixels([rig.matrix_world @ bone.head for bone in rig.pose.bones])
    turn = Euler([math.radians(v) for v in values[3:6]], "ZXY").to_matrix().to_4x4()
    up = Matrix.Rotation(math.pi / 2, 4, "X")
    lone.matrix_world = up @ Matrix.Translation(values[:3]) @ turn
    lone.data.angle_y = math.radians(values[6])
    scene.camera = lone
    bpy.context.view_layer.update()
    found.append({"number": number, "bones": bones, "chan": pixels(places[frame])})
names = {o.name: [b.name for b in o.pose.bones] for o in bpy.data.objects if o.type == "ARMATURE"}
print("seen " + json.dumps([names, found]))
"""


@pytest.fixture(scope="module")
def moving(body: Body) -> Motion:
    """Two people before a camera that travels and turns."""
    motion = make_motion(body, frames=8, fps=Fraction(30))
    n = len(motion.pts_s)
    turns = Rotation.from_rotvec(
        np.linspace([0.3, 0.2, 0.1], [-0.2, 3.9, -0.4], n)  # past half a circle: angles go on
    ).as_matrix()
    world = World(
        up=turns[0, 1], up_sigma_deg=1.0, R=turns, t=np.linspace([0, 1.5, 0], [1, 1.7, -3], n),
        made_from="a test",
    )  # fmt: skip
    return dataclasses.replace(motion, world=world)


def joints_in_world(motion: Motion, frame: int) -> tuple[Array, Array]:
    """Everyone's joints (N, 3) m of the world in a frame, and where the video shows them, px."""
    assert motion.world is not None
    places, shown = [], []
    for person in motion.people:
        row = frame - int(person.track.frame_index[0])
        if row >= 0:
            places.append(to_world(person.joints[[row]], motion.world, np.array([frame]))[0])
            shown.append(person.joints2d[row])
    return np.concatenate(places), np.concatenate(shown)


def pixels(points: Array, matrix: Array, fov: tuple[float, float], motion: Motion) -> Array:
    """Points (N, 3) before a camera of computer graphics; fov: across and upright, rad."""
    clip = motion.clip
    own = (points - matrix[:3, 3]) @ matrix[:3, :3]
    flat = own[:, :2] / -own[:, 2:] / np.tan(np.array(fov) / 2)
    return (flat * [1, -1] + 1) / 2 * [clip.width, clip.height]


def test_json_and_chan_put_people_where_the_video_shows_them(
    tmp_path: Path, body: Body, moving: Motion
) -> None:
    (chan,) = write_chan(moving, body, tmp_path, "a", WORLD)
    (camera,) = write_camera(moving, body, tmp_path, "a", WORLD)
    content = json.loads(camera.read_text())
    rows = np.loadtxt(chan)
    assert rows[:, 0].tolist() == [frame["frame"] + 1 for frame in content["frames"]]
    assert np.abs(np.diff(rows[:, 4:7], axis=0)).max() < 60  # no angle jumps
    fov = float(np.deg2rad(content["fov_x_deg"])), float(np.deg2rad(content["fov_y_deg"]))
    np.testing.assert_allclose(np.deg2rad(rows[:, 7]), fov[1], atol=1e-6)
    for frame, row in enumerate(rows):
        places, shown = joints_in_world(moving, frame)
        matrix = np.array(content["frames"][frame]["matrix"])
        np.testing.assert_allclose(pixels(places, matrix, fov, moving), shown, atol=TENTH_PX)
        x, y, z = np.deg2rad(row[4:7])
        nuke = np.eye(4)
        nuke[:3, :3] = Rotation.from_euler("zxy", [z, x, y]).as_matrix()  # about z, then x, then y
        nuke[:3, 3] = row[1:4]
        np.testing.assert_allclose(pixels(places, nuke, fov, moving), shown, atol=TENTH_PX)


def test_glb_and_usd_hold_the_same_camera(tmp_path: Path, body: Body, moving: Motion) -> None:
    pxr = pytest.importorskip("pxr", reason="needs usd-core")
    from pxr import Usd, UsdGeom  # noqa: F401

    glb = Glb(write_glb(moving, body, tmp_path, "a", WORLD)[0])
    lens = glb.content["cameras"][0]["perspective"]
    node = next(i for i, node in enumerate(glb.content["nodes"]) if "camera" in node)
    fov = 2 * np.arctan(np.tan(lens["yfov"] / 2) * lens["aspectRatio"]), lens["yfov"]
    stage = pxr.Usd.Stage.Open(str(write_usd(moving, body, tmp_path, "a", WORLD)[0]))
    prim = pxr.UsdGeom.Camera(stage.GetPrimAtPath("/hpsvid/camera"))
    for frame in range(len(moving.pts_s)):
        places, shown = joints_in_world(moving, frame)
        matrix = glb.globals_at(frame / 30)[node]
        np.testing.assert_allclose(pixels(places, matrix, fov, moving), shown, atol=TENTH_PX)
        frustum = prim.GetCamera(frame).frustum
        seen = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
        flat = np.array([tuple(seen.Transform(tuple(map(float, p))))[:2] for p in places])
        found = (flat * [1, -1] + 1) / 2 * [moving.clip.width, moving.clip.height]
        np.testing.assert_allclose(found, shown, atol=TENTH_PX)


def test_a_camera_at_another_rate_unit_and_axis(tmp_path: Path, body: Body, moving: Motion) -> None:
    options = ExportOptions(frame="world", fps=60, scale=100, up_axis="z")
    content = json.loads(write_camera(moving, body, tmp_path, "a", options)[0].read_text())
    assert content["fps"] == 60 and len(content["frames"]) == 2 * len(moving.pts_s) - 1
    assert moving.world is not None
    places = np.array([frame["matrix"] for frame in content["frames"]])[:, :3, 3]
    np.testing.assert_allclose(places[::2] @ Y_UP_TO_BLENDER / 100, moving.world.t, atol=1e-6)
    np.testing.assert_allclose(places[1::2], (places[:-1:2] + places[2::2]) / 2, atol=1e-5)


def test_before_the_camera_it_stands_level_at_the_origin(tmp_path: Path, body: Body) -> None:
    uneven = make_motion(body, pts_s=np.array([0, 0.1, 0.15, 0.4, 0.5]), fps=Fraction(10))
    (chan,) = write_chan(uneven, body, tmp_path, "a", ExportOptions(frame="camera"))
    rows = np.loadtxt(chan)
    assert rows[:, 0].tolist() == [1, 2, 3, 4, 5, 6]  # every tenth of a second
    np.testing.assert_allclose(rows[:, 1:7], 0, atol=1e-9)
    assert written_by_hpsvid(chan)
    chan.write_text(chan.read_text().replace("\t", " "))
    assert not written_by_hpsvid(chan)
    with pytest.raises(InputError, match="in-place"):
        write_chan(uneven, body, tmp_path, "b", ExportOptions(frame="in-place"))
    with pytest.raises(InputError, match="where the ground is"):
        write_camera(uneven, body, tmp_path, "b", ExportOptions(frame="world"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.chan"]


@pytest.mark.timeout(600)
def test_blender_sees_people_through_both_cameras(
    tmp_path: Path, body: Body, moving: Motion
) -> None:
    """$HPSVID_BPY names a Python that has bpy (PyPI); this one does where it is not set."""
    python = os.environ.get("HPSVID_BPY", sys.executable)
    if subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False).returncode:
        pytest.skip("needs bpy: pip install bpy in some environment, HPSVID_BPY=its python")
    frames = range(len(moving.pts_s))
    (glb,) = write_glb(moving, body, tmp_path, "a", WORLD)
    (chan,) = write_chan(moving, body, tmp_path, "a", WORLD)
    points = [joints_in_world(moving, frame) for frame in frames]
    listed = tmp_path / "places.json"
    listed.write_text(json.dumps([(places @ Y_UP_TO_BLENDER.T).tolist() for places, _ in points]))
    size = [str(moving.clip.width), str(moving.clip.height)]
    ran = subprocess.run(
        [python, "-c", BLENDER, str(glb), str(chan), str(listed), *size],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    names, seen = json.loads(ran.stdout.split("seen ")[1].splitlines()[0])
    assert len(names) == len(moving.people)
    for frame in frames:
        np.testing.assert_allclose(seen[frame]["chan"], points[frame][1], atol=TENTH_PX)
        for rig, person in zip(sorted(names), moving.people, strict=True):
            row = frame - int(person.track.frame_index[0])
            if row >= 0:
                found = dict(zip(names[rig], seen[frame]["bones"][rig], strict=True))
                shown = person.joints2d[row]
                assert abs(np.array(found["Pelvis"]) - shown[0]).max() < TENTH_PX
                assert abs(np.array(found["L_Ankle"]) - shown[7]).max() < TENTH_PX
