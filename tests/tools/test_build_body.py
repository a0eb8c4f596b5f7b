"""The body's builder: its quick steps, and that the committed file is what they give.

A whole build takes about half a minute of one core and the pinned wheel:
`python -m tools.build_body --check` compares it with the committed file, byte by byte.
"""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT, SMPL, mirror_name
from hpsvid.common.weights import weights_path
from tools.build_body.atlas import build_atlas
from tools.build_body.build import write_npz
from tools.build_body.correctives import DESCENDANTS, RANGES, _sample, _swing_twist
from tools.build_body.decimate import HalfMesh, decimate
from tools.build_body.landmarks import (
    BASE_POINTS,
    HIDDEN,
    SMPL_IDS,
    landmark_regressor,
    vertices_of,
)
from tools.build_body.look import suit_colours, texture_coordinates
from tools.build_body.makehuman import EYES
from tools.build_body.people import with_people
from tools.build_body.proportions import NAMES as LIMBS
from tools.build_body.proportions import limb_directions
from tools.build_body.shape import volume
from tools.build_body.skeleton import joint_shares, limit_influences
from tools.build_body.tpose import (
    FOREARM,
    GROUPS,
    LEG,
    UPPER_ARM,
    blend_skin,
    dual_quaternions,
    posed_head,
    rotation_between,
    to_t_pose,
    unit,
)
from tools.people.outfit import draw_betas
from tools.people.tailor import Builds


