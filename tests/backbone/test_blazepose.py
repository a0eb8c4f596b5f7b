"""The landmark network on a rendered person of known place, and its guards on scripted cases."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch

from hpsvid.backbone.blazepose import (
    BlazePose,
    Look,
    doubt_outside,
    drop_doubles,
    is_believable,
    refine,
)
from hpsvid.backbone.crop import Crop, crop_along_axis, crop_around_box
from hpsvid.backbone.flips import MIRROR, find_flips, find_tumbles
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.neighbours import cut_without, guesses
from hpsvid.body.model import load_body
from hpsvid.body.skeleton import JOINT, LANDMARK, LIMB_LANDMARKS
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.weights import weights_path
from hpsvid.render.mesh import Mesh
from hpsvid.render.raster import RasterRenderer
from hpsvid.types import Array, Frames, Track

K = np.array([[900.0, 0, 320], [0, 900.0, 320], [0, 0, 1]])
SIZE = 640  # px, width and height


@dataclass(frozen=True)
class Scene:
    """A picture of the free body, in its middle, and where its landmarks really are."""

    rgb: Array
    landmarks: Array  # (33, 2) px
    box: Array  # (4,) px


def ground() -> Array:
    """What lies behind the person of the scene."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(90, 200, (9, 9, 3), np.uint8), (SIZE, SIZE))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A person in the suit, arms half raised, seen from the front left."""
    body = load_body(weights_path("free_body"))
    assert body.colours is not None
    pose = torch.zeros(24, 3)
    pose[0, 1] = 0.4
    pose[JOINT["left_shoulder"], 2] = -0.8
    pose[JOINT["right_shoulder"], 2] = 0.6
    pose[JOINT["left_elbow"], 1] = -0.9
    pose[JOINT["right_hip"], 0] = -0.5
    pose[JOINT["right_knee"], 0] = 0.7
    rotmats = axis_angle_to_matrix(pose)
    rotmats[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotmats[0]
    place = (torch.zeros(10), torch.tensor([0.0, -0.3, 3.6]))
    with torch.inference_mode():
        vertices = body.vertices(rotmats, *place).numpy()
        marks = body.landmarks(rotmats, *place).numpy()
    mesh = Mesh(vertices=vertices, faces=body.faces, colours=body.colours)
    rgb = RasterRenderer().draw(ground(), [mesh], K, alpha=1.0)
    pixels, marks = ((x / x[:, 2:]) @ K[:2].T for x in (vertices, marks))
    box = np.concatenate([pixels.min(0), pixels.max(0)]).astype(np.float32)
    return Scene(rgb=rgb, landmarks=marks, box=box)


def still(rgb: Array, count: int = 1) -> Frames:
    return Frames(
        rgb=np.repeat(rgb[None], count, 0), index=np.arange(count), pts_s=np.arange(count) / 30
    )


def track_of(box: Array, count: int = 1, identity: int = 0) -> Track:
    return Track(
        id=identity,
        frame_index=np.arange(count),
        boxes=np.repeat(np.asarray(box, np.float32)[None], count, 0),
        scores=np.ones(count, np.float32),
        detected=np.ones(count, bool),
    )


def look(rgb: Array, *boxes: Array, count: int = 1) -> list[Landmarks]:
    tracks = [track_of(box, count, identity) for identity, box in enumerate(boxes)]
    network = BlazePose(tracks, fast=True, threads=1)
    network.observe(still(rgb, count))
    return network.landmarks()


def test_crop_round_trip_is_exact():
    rng = np.random.default_rng(0)
    points = rng.uniform(-200, 2200, (50, 2))
    for _ in range(20):
        crop = Crop(
            x=rng.uniform(0, 1920), y=rng.uniform(0, 1080),
            side=rng.uniform(10, 3000), angle=rng.uniform(-4, 4),
        )  # fmt: skip
        np.testing.assert_allclose(crop.to_image(crop.from_image(points)), points, atol=1e-3)


@pytest.mark.parametrize("side", [180.0, 300.0, 700.0, 1100.0])
def test_a_point_lands_in_the_crop_where_the_crop_says(side: float):
    # above 512 px the picture is averaged over blocks first: that must not move anything
    crop = Crop(x=611.0, y=388.0, side=side, angle=0.7)
    spot = np.array([611.0 + 0.2 * side, 388.0 - 0.11 * side])
    rows, cols = np.mgrid[:900, :1200] + 0.5
    blob = np.exp(-((cols - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * (0.02 * side) ** 2))
    cut = crop.cut(np.repeat((255 * blob).astype(np.uint8)[..., None], 3, 2))[..., 0].astype(float)
    rows, cols = np.mgrid[:256, :256] + 0.5
    found = np.array([(cut * cols).sum(), (cut * rows).sum()]) / cut.sum()
    np.testing.assert_allclose(found, crop.from_image(spot), atol=0.1)


def test_crop_along_axis_stands_the_body_upright():
    crop = crop_along_axis(np.array([100.0, 200.0]), np.array([160.0, 120.0]))
    hips, rim = crop.from_image(np.array([[100.0, 200.0], [160.0, 120.0]]))
    np.testing.assert_allclose(hips, [128, 128], atol=1e-6)
    np.testing.assert_allclose(rim, [128, 128 - 128 / 1.25], atol=1e-6)
    turned = crop.turn_back(np.array([0.0, -1.0, 0.3]))  # up the crop is along the body's axis
    np.testing.assert_allclose(turned, [0.6, -0.8, 0.3], atol=1e-6)


def test_a_box_without_height_still_makes_a_crop():
    assert crop_around_box(np.array([5.0, 5.0, 5.0, 5.0])).side > 0


@pytest.mark.parametrize("fast", [False, True])
def test_finds_the_landmarks_of_a_rendered_person(scene: Scene, fast):
    network = BlazePose([track_of(scene.box)], fast=fast, threads=1)
    network.observe(still(scene.rgb))
    (seen,) = network.landmarks()
    height = scene.box[3] - scene.box[1]
    error = np.linalg.norm(seen.image[0, LIMB_LANDMARKS] - scene.landmarks[LIMB_LANDMARKS], axis=-1)
    assert seen.score[0] > 0.9
    assert error.mean() < 0.03 * height
    assert network.provenance["name"] == ("blazepose_full" if fast else "blazepose_heavy")
    assert len(network.provenance["sha256"]) == 64


def test_turned_picture_gives_turned_landmarks(scene: Scene):
    turn = cv2.getRotationMatrix2D((SIZE / 2 - 0.5, SIZE / 2 - 0.5), 30, 1.0)
    rgb = cv2.warpAffine(scene.rgb, turn, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
    matrix = turn[:, :2]
    middle = np.array([SIZE / 2, SIZE / 2])
    corners = scene.box[[[0, 1], [2, 1], [2, 3], [0, 3]]] - middle
    corners = corners @ matrix.T + middle
    box = np.concatenate([corners.min(0), corners.max(0)])
    # several looks at the same picture: the crop settles along the body
    upright, leaning = look(scene.rgb, scene.box, count=4)[0], look(rgb, box, count=4)[0]
    back = (leaning.image[-1] - middle) @ matrix + middle
    assert np.linalg.norm(back - upright.image[-1], axis=-1).mean() < 5  # px of a 450 px person
    world = leaning.world[-1].copy()
    world[:, :2] = world[:, :2] @ matrix
    assert np.linalg.norm(world - upright.world[-1], axis=-1).mean() < 0.03


def test_same_frames_give_the_same_bytes_in_any_chunks(scene: Scene):
    whole = look(scene.rgb, scene.box, count=3)[0]
    network = BlazePose([track_of(scene.box, 3)], fast=True, threads=1)
    for k in range(3):
        part = still(scene.rgb, 3)
        network.observe(
            Frames(
                rgb=part.rgb[k : k + 1], index=part.index[k : k + 1], pts_s=part.pts_s[k : k + 1]
            )
        )
    (pieces,) = network.landmarks()
    assert pieces.image.tobytes() == whole.image.tobytes()
    assert pieces.world.tobytes() == whole.world.tobytes()


def sliding(scene: Scene, steps: Array) -> tuple[Frames, Track]:
    """The person moved right by so many px in each frame, and the track's boxes."""
    frames = still(scene.rgb, len(steps))
    for place, step in enumerate(steps):
        frames.rgb[place] = np.roll(scene.rgb, step, 1)
    shift = steps[:, None] * np.array([1, 0, 1, 0])
    track = replace(track_of(scene.box, len(steps)), boxes=(scene.box + shift).astype(np.float32))
    return frames, track


def test_between_two_looks_people_move_steadily(scene: Scene):
    frames, track = sliding(scene, np.arange(0, 48, 8))
    network = BlazePose([track], fast=True, threads=1, looks_hz=10)
    network.observe(frames)
    (seen,) = network.landmarks()
    assert (seen.score > 0.9).all()
    truth = scene.landmarks[LIMB_LANDMARKS] + np.arange(0, 48, 8)[:, None, None] * [1.0, 0.0]
    height = scene.box[3] - scene.box[1]
    assert (
        np.linalg.norm(seen.image[:, LIMB_LANDMARKS] - truth, axis=-1).mean(1) < 0.03 * height
    ).all()
    # frames 0, 3 and the track's last, 5, are looked at
    np.testing.assert_allclose(seen.world[1], (2 * seen.world[0] + seen.world[3]) / 3, atol=1e-6)
    np.testing.assert_allclose(seen.image[4], (seen.image[3] + seen.image[5]) / 2, atol=1e-4)


def test_where_frames_come_slowly_each_is_looked_at(scene: Scene):
    frames, track = sliding(scene, np.array([0, 8, 16, 24, 32, 60, 24, 60, 24]))
    times = np.cumsum([0, *[1 / 30] * 4, *[1 / 5] * 4])
    network = BlazePose([track], fast=True, threads=1, looks_hz=7.5)
    network.observe(replace(frames, pts_s=times))
    every_frame = BlazePose([track], fast=True, threads=1)
    every_frame.observe(frames)
    (seen,), (whole,) = network.landmarks(), every_frame.landmarks()
    # every fourth at 30 fps, then each at 5 fps
    np.testing.assert_allclose(seen.world[2], (seen.world[0] + seen.world[4]) / 2, atol=1e-6)
    assert np.abs(seen.image[5:] - whole.image[5:]).max() < 0.01 * (scene.box[3] - scene.box[1])


def test_nobody_is_made_up_after_the_last_look_that_saw_them(scene: Scene):
    frames, track = sliding(scene, np.zeros(7, np.int64))
    frames.rgb[3:] = 128
    network = BlazePose([track], fast=True, threads=1, looks_hz=15)
    network.observe(frames)
    (seen,) = network.landmarks()
    np.testing.assert_array_equal(seen.score > 0, [True] * 3 + [False] * 4)


def test_a_box_on_nobody_is_not_seen(scene: Scene):
    empty = look(scene.rgb, np.array([10.0, 10, 110, 300]))[0]
    assert empty.score[0] == 0
    assert not empty.image.any()


def test_frames_outside_a_track_stay_unseen(scene: Scene):
    late = Track(
        id=3,
        frame_index=np.arange(1, 3),
        boxes=np.repeat(scene.box[None], 2, 0),
        scores=np.ones(2, np.float32),
        detected=np.ones(2, bool),
    )
    network = BlazePose([late], fast=True, threads=1)
    network.observe(still(scene.rgb, 2))  # frames 0 and 1; the track lives in 1 and 2
    (seen,) = network.landmarks()
    assert seen.track_id == 3
    np.testing.assert_array_equal(seen.score > 0, [True, False])


def test_neighbour_is_not_taken_for_the_missing_person(scene: Scene):
    # the second track's person has gone, but the first one stands half inside its box
    x0, y0, x1, y1 = scene.box
    beside = np.array([x0 + 0.55 * (x1 - x0), y0, x1 + 0.45 * (x1 - x0), y1])
    person, ghost = look(scene.rgb, scene.box, beside, count=3)
    assert (person.score > 0.9).all()
    assert (ghost.score == 0).all()


def test_two_people_at_once_are_both_followed(scene: Scene):
    x0, _, x1, _ = scene.box.astype(int)
    person = scene.rgb[:, x0 - 30 : x1 + 30]
    both = np.concatenate([person, person], 1)
    left = scene.box - np.array([x0 - 30, 0, x0 - 30, 0], np.float32)
    right = left + np.array([person.shape[1], 0, person.shape[1], 0], np.float32)
    first, second = look(both, left, right, count=2)
    shift = second.image[-1, LIMB_LANDMARKS] - first.image[-1, LIMB_LANDMARKS]
    assert abs(shift[:, 0].mean() - person.shape[1]) < 5
    assert abs(shift[:, 1].mean()) < 5


def test_nobody_is_made_up_behind_another(scene: Scene):
    """A twin whose trunk is hidden: past the one in front there is little left to see."""
    shift = int(0.2 * (scene.box[2] - scene.box[0]))
    front = (scene.rgb != ground()).any(-1)
    both = np.where(front[..., None], scene.rgb, np.roll(scene.rgb, shift, 1))
    person, twin = look(both, scene.box, scene.box + np.array([shift, 0, shift, 0], np.float32))
    assert person.score[0] > 0.9
    assert twin.score[0] == 0


def test_what_is_painted_over_is_guessed(scene: Scene):
    crop = crop_around_box(scene.box)
    whole = cut_without(scene.rgb, crop, [])
    np.testing.assert_array_equal(whole, crop.cut(scene.rgb))
    painted = cut_without(scene.rgb, crop, [scene.landmarks])
    columns, rows = crop.from_image(scene.landmarks[LIMB_LANDMARKS]).astype(int).T
    assert (painted[rows, columns] == painted[rows[0], columns[0]]).all()
    assert 0.05 < (painted != whole).any(-1).mean() < 0.5
    assert guesses(scene.landmarks, crop, [scene.landmarks])[LIMB_LANDMARKS].all()
    aside = scene.landmarks + np.array([1000, 0])
    assert not guesses(scene.landmarks, crop, [aside]).any()


def figure(x: float, y: float = 100.0, height: float = 200.0) -> Look:
    """A look at a plain standing figure, its head at (x, y)."""
    image = np.zeros((39, 2))
    for name, place in LANDMARK.items():
        side = 30 if name.startswith("left") else -30 if name.startswith("right") else 0
        parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "foot")
        level = next((i + 1 for i, part in enumerate(parts) if part in name), 0)
        image[place] = x + side, y + height * level / len(parts)
    image[33], image[34] = (x, y + height / 2), (x, y)
    sure = np.ones(33)
    return Look(
        image=image,
        world=np.zeros((33, 3)),
        visibility=sure,
        presence=sure,
        score=0.99,
        crop=crop_along_axis(image[33], image[34]),
    )


def test_a_look_belongs_to_the_box_that_it_fits():
    own, other = np.array([60.0, 95, 140, 305]), np.array([130.0, 95, 210, 305])
    boxes = np.stack([own, other])
    assert is_believable(figure(100), boxes, 0, 640, 480)
    assert not is_believable(figure(170), boxes, 0, 640, 480)  # drifted onto the neighbour
    assert not is_believable(figure(100, height=60), boxes, 0, 640, 480)  # somebody far behind
    assert not is_believable(figure(400), boxes, 0, 640, 480)


def test_of_two_claims_the_one_that_was_there_wins():
    boxes = np.array([[60.0, 95, 140, 305], [75.0, 95, 155, 305]])
    claims = [figure(104), figure(106)]
    coming = crop_along_axis(np.array([101.0, 200.0]), np.array([101.0, 100.0]))
    going = crop_along_axis(np.array([60.0, 200.0]), np.array([60.0, 100.0]))
    kept = drop_doubles(claims, boxes, [coming, going], (640, 480))
    assert kept[0] is claims[0] and kept[1] is None
    kept = drop_doubles(claims, boxes, [None, coming], (640, 480))
    assert kept[0] is None and kept[1] is claims[1]
    apart = [figure(100), figure(160)]
    assert drop_doubles(apart, boxes, [coming, going], (640, 480)) == apart


def test_a_track_that_went_over_to_a_neighbour_does_not_keep_them():
    """The neighbour stands in plain view, but their track has no landmarks: it is as new."""
    boxes = np.array([[20.0, 95, 120, 305], [70.0, 95, 140, 305]])
    claims = [figure(104), figure(105)]
    on_it = crop_along_axis(np.array([104.0, 200.0]), np.array([104.0, 100.0]))
    assert drop_doubles(claims, boxes, [on_it, None], (640, 480)) == [None, claims[1]]


RED, BLUE = (255, 0, 0), (0, 0, 255)


def sees_the_plainest(pixels: Array) -> tuple[Array, ...]:
    """A network that sees one figure a crop: the red one, or else the blue one."""
    points = np.zeros((len(pixels), 39, 2))
    score = np.zeros(len(pixels))
    for i, crop in enumerate(pixels):
        for colour in (RED, BLUE):
            rows, cols = np.nonzero((crop == colour).all(-1))
            if len(rows) > 4500:  # not what is left between painted limbs
                x, y = (cols.min() + cols.max()) / 2, rows.min()
                size = (np.ptp(cols) / 60, np.ptp(rows) / 200)
                points[i] = figure(0, 0).image * size + [x, y]
                score[i] = 1
                break
    return points, np.zeros((len(pixels), 33, 3)), np.ones((len(pixels), 33, 2)), score


@pytest.mark.timeout(60)
def test_who_is_half_hidden_is_seen_past_the_one_in_front():
    rgb = np.full((480, 640, 3), 120, np.uint8)
    boxes = np.array([[200.0, 100, 260, 300], [240, 100, 300, 300]])
    for (x0, y0, x1, y1), colour in zip(boxes[::-1].astype(int), (BLUE, RED), strict=True):
        rgb[y0:y1, x0:x1] = colour
    network = BlazePose([], fast=True, threads=1)
    network.network = sees_the_plainest
    front, behind = network.follow(rgb, boxes, [None, None])
    assert front is not None and behind is not None
    assert front.image[:33, 0].min() < 205
    assert behind.image[:33, 0].max() > 295


def turning(angles: Array) -> tuple[Array, Array]:
    """A figure (T, 33, 2) px and (T, 33, 3) m that turns about the vertical by `angles` rad."""
    flat = figure(0.0, 0.0).image[:33] / 200
    world = np.stack(
        [
            flat[:, :1] * np.cos(angles),
            np.repeat(flat[:, 1:], len(angles), 1),
            -flat[:, :1] * np.sin(angles),
        ],
        -1,
    ).transpose(1, 0, 2)
    return 200 * world[..., :2] + 300, world


def swap(points: Array, frames: Array) -> Array:
    out = points.copy()
    out[frames] = points[frames][:, MIRROR]
    return out


def test_flips_are_found_and_real_turns_are_not():
    pts_s = np.arange(60) / 30
    image, world = turning(np.linspace(0, np.pi, 60))  # half a turn in two seconds
    score = np.ones(60)
    assert not find_flips(image, world, score, pts_s).any()
    frames = np.r_[5, 40:53]
    found = find_flips(swap(image, frames), swap(world, frames), score, pts_s)
    np.testing.assert_array_equal(np.flatnonzero(found), frames)


def test_a_stretch_that_begins_flipped_takes_the_majority():
    image, world = turning(np.full(30, 0.3))
    frames = np.arange(6)
    found = find_flips(swap(image, frames), swap(world, frames), np.ones(30), np.arange(30) / 30)
    np.testing.assert_array_equal(np.flatnonzero(found), frames)


def test_nothing_is_swapped_across_a_long_gap():
    image, world = turning(np.full(20, 0.3))
    score, pts_s = np.ones(20), np.arange(20) / 10
    score[8:14] = 0  # 0.6 s unseen: the person may have turned round
    frames = np.arange(14, 20)
    found = find_flips(swap(image, frames), swap(world, frames), score, pts_s)
    assert not found.any()


def test_passing_legs_seen_from_the_side_are_no_flip():
    image, world = turning(np.full(12, np.pi / 2))
    stride = np.where(np.arange(12) % 2, 40, -40)
    for part, sign in (("left", 1), ("right", -1)):
        for name in ("knee", "ankle", "elbow", "wrist"):
            image[:, LANDMARK[f"{part}_{name}"], 0] += sign * stride
            world[:, LANDMARK[f"{part}_{name}"], 0] += sign * stride / 200
    assert not find_flips(image, world, np.ones(12), np.arange(12) / 5).any()


def turned_over(angles: Array) -> Array:
    """A figure (T, 33, 2) px that turns in the picture's plane by `angles` rad."""
    flat = figure(0.0, 0.0).image[:33]
    flat = flat - flat.mean(0)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.einsum("abt,lb->tla", np.array([[cos, -sin], [sin, cos]]), flat) + 300


def test_a_body_that_stands_on_its_head_for_two_looks_is_not_believed():
    angles = np.zeros(40)
    angles[[18, 19]] = np.pi
    score = np.ones(40)
    score[10:18] = 0  # hidden before
    found = find_tumbles(turned_over(angles), score, np.arange(40) / 15)
    np.testing.assert_array_equal(np.flatnonzero(found), [18, 19])


@pytest.mark.parametrize("looks_hz", [7.5, 15, 30])
def test_a_somersault_and_a_handstand_are_believed(looks_hz):
    times = np.arange(int(4 * looks_hz)) / looks_hz
    somersault = np.clip((times - 1) * np.radians(800), 0, 2 * np.pi)
    handstand = np.clip((times - 1) * np.radians(400), 0, np.pi)  # and stays there
    for angles in (somersault, handstand):
        assert not find_tumbles(turned_over(angles), np.ones(len(times)), times).any()


def test_refine_moves_to_the_heatmap_and_leaves_unsure_landmarks():
    rows, cols = np.mgrid[:64, :64]
    sure = 12 - 3.0 * ((cols - 21) ** 2 + (rows - 34) ** 2)
    heatmaps = np.full((1, 64, 64, 39), -200.0, np.float32)
    heatmaps[0, :, :, 0] = sure
    points = np.full((1, 39, 2), -30.0)  # outside the crop
    points[0, 0] = 20 * 4 + 1.0, 35 * 4 + 2.0
    points[0, 1] = 100.0, 120.0
    moved = refine(points, heatmaps)
    np.testing.assert_allclose(moved[0, 0], [84, 136], atol=0.5)
    np.testing.assert_array_equal(moved[0, 1:], points[0, 1:])


def test_landmarks_outside_the_picture_are_guesses():
    tall = figure(100, height=800)  # knees and feet of it are below the picture
    look = doubt_outside(tall, 640, 480)
    below = look.image[:33, 1] > 480
    assert below.any() and not below.all()
    assert look.visibility[below].max() < 0.2 and look.visibility[~below].min() == 1
