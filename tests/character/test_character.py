"""People's motion on other people's characters: limbs point alike, soles stand alike."""

import json
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import hpsvid
from hpsvid.body.hinges import HINGES
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.character.names import find_bones
from hpsvid.character.retarget import read_rig
from hpsvid.character.write import character_format
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.formats.ownership import written_by_hpsvid
from hpsvid.formats.rig import RIGS
from hpsvid.motion.lock import bend_limb, posed
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion, World
from tests.character.figures import write_character
from tests.factories import make_motion
from tests.formats.gltf import Glb
from tests.formats.test_glb import VALIDATE

LIMBS = [
    (JOINT[f"{side}_{a}"], JOINT[f"{side}_{b}"])
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]
FPS = 25
UPRIGHT = np.diag([1.0, -1, -1])  # before a camera whose y points down
ODD = tuple(f"joint{n}" for n in range(24))


def moving(body: Body, frames: int = 6) -> Motion:
    return make_motion(body, people=1, frames=frames, fps=Fraction(FPS), seed=4)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def directions(places: Array) -> Array:
    bones = np.stack([places[end] - places[start] for start, end in LIMBS])
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


def humanoid(old: bool) -> dict[str, Any]:
    """VRM's table of bones; SMPL's joint j is node j + 1."""
    nodes = {name: 1 + joint for joint, name in enumerate(RIGS["vrm"])}
    if old:
        bones = [{"bone": name, "node": node} for name, node in nodes.items()]
        return {"VRM": {"humanoid": {"humanBones": bones}}}
    return {"VRMC_vrm": {"humanoid": {"humanBones": {n: {"node": i} for n, i in nodes.items()}}}}


@pytest.mark.parametrize(
    ("names", "facing_deg", "extensions"),
    [
        (RIGS["mixamo"], 0, None),
        (RIGS["ue5"], 90, None),
        (tuple(f"DEF-{name}" for name in RIGS["rigify"]), -40, None),
        (ODD, 0, humanoid(False)),
        (ODD, 180, humanoid(True)),  # VRM 0.x looks along -z
    ],
    ids=["mixamo", "ue5", "rigify", "vrm1", "vrm0"],
)
def test_limbs_point_as_the_persons_do(
    tmp_path: Path, body: Body, names: tuple[str, ...], facing_deg: float, extensions: Any
) -> None:
    hero = write_character(
        tmp_path / "hero.glb", body, names, facing_deg=facing_deg, extensions=extensions
    )
    motion = moving(body)
    (path,) = character_format(hero, None).write(motion, body, tmp_path, "a", ExportOptions())
    made, joints = Glb(path), motion.people[0].joints * [1, -1, -1]
    legs = [
        np.linalg.norm(np.diff(places[[1, 4, 7]], axis=0), axis=1).sum()
        for places in (made.joints_at(0, 0), joints[0])
    ]
    for frame in range(len(joints)):
        places = made.joints_at(0, frame / FPS)
        np.testing.assert_allclose(directions(places), directions(joints[frame]), atol=2e-3)
    moved = made.joints_at(0, 0.2)[0] - made.joints_at(0, 0)[0]
    expected = (joints[5, 0] - joints[0, 0]) * legs[0] / legs[1]
    np.testing.assert_allclose(moved[[0, 2]], expected[[0, 2]], atol=1e-3)


def test_who_stands_stands_on_the_ground(tmp_path: Path, body: Body) -> None:
    """In the rest pose, turned and carried about: soles at the person's height in every row."""
    hero = write_character(tmp_path / "hero.glb", body, RIGS["mixamo"])
    motion = moving(body)
    person = motion.people[0]
    rotmats = np.tile(np.eye(3, dtype=np.float32), (6, 24, 1, 1))
    rotmats[:, 0] = np.diag([1, -1, -1])  # upright before the camera
    rotmats[3:, JOINT["left_knee"]] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # on one leg
    params = replace(person.body, rotmats=rotmats, betas=np.zeros(10, np.float32))
    joints = body.joints_of(params)
    motion = replace(motion, people=(replace(person, body=params, joints=joints),))
    (path,) = character_format(hero, None).write(
        motion, body, tmp_path, "a", ExportOptions(frame="camera")
    )
    made = Glb(path)
    legs = [
        np.linalg.norm(np.diff(places[[1, 4, 7]], axis=0), axis=1).sum()
        for places in (made.joints_at(0, 0), joints[0])
    ]
    sole = -body.vertices_of(params)[..., 1].max(1) * legs[0] / legs[1]
    for frame in range(6):
        lowest = made.vertices_at(0, frame / FPS)[:, 1].min()
        assert abs(lowest - sole[frame]) < 0.01  # m