@pytest.fixture(scope="module")
def shipped() -> dict[str, np.ndarray]:
    with np.load(weights_path("free_body"), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def points(shipped) -> dict[str, int]:
    """Vertex of each named point on the shipped body."""
    place = {int(v): i for i, v in enumerate(shipped["mh_vertex_ids"])}
    left = {name: place[vertex] for name, vertex in BASE_POINTS.items()}
    return left | {mirror_name(n): int(shipped["mirror"][v]) for n, v in left.items()}


def test_the_shipped_body_keeps_smpls_ids_for_known_points(points):
    assert {name: points[name] for name in SMPL_IDS} == SMPL_IDS


def test_the_shipped_landmarks_and_suit_are_what_the_builder_gives(shipped, points):
    template, joints = shipped["v_template"].astype(float), shipped["J"].astype(float)
    rows = landmark_regressor(
        template, shipped["weights"].astype(float), joints, points, shipped["mirror"]
    )
    moved = (rows - shipped["landmark_regressor"]) @ template
    assert np.linalg.norm(moved, axis=1).max() < 1e-5
    eyes = (shipped["mh_vertex_ids"] >= EYES.start) & (shipped["mh_vertex_ids"] < EYES.stop)
    colours = suit_colours(template, joints, eyes).astype(int)
    assert np.abs(colours - shipped["colours"]).max() <= 1


def test_the_shipped_texture_layout_is_what_the_builder_gives():
    built = build_atlas()
    with np.load(weights_path("free_body_atlas"), allow_pickle=False) as atlas:
        assert set(atlas.files) == set(built)
        for key, values in built.items():
            if key == "uv":
                np.testing.assert_allclose(atlas[key], values, atol=2e-6)
            else:
                assert np.array_equal(atlas[key], values), key


def test_the_shipped_joints_are_those_the_motion_capture_was_fitted_to(shipped, shared: Path):
    with np.load(shared / "prototypes/body/FREE_NEUTRAL.npz") as first:
        was = {key: first[key].astype(float) for key in ("v_template", "shapedirs", "J_regressor")}
    rest = shipped["J_regressor"].astype(float) @ shipped["v_template"]
    assert np.abs(rest - was["J_regressor"] @ was["v_template"]).max() < 1e-4
    for betas in np.random.default_rng(0).normal(size=(8, 10)) * 2:
        now = shipped["J_regressor"] @ (
            shipped["v_template"] + shipped["shapedirs"][..., :10] @ betas
        )
        then = was["J_regressor"] @ (was["v_template"] + was["shapedirs"] @ betas)
        assert np.abs(now - then).max() < 2e-4


def test_an_archive_has_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array("text")}
    write_npz(tmp_path / "one.npz", arrays)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_npz(tmp_path / "two.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as back:
        assert np.array_equal(back["b"], arrays["b"]) and str(back["a"]) == "text"


def test_one_motion_for_all_parts_moves_a_skin_rigidly():
    rng = np.random.default_rng(0)
    rotation, offset = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix(), rng.normal(size=3)
    cloud, weights = rng.normal(size=(40, 3)), rng.dirichlet(np.ones(3), 40)
    parts = np.tile(rotation, (1, 3, 1, 1)), np.tile(offset, (1, 3, 1))
    skinned = blend_skin(cloud, weights, *dual_quaternions(*parts))[0]
    np.testing.assert_allclose(skinned, cloud @ rotation.T + offset, atol=1e-12)


def test_half_way_between_two_turns_the_skin_keeps_its_length():
    """What linear blending gets wrong: it would pull the point in to 0.71."""
    turn = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
    parts = np.stack([np.eye(3), turn])[None], np.zeros((1, 2, 3))
    skinned = blend_skin(np.array([[1.0, 0, 0]]), np.full((1, 2), 0.5), *dual_quaternions(*parts))
    np.testing.assert_allclose(skinned[0, 0], [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-12)


def a_pose_heads(people: int) -> dict[str, np.ndarray]:
    """Bone heads of stick figures in an A-pose, each a little different, left-right symmetric."""
    left = {
        "clavicle": (0.02, 1.4, 0.05), "shoulder01": (0.08, 1.42, 0.02),
        "upperarm01": (0.18, 1.40, 0.0), "lowerarm01": (0.36, 1.20, -0.02),
        "wrist": (0.50, 1.02, 0.05), "finger2-1": (0.57, 0.95, 0.10),
        "finger3-1": (0.57, 0.94, 0.08), "finger4-1": (0.57, 0.94, 0.06),
        "finger5-1": (0.56, 0.94, 0.04), "upperleg01": (0.08, 0.92, 0.0),
        "upperleg02": (0.10, 0.80, 0.01), "lowerleg01": (0.16, 0.50, 0.02),
        "foot": (0.2, 0.1, -0.02),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    heads = {"root": np.zeros((people, 3))}
    for bone, place in left.items():
        at = np.array(place) + rng.normal(size=(people, 3)) * 0.01
        heads[f"{bone}.L"], heads[f"{bone}.R"] = at, at * [-1, 1, 1]
    return heads


def test_everyone_comes_out_in_the_t_pose():
    heads = a_pose_heads(5)
    frames = to_t_pose(heads)
    parents = {bone: "" for bone in heads}
    parents |= {f"finger{k}-1.{s}": f"wrist.{s}" for k in (2, 3, 4, 5) for s in "LR"}
    at = {bone: posed_head(heads, frames, bone, parents) for bone in heads}
    for side, flip in (("L", [1, 1, 1]), ("R", [-1, 1, 1])):
        arm = at[f"lowerarm01.{side}"] - at[f"upperarm01.{side}"]
        np.testing.assert_allclose(unit(arm), np.tile(unit(UPPER_ARM * flip), (5, 1)), atol=1e-9)
        forearm = at[f"wrist.{side}"] - at[f"lowerarm01.{side}"]
        np.testing.assert_allclose(unit(forearm), np.tile(unit(FOREARM * flip), (5, 1)), atol=1e-9)
        knuckles = at[f"finger2-1.{side}"] - at[f"finger5-1.{side}"]
        assert (np.abs(unit(knuckles)[:, 1]) < 0.15).all()  # level: palms down, thumbs in front
        assert (knuckles[:, 2] > 0).all()
        for bone, child in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist")):
            was = heads[f"{child}.{side}"] - heads[f"{bone}.{side}"]
            now = at[f"{child}.{side}"] - at[f"{bone}.{side}"]
            np.testing.assert_allclose(
                np.linalg.norm(now, axis=1), np.linalg.norm(was, axis=1), atol=1e-9
            )
    for bone in ("wrist", "foot", "finger3-1"):
        np.testing.assert_allclose(at[f"{bone}.L"] * [-1, 1, 1], at[f"{bone}.R"], atol=1e-9)
    turned = frames[0][:, GROUPS.index("upperleg01.L")]
    leg = np.einsum("nij,nj->ni", turned, heads["foot.L"] - (
        0.7 * heads["upperleg01.L"] + 0.3 * heads["upperleg02.L"]))  # fmt: skip
    assert (unit(leg) @ unit(LEG) > 0.999).all()


def test_the_smallest_rotation_takes_one_direction_to_another():
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(50, 3)), rng.normal(size=3)
    rotation = rotation_between(source, target)
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", rotation, unit(source)), np.tile(unit(target), (50, 1)), atol=1e-9
    )
    angle = Rotation.from_matrix(rotation).magnitude()
    np.testing.assert_allclose(np.cos(angle), unit(source) @ unit(target), atol=1e-9)


def half_sphere(rings: int = 12) -> HalfMesh:
    """The half x >= 0 of a sphere of two hundred vertices, skinned to two bones by height."""
    around = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    level = np.linspace(0, np.pi, rings + 1)[1:-1]
    grid = np.stack(np.meshgrid(level, around, indexing="ij"), -1).reshape(-1, 2)
    cloud = np.stack([
        np.sin(grid[:, 0]) * np.cos(grid[:, 1]), np.cos(grid[:, 0]),
        np.sin(grid[:, 0]) * np.sin(grid[:, 1]),
    ], 1)  # fmt: skip
    cloud = np.concatenate([cloud, [[0, 1, 0], [0, -1, 0]]])
    wide, rows = rings + 1, rings - 1
    faces = []
    for i in range(rows - 1):
        for j in range(rings):
            a, b, c, d = i * wide + j, i * wide + j + 1, (i + 1) * wide + j, (i + 1) * wide + j + 1
            faces += [[a, b, c], [b, d, c]]
    top, bottom = len(cloud) - 2, len(cloud) - 1
    for j in range(rings):
        faces += [[top, j + 1, j], [bottom, (rows - 1) * wide + j, (rows - 1) * wide + j + 1]]
    skin = np.zeros((len(cloud), 24))
    skin[:, 0] = (cloud[:, 1] + 1) / 2
    skin[:, 1] = 1 - skin[:, 0]
    keep = np.zeros(len(cloud), bool)
    keep[[5, 40, 77]] = True
    return HalfMesh(
        points=cloud,
        triangles=np.array(faces),
        on_seam=np.abs(cloud[:, 0]) < 1e-9,
        keep=keep,
        remove_first=np.arange(len(cloud)) == 60,
        importance=np.ones(len(cloud)),
        skin=skin,
    )


def test_thinning_keeps_the_surface_whole_and_is_repeatable():
    mesh = half_sphere()
    kept, faces = decimate(mesh, 80)
    assert len(kept) == 80
    assert {5, 40, 77} <= set(kept.tolist()) and 60 not in kept
    assert set(np.unique(faces)) == set(kept.tolist())
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    assert mesh.on_seam[unique[times == 1]].all()  # open only along the seam
    assert len(kept) - len(unique) + len(faces) == 1  # still a disc
    before = volume(mesh.points, mesh.triangles)  # between the half and the centre
    assert 0.9 * before < volume(mesh.points, faces) < 1.1 * before
    again = decimate(half_sphere(), 80)
    assert np.array_equal(kept, again[0]) and np.array_equal(faces, again[1])


def test_skin_weights_are_limited_alike_on_both_sides():
    rng = np.random.default_rng(3)
    half = rng.dirichlet(np.full(24, 0.5), 50)
    centre = rng.dirichlet(np.full(24, 0.5), 20)
    centre = (centre + centre[:, SMPL.mirror_rotations]) / 2  # the mid line is its own mirror image
    weights = np.concatenate([half, half[:, SMPL.mirror_rotations], centre])
    mirror = np.concatenate([np.arange(50, 100), np.arange(50), np.arange(100, 120)])
    limited = limit_influences(weights, mirror)
    assert (limited > 0).sum(1).max() <= 4
    np.testing.assert_allclose(limited.sum(1), 1)
    np.testing.assert_allclose(limited[mirror][:, SMPL.mirror_rotations], limited, atol=1e-12)


@pytest.mark.parametrize(
    ("bone", "joint"),
    [
        ("root", "pelvis"), ("upperleg02.R", "right_hip"), ("toe3-2.L", "left_foot"),
        ("finger1-2.L", "left_wrist"), ("finger3-2.R", "right_hand"), ("neck03", "neck"),
        ("metacarpal2.L", "left_wrist"), ("tongue04", "head"), ("breast.L", "spine3"),
    ],
)  # fmt: skip
def test_bones_belong_to_the_joint_that_moves_them(bone, joint):
    assert joint_shares(bone) == {joint: 1.0}


def test_swing_and_twist_multiply_to_the_rotation():
    rotations = _sample("left_shoulder", np.random.default_rng(4), 40)
    axis = unit(np.array([1.0, 0.1, -0.2]))
    swing, twist = _swing_twist(rotations, axis)
    np.testing.assert_allclose(swing @ twist, rotations, atol=1e-12)
    np.testing.assert_allclose(twist @ axis, np.tile(axis, (40, 1)), atol=1e-12)
    turned = Rotation.from_matrix(swing).as_rotvec()
    np.testing.assert_allclose(turned @ axis, 0, atol=1e-9)  # a swing does not turn about the bone


def test_sampled_rotations_cover_every_joint_and_stay_in_range():
    rng = np.random.default_rng(5)
    for name in SMPL.rotation_names[1:]:
        assert _sample(name, rng, 3).shape == (3, 3, 3)
    bends = Rotation.from_matrix(_sample("left_foot", rng, 200)).as_euler("xyz", degrees=True)
    low, high = RANGES["foot"][0][1:]
    assert low <= bends[:, 0].min() and bends[:, 0].max() <= high


def test_descendants_follow_the_tree():
    assert DESCENDANTS[0].all()
    assert DESCENDANTS[JOINT["left_elbow"]].nonzero()[0].tolist() == [
        JOINT["left_elbow"], JOINT["left_wrist"], JOINT["left_hand"],
    ]  # fmt: skip


def test_a_triangle_stays_on_one_side_of_a_texture_seam():
    texture = np.array([[0.1, 0.1], [0.2, 0.1], [0.1, 0.2], [0.9, 0.9], [0.8, 0.9]])
    corners = {7: {0}, 8: {3, 1}, 9: {4, 2}}
    uv, triangles = texture_coordinates(np.array([[7, 8, 9]]), corners, texture)
    np.testing.assert_allclose(uv[triangles[0]], texture[[0, 1, 2]])


def test_runs_of_ids_are_read_whole():
    assert vertices_of("3 7-9\n12") == [3, 7, 8, 9, 12]
    hidden = vertices_of(HIDDEN)
    assert len(hidden) == len(set(hidden)) == 394


@pytest.fixture(scope="module")
def limbs(shipped) -> np.ndarray:
    template = shipped["v_template"].astype(float)
    rest = np.concatenate([shipped["J_regressor"] @ template, template[shipped["leaf_vertices"]]])
    return limb_directions(template, rest, shipped["weights"].astype(float))


def test_longer_limbs_leave_the_stature_and_are_alike_on_both_sides(shipped, limbs):
    template, mirror = shipped["v_template"], shipped["mirror"]
    top, sole = template[:, 1].argmax(), template[:, 1].argmin()
    np.testing.assert_allclose(limbs[top, 1], limbs[sole, 1], atol=1e-3)
    np.testing.assert_allclose(limbs[mirror] * [[-1], [1], [1]], limbs, atol=0.05)
    tips = shipped["leaf_vertices"][1:3]
    for name in ("upper arm", "forearm", "hand"):
        out = limbs[tips, 0, LIMBS.index(name)]
        assert out[0] > 0.9 and out[1] < -0.9


def test_a_limb_that_is_stretched_moves_nothing_else(shipped, limbs):
    template = shipped["v_template"]
    legs = template[:, 1] < -0.5
    assert np.abs(limbs[legs][..., LIMBS.index("forearm")]).max() < 1e-6
    hands = np.abs(template[:, 0]) > 0.7
    assert np.ptp(limbs[hands & (template[:, 0] > 0)][:, 0, LIMBS.index("upper arm")]) < 1e-3
    assert np.abs(limbs[hands][..., LIMBS.index("knee")]).max() < 1e-6


def test_the_shipped_people_are_the_surveys(shipped):
    survey = Path("../shared/data/anthropometry/ansur2.csv.gz")
    if not survey.is_file():
        pytest.skip(f"{survey} is not there: ANSUR II lies in the team's shared data")
    again = with_people(shipped, survey)
    for key in ("shapedirs", "betas_mean", "betas_covariance"):
        np.testing.assert_allclose(again[key], shipped[key], atol=2.0**-11)
    neutral, female, male = shipped["betas_mean"]
    assert female[0] < neutral[0] < male[0]


def test_the_people_that_are_drawn_are_built_like_the_surveys(body):
    """Of each sex: stature, and arms as long as the survey's between the joints."""
    for sex, tall in (("female", 1.625), ("male", 1.755)):
        rng = np.random.default_rng(5)
        builds = Builds(mean=np.zeros(10), male=np.zeros(10), old=np.zeros(10), age_mean=0.3,
                        spread=np.ones(10))  # fmt: skip
        drawn = np.stack([draw_betas(rng, builds, sex, "middleage") for _ in range(300)])
        rest = body.rest_joints(torch.from_numpy(drawn)).numpy()
        height = np.ptp(body.shaped(torch.from_numpy(drawn)).numpy()[..., 1], axis=1)
        assert abs(height.mean() - tall) < 0.015 and 0.05 < height.std() < 0.09
        arm = np.linalg.norm(rest[:, JOINT["left_elbow"]] - rest[:, JOINT["left_shoulder"]], axis=1)
        assert abs(arm.mean() / height.mean() - 0.160) < 0.003
        assert 0.006 < (arm / height).std() < 0.02
