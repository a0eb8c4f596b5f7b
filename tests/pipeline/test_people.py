"""People whom another program found: boxes and keypoints in place of hpsvid's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsvid
from hpsvid.backbone.keypoints import keypoints_of_tracks, with_keypoints
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.keypoints import LAYOUTS, LayoutName, People2D
from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK
from hpsvid.common.geometry import image_of
from hpsvid.errors import InputError
from hpsvid.formats.npz import read_motion
from hpsvid.types import Array, Track
from tests.factories import SAMPLES, WALK_FIRST, write_walk

FRAMES = 12
SAME = {"left_foot_index": "left_big_toe", "right_foot_index": "right_big_toe"}


def true_marks(body: Body) -> Array:
    """The 33 landmarks (FRAMES, 33, 2) px of the person in the sample's excerpt."""
    truth = read_motion(SAMPLES / "studio_walk.npz")
    (person,) = truth.people
    rows = WALK_FIRST - int(person.track.frame_index[0]) + np.arange(FRAMES)
    return image_of(body.landmarks_of(person.body)[rows], truth.camera.K)


def in_layout(marks: Array, layout: LayoutName) -> Array:
    """Landmarks (T, 33, 2) as a layout's keypoints (T, 1, K, 3); 0 what they lack."""
    points = np.zeros((len(marks), 1, len(LAYOUTS[layout]), 3))
    for n, name in enumerate(LAYOUTS[layout]):
        for landmark in BLAZEPOSE.names:
            if name in (landmark, SAME.get(landmark)):
                points[:, 0, n, :2], points[:, 0, n, 2] = marks[:, LANDMARK[landmark]], 0.9
    return points


def test_keypoints_of_another_program_draw_the_body_onto_them(body: Body, tmp_path: Path) -> None:
    clip, marks = write_walk(tmp_path / "walk.mp4", FRAMES), true_marks(body)
    moved = marks + np.array([4, 0])  # px: what follows the keypoints goes along
    options = hpsvid.Options(solver="hybrik", threads=1, device="cpu")
    limbs = [LANDMARK[f"{side}_{part}"] for side in ("left", "right")
             for part in ("shoulder", "hip", "knee", "ankle")]  # fmt: skip
    shift = {}
    for name, points in (("true", marks), ("moved", moved)):
        people = hpsvid.People2D(keypoints=list(in_layout(points, "halpe26")), layout="halpe26")
        motion = hpsvid.run(clip, options=options, people=people)
        (person,) = motion.people
        shift[name] = image_of(body.landmarks_of(person.body), motion.camera.K)[:, limbs]
        assert motion.provenance.detector == {"name": "given", "sha256": people.sha256}
    assert np.linalg.norm(shift["true"] - marks[:, limbs], axis=-1).mean() < 9  # px, of 500
    np.testing.assert_allclose((shift["moved"] - shift["true"])[..., 0].mean(), 4, atol=0.7)


