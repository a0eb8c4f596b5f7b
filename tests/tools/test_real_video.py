"""The table on real video, on made-up truth whose errors are known."""

from pathlib import Path

import numpy as np
import pytest

from hpsvid.body.skeleton import LIMB_NAMES
from hpsvid.errors import InputError
from hpsvid.evaluation.truth import TruePerson, Truth
from tools.tables.real_video import COLUMNS, LIMB, figures, flexion_deg, read_mot, true_angles

HEADS = [column.heading for column in COLUMNS[3:]]


def standing(frames: int = 40, bend_deg: float = 0.0) -> np.ndarray:
    """Points (T, 12, 3) m of somebody 4 m away, arms down; knees and elbows bent forward."""
    bend = np.radians(bend_deg)
    heights = {"shoulder": -0.5, "elbow": -0.2, "wrist": 0.06, "hip": 0.0, "knee": 0.4,
               "ankle": 0.8}  # fmt: skip
    points = np.zeros((frames, 12, 3))
    for name in LIMB_NAMES:
        side, part = name.split("_")
        points[:, LIMB[name]] = [0.15 if side == "left" else -0.15, heights[part], 4.0]
    for joint, end, length in (("elbow", "wrist", 0.26), ("knee", "ankle", 0.4)):
        for side in ("left", "right"):
            bone = length * np.array([0, np.cos(bend), -np.sin(bend)])
            points[:, LIMB[f"{side}_{end}"]] = points[:, LIMB[f"{side}_{joint}"]] + bone
    return points


def truth_of(points: np.ndarray) -> Truth:
    person = TruePerson(id=0, frame_index=np.arange(len(points)), points=points, steady=points)
    K = np.array([[1000.0, 0, 500], [0, 1000, 500], [0, 0, 1]])
    return Truth(name="made up", clip=None, points="limbs", K=K, fps=30.0, people=(person,))


def row(points: np.ndarray, truth: Truth, *, metric: bool = True) -> dict:
    values = figures(points, truth, true_angles(truth, None), metric=metric)
    return dict(zip(HEADS, values, strict=True))


def test_the_truth_itself_has_no_errors() -> None:
    points = standing(bend_deg=5)
    points[:, :, 0] += np.linspace(0, 1, len(points))[:, None] ** 3  # somewhere they move
    points[:, LIMB["left_wrist"], 1] += np.sin(np.arange(len(points)))
    got = row(points, truth_of(points))
    assert got["seen"] == 100
    for name in ("PA-MPJPE", "MPJPE", "along", "across", "accel", "spread"):
        assert got[name] == pytest.approx(0, abs=1e-6)
    for name in ("p95 speed", "jitter", "bones"):
        assert got[name] == pytest.approx(1)
    assert got["knee"] == pytest.approx((0, 0), abs=1e-6)


def test_a_crouch_is_a_bias_of_straight_joints_and_an_error_along_the_view() -> None:
    truth = truth_of(standing(bend_deg=0))
    got = row(standing(bend_deg=30), truth)
    assert got["knee"] == pytest.approx((30, 30)) and got["elbow"] == pytest.approx((30, 30))
    assert got["bones"] == pytest.approx(1) and got["spread"] == pytest.approx(0, abs=1e-6)
    # shank and forearm lean by sin 30 of their lengths towards the camera, 4 of 12 points
    assert got["along"] == pytest.approx(1000 * (0.4 + 0.26) / 2 * 0.5 * 4 / 12, rel=0.02)
    bent = row(standing(bend_deg=60), truth_of(standing(bend_deg=40)))
    assert bent["knee"][0] == pytest.approx(20) and np.isnan(bent["knee"][1])  # none is straight


def test_a_body_too_small_is_a_scale_and_one_short_bone_a_spread() -> None:
    points = standing()
    small = points.copy()
    small[..., :2] *= 0.9
    got = row(small, truth_of(points))
    assert got["bones"] == pytest.approx(0.9) and got["spread"] == pytest.approx(0, abs=1e-6)
    small[:, LIMB["left_wrist"], 1] = small[:, LIMB["left_elbow"], 1] + 0.9 * 0.26 / 2
    mean = (9 + 0.5) / 10
    assert row(small, truth_of(points))["spread"] == pytest.approx(100 * (1 - 0.5 / mean))


def test_frames_without_the_person_and_points_without_truth_do_not_count() -> None:
    points = standing()
    desk = points.copy()
    desk[:, 6:] = np.nan  # no hips, no legs
    missed = points + 0.0
    missed[:10] = np.nan
    got = row(missed, truth_of(desk))
    assert got["seen"] == 75 and got["MPJPE"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(got["knee"]).all() and got["elbow"][0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(row(missed, truth_of(points), metric=False)["MPJPE"])
    nobody = row(np.full_like(points, np.nan), truth_of(points))
    assert nobody["seen"] == 0 and np.isnan(nobody["spread"])


def test_opensims_angles_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "motion.mot"
    names = ["time", "knee_angle_r", "knee_angle_l", "elbow_flex_r", "elbow_flex_l"]
    lines = ["Coordinates", "nRows=3", "inDegrees=yes", "endheader", "\t".join(names)]
    lines += [f"{0.1 * i:.2f}\t{i}\t{10 + i}\t{20 + i}\t{30 + i}" for i in range(3)]
    path.write_text("\n".join(lines) + "\n")
    points = standing(frames=3)
    points[1] = np.nan
    angles = true_angles(truth_of(points), path)
    np.testing.assert_array_equal(angles["knee"], [[10, 0], [np.nan, np.nan], [12, 2]])
    np.testing.assert_array_equal(angles["elbow"][0], [30, 20])
    with pytest.raises(InputError, match="3 rows, the truth has 5 frames"):
        true_angles(truth_of(standing(frames=5)), path)
    path.write_text("\n".join(lines).replace("inDegrees=yes", "inDegrees=no"))
    with pytest.raises(InputError, match=r"no \.mot file in degrees"):
        read_mot(path)


def test_flexion_of_a_right_angle() -> None:
    np.testing.assert_allclose(flexion_deg(standing(2, 90.0), "elbow"), 90)
