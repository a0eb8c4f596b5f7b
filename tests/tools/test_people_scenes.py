"""Motions stay inside their limits, people stand on the floor, cameras see them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT
from tests.tools.people_factories import (
    dressed,
    level_shot,
    plain_wardrobe,
    scene_of,
    source,
    standing,
)
from tools.people.camera import CEILING_M, LOWEST_EYE_M, draw_shot, turn
from tools.people.limits import LIMITS, joint_turn, mirrored_turn, random_pose
from tools.people.mix import arms_of, posture_of
from tools.people.motions import KINDS, Motion, draw_motion, turned_about
from tools.people.props import box, seat_under
from tools.people.staging import LAYOUTS, draw_scene, hidden_share, on_the_floor

FRAMES = 24


def acted(body, motion: Motion):
    character, _ = dressed(body)
    return on_the_floor(character, body, motion, np.zeros(3), 0.0)


def test_random_poses_stay_inside_the_joints_limits():
    for seed in range(20):
        pose = random_pose(np.random.default_rng(seed))
        for side in ("left", "right"):
            for part in ("knee", "elbow", "hip"):
                rotation = pose[JOINT[f"{side}_{part}"]]
                own = mirrored_turn(rotation) if side == "right" else rotation
                axes, ranges = LIMITS[part]
                angles = Rotation.from_matrix(own).as_euler(axes, degrees=True)
                for angle, (low, high) in zip(angles, ranges, strict=True):
                    assert low - 1e-6 <= angle <= high + 1e-6


def test_bent_elbows_and_knees_bend_the_way_people_do():
    elbow = joint_turn("left_elbow", np.array([-90.0, 0, 0]))
    assert elbow @ [1, 0, 0] == pytest.approx([0, 0, 1])  # the forearm comes forwards
    assert joint_turn("right_elbow", np.array([-90.0, 0, 0])) @ [-1, 0, 0] == pytest.approx(
        [0, 0, 1]
    )
    knee = joint_turn("right_knee", np.array([90.0, 0, 0]))
    assert knee @ [0, -1, 0] == pytest.approx([0, 0, -1])  # the shank goes back
    hip = joint_turn("left_hip", np.array([-90.0, 0, 0]))
    assert hip @ [0, -1, 0] == pytest.approx([0, 0, 1])
    aside = joint_turn("right_hip", np.array([0.0, 30, 0])) @ [0, -1, 0]
    assert aside[0] < -0.4  # outwards on either side


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_motion_is_made_and_rests_on_the_floor(body, kind):
    for seed in range(2):
        motion = draw_motion(np.random.default_rng(seed), source(FRAMES), kind)
        assert motion.kind == kind and len(motion) == FRAMES
        unit = motion.rotmats @ np.swapaxes(motion.rotmats, -1, -2)
        assert np.abs(unit - np.eye(3)).max() < 1e-5
        actor = acted(body, motion)
        lowest = actor.vertices[..., 1].min(1)
        assert np.abs(np.median(lowest)) < 0.03  # m
        assert np.abs(lowest).max() < 0.15
        trunk = actor.joints[:, JOINT["neck"]] - actor.joints[:, JOINT["pelvis"]]
        upright = (trunk[:, 1] / np.linalg.norm(trunk, axis=1)).mean()
        if kind == "lying":
            assert abs(upright) < 0.75
        if kind == "sitting":
            assert posture_of(actor.joints) in ("sitting or crouching", "lying")


def test_reaching_people_stretch_an_arm_to_whoever_looks_at_their_front(body):
    found = 0
    for seed in range(6):
        motion = draw_motion(np.random.default_rng(seed), source(FRAMES), "reaching")
        actor = acted(body, motion)
        eye = np.tile([0.0, 1.3, 3.0], (FRAMES, 1))
        found += arms_of(actor.joints, eye) == "to the camera"
        wrists = actor.joints[FRAMES // 2, [JOINT["left_wrist"], JOINT["right_wrist"]]]
        assert wrists[:, 2].max() > actor.joints[FRAMES // 2, 0, 2] + 0.25  # in front
    assert found >= 3


def test_turned_motion_has_its_middle_pelvis_at_the_place(body):
    motion = draw_motion(np.random.default_rng(0), source(FRAMES), "captured")
    character, _ = dressed(body)
    place = np.array([1.0, 0, -2])
    actor = on_the_floor(character, body, motion, place, 0.7)
    assert actor.joints[FRAMES // 2, 0, [0, 2]] == pytest.approx([1, -2], abs=1e-5)
    still = np.zeros(3)
    front = turned_about(motion, np.pi / 2, still, still).rotmats[0, 0] @ [0, 0, 1]
    assert front[0] > 0.8  # from +z to +x


def test_camera_with_positive_pitch_looks_down_and_positive_yaw_comes_round():
    down = turn(np.zeros(1), np.array([0.5]), np.zeros(1))[0]
    assert (down.T @ [0, 0, 1])[1] < -0.4
    assert np.linalg.det(down) == pytest.approx(1)
    level = turn(np.zeros(1), np.zeros(1), np.zeros(1))[0]
    assert pytest.approx([0, 0, -1]) == level.T @ [0, 0, 1]
    assert level @ [0, 1, 0] == pytest.approx([0, -1, 0])


def test_shots_see_everybody_from_between_floor_and_ceiling(body):
    scene = scene_of(body, [(-0.5, 0, 0), (0.5, 0, 0)])
    people = np.stack([actor.joints for actor in scene.actors], 1)
    shots = [
        draw_shot(np.random.default_rng(seed), people, yaw=None, indoors=True) for seed in range(60)
    ]
    kept = [shot for shot in shots if shot is not None]
    assert len(kept) > 20
    assert len({shot.move for shot in kept}) == 4
    for shot in kept:
        assert shot.eyes[:, 1].min() >= LOWEST_EYE_M - 0.05
        assert shot.eyes[:, 1].max() <= CEILING_M + 0.05
        for which in range(2):
            flat = shot.pixels(people[:, which])
            inside = ((flat >= 0) & (flat < [shot.width, shot.height])).all(-1)
            assert inside.mean() >= 0.4
    view = kept[0].view(1)
    camera = view.rotation @ people[1, 0, 3] + view.translation
    image = view.K @ camera
    assert image[:2] / image[2] == pytest.approx(kept[0].pixels(people[:, 0])[1, 3])


def test_a_box_before_somebody_counts_as_hiding_them_and_one_behind_does_not(body):
    scene = scene_of(body, [(0, 0, 0)])
    people = scene.actors[0].joints[:, None]
    rng = np.random.default_rng(0)
    size = np.array([2.0, 3.0, 0.1])
    before = box(rng, np.array([0, 1.0, 1.0]), size, 0)
    behind = box(rng, np.array([0, 1.0, -1.0]), size, 0)
    assert hidden_share(before, level_shot(), people) == 1
    assert hidden_share(behind, level_shot(), people) == 0


def test_seats_reach_up_to_the_hips_and_stand_on_the_floor():
    for seed in range(5):
        parts = seat_under(
            np.random.default_rng(seed), np.array([0.3, 0.55, 1]), np.array([0, 0, 1])
        )
        points = np.concatenate([part.vertices for part in parts])
        assert points[:, 1].min() == pytest.approx(0, abs=0.02)
        assert parts[0].vertices[:, 1].max() == pytest.approx(0.55 - 0.115)


def test_scenes_come_in_all_layouts_and_alike_for_the_same_seed(body):
    wardrobe, clips = plain_wardrobe(body), source(3)
    drawn = [draw_scene(np.random.default_rng(seed), clips, wardrobe) for seed in range(6)]
    assert len({scene.layout for scene in drawn}) >= 2
    assert {scene.layout for scene in drawn} <= set(LAYOUTS)
    for scene in drawn:
        assert len(scene.actors) == 1 if scene.layout == "solo" else len(scene.actors) >= 2
    again = draw_scene(np.random.default_rng(3), clips, wardrobe)
    assert (again.actors[0].vertices == drawn[3].actors[0].vertices).all()
    assert (again.shot.rotation == drawn[3].shot.rotation).all()


def test_paths_cross_before_the_camera(body, monkeypatch):
    monkeypatch.setattr("tools.people.staging.LAYOUTS", {"crossing": 1.0})
    wardrobe, clips = plain_wardrobe(body), source(24)
    for seed in range(3):
        scene = draw_scene(np.random.default_rng(seed), clips, wardrobe)
        middle = scene.shot.rotation[12]
        ways = [middle @ (actor.joints[-1, 0] - actor.joints[0, 0]) for actor in scene.actors]
        assert ways[0][0] > 0.2 > -0.2 > ways[1][0]  # m, to the right and to the left
        apart = scene.actors[1].joints[12, 0] - scene.actors[0].joints[12, 0]
        assert abs((middle @ apart)[2]) > abs((middle @ apart)[0])  # one before the other


def test_standing_people_are_called_standing(body):
    joints = acted(body, standing(4)).joints
    assert posture_of(joints) == "standing"
    flat = joints @ Rotation.from_euler("x", 90, degrees=True).as_matrix().T
    flat[..., 1] -= flat[..., 1].min() - 0.1
    assert posture_of(flat) == "lying"
    walking = joints + np.linspace(0, 0.12, 4)[:, None, None] * [1, 0, 0]
    assert posture_of(walking) == "walking"