def swaying(body: Body, frames: int = 50) -> Motion:
    """Somebody who sways to and fro, 16 cm and on bent legs, over feet that rest on the ground."""
    motion = moving(body, frames)
    person, sway = motion.people[0], np.sin(np.arange(frames) / FPS * 2 * np.pi)
    rotmats = np.tile(np.eye(3, dtype=np.float32), (frames, 24, 1, 1))
    rotmats[:, 0] = UPRIGHT
    way = np.stack([0.03 * sway, 0.05 + 0.03 * sway**2, 0.08 * sway], 1)  # y is down
    params = replace(
        person.body, rotmats=rotmats, betas=np.zeros(10, np.float32),
        transl=(np.array([0.0, 0, 4]) + way).astype(np.float32),
    )  # fmt: skip
    for leg in HINGES[:2]:
        local, joints, turned = posed(params, body)
        bend_limb(local, joints, turned, -way, leg)
        params = replace(params, rotmats=local.astype(np.float32))
    floor = body.vertices_of(params)[..., 1].max()
    joints = body.joints_of(params)
    ankles = joints[:, [JOINT["left_ankle"], JOINT["right_ankle"]]]
    assert np.ptp(ankles, axis=0).max() < 2e-3  # m
    world = World(
        up=np.array([0.0, -1, 0]), up_sigma_deg=1.0, R=np.tile(UPRIGHT, (frames, 1, 1)),
        t=np.tile([0, floor, 0], (frames, 1)), made_from="the test",
    )  # fmt: skip
    stands = replace(person, body=params, joints=joints, contacts=np.ones((frames, 4), np.float32))
    return replace(motion, people=(stands,), world=world)


def test_planted_feet_of_a_character_with_other_legs_do_not_slide(
    tmp_path: Path, body: Body
) -> None:
    """Short thighs, long shanks: turned as the person's, its feet would go with the pelvis."""
    hero = write_character(tmp_path / "hero.glb", body, RIGS["mixamo"], legs=(0.7, 1.1))
    motion, speeds = swaying(body), {}
    free = replace(motion, people=(replace(motion.people[0], contacts=None),))
    for name, who in (("held", motion), ("free", free)):
        (path,) = hpsvid.export(who, "glb", tmp_path / name,
                                options=ExportOptions(character=hero))  # fmt: skip
        made = Glb(path)
        ankles = np.stack([made.joints_at(0, n / FPS)[[7, 8]] for n in range(50)])
        speeds[name] = np.linalg.norm(np.diff(ankles[..., [0, 2]], axis=0), axis=-1).mean() * FPS
        low = [made.vertices_at(0, n / FPS)[:, 1].min() for n in range(0, 50, 7)]
        assert np.abs(low).max() < 0.015  # on the ground all the while
    assert speeds["free"] > 0.04  # m/s
    assert speeds["held"] < 0.2 * speeds["free"]
    with pytest.raises(InputError, match="leave out --format"):
        hpsvid.export(motion, "bvh", tmp_path, options=ExportOptions(character=hero))


def test_nothing_of_the_character_changes(tmp_path: Path, body: Body) -> None:
    hero = write_character(tmp_path / "hero.glb", body, RIGS["mixamo"])
    row = character_format(hero, None)
    (path,) = row.write(moving(body), body, tmp_path, "a", ExportOptions())
    made, theirs = Glb(path), Glb(hero)
    for key in ("meshes", "materials", "textures", "images", "skins", "scenes"):
        assert made.content[key] == theirs.content[key]
    size = theirs.content["buffers"][0]["byteLength"]
    assert made.binary[:size] == theirs.binary[:size]
    assert (
        made.content["accessors"][: len(theirs.content["accessors"])]
        == (theirs.content["accessors"])
    )
    assert [n.get("name") for n in made.content["nodes"]] == [
        n.get("name") for n in theirs.content["nodes"]
    ]
    assert made.content["asset"]["copyright"] == "theirs"
    assert written_by_hpsvid(path) and not written_by_hpsvid(hero)


