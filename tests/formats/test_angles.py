"""Joint angles of poses whose angles are known."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.formats.angles import PELVIS_ANGLES, joint_angles
from hpsvid.formats.figure import Figure, figures
from hpsvid.options import ExportOptions
from hpsvid.types import Array
from tests.factories import make_motion, make_params, make_person

FLIP = np.diag([1.0, -1, -1])  # a camera sees someone upright, who faces it


def posed(body: Body, turns: dict[str, list[Array]], **options: object) -> Figure:
    """Someone upright in the rest pose with these joints turned (3, 3), in order."""
    rotmats = np.tile(np.eye(3), (1, 24, 1, 1))
    rotmats[0, 0] = FLIP
    for name, matrices in turns.items():
        for matrix in matrices:
            rotmats[0, JOINT[name]] = rotmats[0, JOINT[name]] @ matrix
    params = dataclasses.replace(make_params(1, seed=0), rotmats=rotmats.astype(np.float32))
    params = dataclasses.replace(params, betas=np.zeros(10, np.float32))
    motion = dataclasses.replace(make_motion(body, 0), people=(make_person(body, params),))
    return figures(motion, body, ExportOptions(**options))[0]  # pyright: ignore


def about(axis: str, degrees: float) -> Array:
    """x: the person's left; y: up; z: forward."""
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def angle(body: Body, name: str, turns: dict[str, list[Array]], **options: object) -> float:
    """What a pose changes an angle by, of the rest pose's."""
    at = joint_angles(posed(body, turns, **options))[name][0]
    return at - joint_angles(posed(body, {}, **options))[name][0]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("name", "joint", "axis", "per_degree", "mirrored"),
    [  # per_degree: about the axes of `about`, of the right side; mirrored: its sign on the left
        ("hip_flexion", "hip", "x", -1, False),
        ("hip_adduction", "hip", "z", 1, True),
        ("hip_rotation", "hip", "y", 1, True),
        ("knee_angle", "knee", "x", 1, False),
        ("ankle_angle", "ankle", "x", -1, False),
        ("elbow_flex", "elbow", "y", 1, True),
    ],
)
def test_a_joint_that_turns_by_30_degrees_says_30(
    body: Body, side: str, name: str, joint: str, axis: str, per_degree: int, mirrored: bool
) -> None:
    sign = -per_degree if mirrored and side == "left" else per_degree
    turned = {f"{side}_{joint}": [about(axis, 30 * sign)]}
    found = angle(body, f"{name}_{side[0]}", turned)
    assert found == pytest.approx(30, abs=3)  # about the body's axes, not the segment's own
    other = angle(body, f"{name}_{'r' if side == 'left' else 'l'}", turned)
    assert other == pytest.approx(0, abs=1e-3)


def test_the_knee_is_the_angle_between_thigh_and_shank(body: Body) -> None:
    for degrees in (20, 60, 110):
        figure = posed(body, {"left_knee": [about("x", degrees)]})
        joints = figure.posed[0][0]
        thigh = joints[JOINT["left_hip"]] - joints[JOINT["left_knee"]]
        shank = joints[JOINT["left_knee"]] - joints[JOINT["left_ankle"]]
        cosine = thigh @ shank / np.linalg.norm(thigh) / np.linalg.norm(shank)
        expected = np.rad2deg(np.arccos(cosine))
        assert joint_angles(figure)["knee_angle_l"][0] == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
def test_the_shoulder_by_the_plane_in_which_the_arm_is_raised(
    body: Body, side: str, sign: int
) -> None:
    letter, shoulder = side[0], f"{side}_shoulder"
    out = joint_angles(posed(body, {}))  # the T-pose: raised by about 90 degrees, to the side
    assert out[f"shoulder_elevation_{letter}"][0] == pytest.approx(90, abs=12)
    assert out[f"shoulder_plane_{letter}"][0] == pytest.approx(0, abs=15)
    front = joint_angles(posed(body, {shoulder: [about("y", -90 * sign)]}))
    assert front[f"shoulder_plane_{letter}"][0] == pytest.approx(90, abs=15)
    assert front[f"shoulder_elevation_{letter}"][0] == pytest.approx(90, abs=12)
    down = joint_angles(posed(body, {shoulder: [about("z", -80 * sign)]}))
    assert down[f"shoulder_elevation_{letter}"][0] == pytest.approx(10, abs=12)


def test_trunk_and_pelvis(body: Body) -> None:
    assert angle(body, "lumbar_extension", {"spine1": [about("x", -20)]}) == pytest.approx(20)
    assert angle(body, "lumbar_bending", {"spine2": [about("z", 15)]}) == pytest.approx(15)
    assert angle(body, "lumbar_rotation", {"spine3": [about("y", 15)]}) == pytest.approx(15)
    facing_x = about("y", 90)
    for up in ("y", "z"):  # whichever way the file's axes point
        for lean, expected in (
            (about("x", 25), (-25, 0, 0)), (about("z", 25), (0, 25, 0)),
            (about("y", 25), (0, 0, 25)),
        ):  # fmt: skip
            found = joint_angles(posed(body, {"pelvis": [facing_x, lean]}, up_axis=up))
            values = [found[name][0] for name in PELVIS_ANGLES]
            np.testing.assert_allclose(values, expected, atol=1e-3)


def test_angles_of_wild_poses_do_not_jump(body: Body) -> None:
    """No angle that is determined goes further from frame to frame than the body turned."""
    motion = make_motion(body, 1, frames=30, seed=4)
    for name, values in joint_angles(figures(motion, body, ExportOptions())[0]).items():
        assert np.isfinite(values).all() and np.abs(np.diff(values)).max() < 180, name