def test_boxes_of_some_frames_are_enough_and_nobody_else_is_found(
    body: Body, tmp_path: Path
) -> None:
    clip, marks = write_walk(tmp_path / "walk.mp4", FRAMES), true_marks(body)
    boxes = np.concatenate([marks.min(1) - 20, marks.max(1) + 20], 1)
    options = hpsvid.Options(solver="hybrik", threads=1)
    every_third = hpsvid.People2D(boxes={n: boxes[n : n + 1] for n in range(0, FRAMES, 3)})
    (person,) = hpsvid.run(clip, options=options, people=every_third).people
    first, last = person.track.frame_index[[0, -1]]
    assert (first, last) == (0, FRAMES - 1)
    np.testing.assert_allclose(person.track.boxes[4], boxes[4], atol=12)
    with pytest.raises(InputError, match="has no use for keypoints"):
        hpsvid.run(
            clip, options=hpsvid.Options(backbone="hybrik"),
            people=hpsvid.People2D(keypoints=list(in_layout(marks, "coco17"))),
        )  # fmt: skip
    nobody = hpsvid.People2D(boxes=[[]] * FRAMES)
    with pytest.raises(hpsvid.HpsvidError, match="no person found"):
        hpsvid.run(clip, options=options, people=nobody)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_moves_its_own_points_and_their_followers(layout: LayoutName) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(100, 400, (3, 33, 2)).astype(np.float32)
    world = np.concatenate([(image - 250) / 200, np.zeros((3, 33, 1))], -1).astype(np.float32)
    hips = [LANDMARK["left_hip"], LANDMARK["right_hip"]]
    world -= world[:, hips].mean(1, keepdims=True)
    chance = np.full((3, 33), 0.8, np.float32)
    landmarks = Landmarks(
        track_id=0, frame_index=np.arange(3), image=image, world=world, visibility=chance,
        presence=chance, score=np.array([0.9, 0.9, 0], np.float32),
    )  # fmt: skip
    track = Track(
        id=0, frame_index=np.arange(3), detected=np.ones(3, bool), scores=np.ones(3, np.float32),
        boxes=np.tile(np.array([90, 90, 410, 410], np.float32), (3, 1)),
    )  # fmt: skip
    given = image + 0.0
    given[:, LANDMARK["left_wrist"]] += np.array([10, -6])
    people = People2D(keypoints=list(in_layout(given, layout)), layout=layout)
    (told,) = keypoints_of_tracks([track], people)
    moved = with_keypoints(landmarks, told, np.arange(3) / 30, layout)
    change = moved.image - image
    goes = {"left_wrist"} | (
        set() if layout == "mediapipe33" else {"left_pinky", "left_index", "left_thumb"}
    )
    for name in BLAZEPOSE.names:
        expected = [10, -6] if name in goes else [0, 0]
        np.testing.assert_allclose(change[:2, LANDMARK[name]], [expected] * 2, atol=1e-3)
    np.testing.assert_array_equal(change[2], 0)  # the network saw nobody
    in_3d = (moved.world - world)[0, LANDMARK["left_wrist"]]
    np.testing.assert_allclose(in_3d, [0.05, -0.03, 0], atol=1e-3)  # 200 px a metre


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "expected boxes or keypoints, one of the two"),
        ({"boxes": []}, "holds no frames"),
        ({"boxes": [np.zeros((1, 3))]}, r"boxes of frame 0: expected an array of \(people, 5\)"),
        ({"boxes": {4: [[9, 9, 5, 5]]}}, "boxes of frame 4: expected x0 < x1"),
        ({"keypoints": [np.zeros((1, 25, 3))]}, r"\(people, 17, 3\), found \(1, 25, 3\)"),
        ({"keypoints": [np.full((1, 17, 3), np.nan)]}, "not finite"),
        ({"boxes": [[]], "layout": "coco"}, "layout 'coco': unknown; known are coco17"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        People2D(**given)


def test_the_chosen_device_is_used_or_its_absence_said() -> None:
    from hpsvid.common.weights import providers_of

    assert providers_of("auto", ["CPUExecutionProvider"]) == [("CPUExecutionProvider", {})]
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers_of("cuda:1", both)[0] == ("CUDAExecutionProvider", {"device_id": "1"})
    assert providers_of("cpu", both) == [("CPUExecutionProvider", {})]
    with pytest.raises(InputError, match="--device cuda: this onnxruntime has no CUDA"):
        providers_of("cuda", ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="--device gpu: expected auto, cpu, cuda"):
        hpsvid.Options(device="gpu")


def test_vertices_of_a_frame_are_those_of_whoever_is_there(body: Body) -> None:
    motion = read_motion(SAMPLES / "two_people.npz")
    surfaces = hpsvid.vertices(motion, 0)
    assert surfaces.keys() == {p.track.id for p in motion.people if p.track.frame_index[0] == 0}
    person = motion.people[0]
    np.testing.assert_allclose(
        surfaces[person.track.id], body.vertices_of(person.body, slice(0, 1))[0]
    )
    with pytest.raises(InputError, match="frame 156: expected 0 to 155"):
        hpsvid.vertices(motion, 156)