def test_bones_are_told_by_words_or_a_mapping(tmp_path: Path, body: Body) -> None:
    vroid = {"pelvis": "J_Bip_C_Hips", "left_hip": "J_Bip_L_UpperLeg", "neck": "J_Bip_C_Neck"}
    words = [
        vroid.get(name, f"Bip01 {name.replace('left_', 'L ').replace('right_', 'R ').title()}")
        for name in (
            "pelvis", "left_hip", "right_thigh", "spine", "left_calf", "right_calf", "spine1",
            "left_foot", "right_foot", "chest", "left_toe0", "right_toe0", "neck",
            "left_clavicle", "right_clavicle", "head", "left_upper_arm", "right_upper_arm",
            "left_forearm", "right_forearm", "left_hand", "right_hand",
        )
    ]  # fmt: skip
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
    assert find_bones(words, parents) == {joint: joint for joint in range(22)}
    hero = write_character(tmp_path / "hero.glb", body, ODD)
    with pytest.raises(InputError, match="no bone found for pelvis among joint0, joint1"):
        read_rig(hero, None)
    needed = {name: f"joint{joint}" for name, joint in JOINT.items() if joint < 22}
    (tmp_path / "map.json").write_text(json.dumps(needed))
    lines = [f'{name} = "{bone}"' for name, bone in needed.items()]
    (tmp_path / "map.toml").write_text("\n".join(lines))
    for name in ("map.json", "map.toml"):
        assert read_rig(hero, tmp_path / name).bones == {joint: joint + 1 for joint in range(22)}


def test_the_command(tmp_path: Path, body: Body) -> None:
    write_character(tmp_path / "hero.vrm", body, ODD, extensions=humanoid(False))
    hpsvid.save(make_motion(body, people=2, frames=6), tmp_path / "clip.npz")
    ran = call("export", tmp_path / "clip.npz", "--character", tmp_path / "hero.vrm", "--fps", 30,
               "--out", tmp_path / "out", "-q")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["clip_person00.glb", "clip_person03.glb"]
    clip, hero = tmp_path / "clip.npz", tmp_path / "hero.vrm"
    (tmp_path / "bad.toml").write_text('left_hip = "nobody"')
    (tmp_path / "bad.glb").write_bytes(b"glTF rubbish")
    for arguments, says in (
        (("--mapping", tmp_path / "bad.toml"), "--mapping has no effect without --character"),
        (("--character", hero, "--mapping", tmp_path / "bad.toml"), "there is no bone 'nobody'"),
        (("--character", tmp_path / "bad.glb"), "not a readable .glb"),
        (("--character", tmp_path / "none.glb"), "cannot be opened"),
        (("--character", clip), "expected a character as .glb or .vrm"),
        (("--character", hero, "--format", "bvh"), "leave out --format"),
        (("--character", hero, "--rig", "hik"), "--rig has no part in --format glb"),
    ):
        ran = call("export", clip, *arguments, "--out", tmp_path / "other")
        assert ran.exit_code == 1 and says in ran.stderr, (arguments, ran.output)
        assert ran.stderr.count("\n") == 1 and not (tmp_path / "other").exists()


@pytest.mark.parametrize("seed", range(12))
def test_damaged_characters_get_one_line(tmp_path: Path, body: Body, seed: int) -> None:
    hero = write_character(tmp_path / "hero.glb", body, RIGS["mixamo"], skinned=False)
    data, rng = bytearray(hero.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(data), 6):
        data[place] = rng.integers(0, 256)
    hero.write_bytes(bytes(data[: len(data) if seed % 3 else int(rng.integers(len(data)))]))
    try:
        row = character_format(hero, None)
        row.write(moving(body, 3), body, tmp_path, "a", ExportOptions())
    except InputError as error:
        assert "\n" not in str(error)


def test_the_validator_of_khronos_has_nothing_to_say(tmp_path: Path, body: Body) -> None:
    found = subprocess.run(
        ["node", "-e", "require.resolve('gltf-validator')"], capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("needs npm's gltf-validator in a folder of $NODE_PATH")
    hero = write_character(tmp_path / "hero.glb", body, RIGS["mixamo"])
    row = character_format(hero, None)
    (path,) = row.write(moving(body), body, tmp_path, "a", ExportOptions())
    ran = subprocess.run(["node", "-e", VALIDATE, str(path)], capture_output=True, check=True)
    issues = json.loads(ran.stdout)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]
