"""The dense backbone: what its network says of a crop, told of the camera and of every frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.backbone import dense_maps
from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.backbone.dense_maps import LOOKS_HZ, PLACES, DenseBackbone, DenseMaps
from hpsvid.backbone.dense_network import DenseConfig, DenseNet, load_dense, save_dense, turns_of
from hpsvid.body.parts import LSP_JOINTS
from hpsvid.body.skeleton import LIMB_JOINTS, LIMB_LANDMARKS
from hpsvid.common.geometry import image_of
from hpsvid.errors import WeightsError
from hpsvid.options import Options
from hpsvid.types import Camera, Frames, Track

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
FPS = 30.0
FRAMES = 12


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network's file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "dense.safetensors"
    save_dense(DenseNet(DenseConfig(width=16, blocks=1)), path)
    return path


@pytest.fixture
def blank(weights, body, monkeypatch):
    """Makes a backbone with that network for some tracks."""
    monkeypatch.setattr(dense_maps, "weights_path", lambda name: weights)
    camera = Camera(K=K, source="given")
    return lambda tracks, **chosen: DenseBackbone(tracks, camera, body, Options(**chosen))


def track(number=0, frames=FRAMES) -> Track:
    boxes = np.tile(np.array([200, 100, 320, 400], np.float32), (frames, 1))
    boxes[:, [0, 2]] += np.arange(frames)[:, None]
    return Track(
        id=number,
        frame_index=np.arange(frames),
        boxes=boxes,
        scores=np.ones(frames, np.float32),
        detected=np.ones(frames, bool),
    )


def pictures(frames=FRAMES) -> Frames:
    """Frames whose colours tell a pixel's place and the frame's number; see `crops_in`."""
    rgb = np.zeros((frames, 480, 640, 3), np.uint8)
    rgb[..., 0] = np.arange(640) * 0.39
    rgb[..., 1] = np.arange(480)[:, None] * 0.52
    rgb[..., 2] = 20 + 10 * np.arange(frames)[:, None, None]
    return Frames(rgb=rgb, index=np.arange(frames), pts_s=np.arange(frames) / FPS)


def crops_in(pixels):
    """The frames that crops (N, 256, 256, 3) of `pictures` show, and the crops."""
    cells = (np.moveaxis(np.indices((SIDE, SIDE)), 0, -1)[..., ::-1] + 0.5).reshape(-1, 2)
    out = []
    for picture in pixels.reshape(len(pixels), -1, 3):
        frame = int(np.median(picture[:, 2][picture[:, 2] > 0]))
        inside = picture[:, 2] == frame
        # a colour is a floor: half of one and half of a pixel are missing in the mean
        place = (picture[inside, :2] + 0.5) / [0.39, 0.52]
        known = np.c_[cells[inside], np.ones(inside.sum())]
        matrix = np.linalg.lstsq(known, place, rcond=None)[0].T
        scale, angle = np.hypot(*matrix[:, 0]), np.arctan2(matrix[1, 0], matrix[0, 0])
        x, y = matrix @ [SIDE / 2, SIDE / 2, 1]
        out.append(((frame - 20) // 10, Crop(x=x, y=y, side=scale * SIDE, angle=angle)))
    return out


def walker(body):
    """Joints (T, 29, 3) m in camera axes of somebody in the boxes, turning and moving."""
    from hpsvid.common.geometry import axis_angle_to_matrix

    turn = torch.zeros(FRAMES, 24, 3)
    turn[:, 0, 1] = torch.linspace(0, 0.3, FRAMES)
    turn[:, 16, 2] = -1.0
    rotmats = axis_angle_to_matrix(turn)
    rotmats[:, 0] = torch.diag(torch.tensor([1.0, -1, -1])) @ rotmats[:, 0]
    transl = (
        torch.tensor([-0.3, 0.2, 3.6]) + torch.linspace(0, 0.06, FRAMES)[:, None] * torch.eye(3)[0]
    )
    return body.joints(rotmats, torch.zeros(10), transl).numpy()


def exact(body, cells=lambda frame: 500.0, score=1.0, seen=None):
    """A network that answers the truth of every crop of `pictures` that it is shown."""
    joints = walker(body)

    def answer(pixels):
        rows = []
        for frame, crop in crops_in(pixels):
            if seen is not None:
                seen.append((frame, crop))
            turn = turns_of([crop], K)[0].numpy()
            here = joints[frame % FRAMES]
            told = (here - here[:1]) @ turn
            flat = crop.from_image(image_of(here, K))
            along = flat[12] - flat[0]
            rim = flat[0] + 0.6 * SIDE * along / np.linalg.norm(along)  # of the body's circle
            points = np.concatenate([flat, flat[:4], flat[:1], rim[None], np.zeros((4, 2))])
            rows.append(
                (told, flat, np.full(29, 0.02), np.tile([1, 0], (23, 1)), np.zeros(10),
                 np.full((64, 64), 255 * cells(frame) / 64**2), np.full((PLACES, 3), frame),
                 points, np.zeros((33, 3)), np.ones((33, 2)), score)
            )  # fmt: skip
        return tuple(np.stack([np.asarray(row[k], np.float32) for row in rows]) for k in range(11))

    return answer


LOOKS = [0, 2, 4, 6, 8, 10, 11]


def test_exact_answers_give_the_person_back_in_the_camera(blank, body):
    backbone = blank([track()])
    seen = []
    backbone.network = exact(body, seen=seen)
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    joints = walker(body)
    assert obs.valid.all()
    assert np.abs(obs.joints - (joints - joints[:, :1]))[LOOKS].max() < 2e-3
    assert np.abs(obs.joints - (joints - joints[:, :1])).max() < 0.01  # between two looks
    assert np.linalg.norm(obs.pelvis - joints[:, 0], axis=1).max() < 0.02
    flat = image_of(joints, K)[:, LIMB_JOINTS]
    assert np.abs(obs.landmarks2d[:, LIMB_LANDMARKS, :2] - flat)[LOOKS].max() < 1
    assert (obs.landmarks2d[:, LIMB_LANDMARKS, 2] > 0.8).all()
    # one upright look at the box, then each along the body as the one before found it
    assert [frame for frame, _ in seen] == [0, *LOOKS]
    assert abs(seen[0][1].angle) < 1e-3
    image = image_of(joints, K)
    for (_, crop), before in zip(seen[1:], [0, *LOOKS], strict=False):
        x, y = image[before, 12] - image[before, 0]
        assert abs(crop.angle - np.arctan2(x, -y)) < 0.01
        assert np.hypot(*(image[before, 0] - [crop.x, crop.y])) < 1


def test_who_is_no_person_to_the_landmark_network_is_looked_at_upright(blank, body):
    backbone = blank([track()])
    seen = []
    backbone.network = exact(body, score=0.0, seen=seen)
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    assert obs.valid.all()
    assert max(abs(crop.angle) for _, crop in seen) < 1e-3
    joints = walker(body)
    assert np.abs(obs.joints - (joints - joints[:, :1]))[LOOKS].max() < 2e-3


def test_looks_that_show_nobody_are_not_valid(blank, body):
    backbone = blank([track()])
    backbone.network = exact(body, cells=lambda frame: 0.0 if frame == 4 else 500.0)
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    assert obs.valid.tolist() == [t not in (3, 4, 5) for t in range(FRAMES)]
    assert (obs.sigma[4] > obs.sigma[0]).all()
    assert np.isfinite(obs.joints).all()
    empty = blank([track()])
    empty.network = exact(body, cells=lambda frame: 0.0)
    empty.observe(pictures())
    (obs,) = empty.observations()
    assert not obs.valid.any()
    assert len(obs) == FRAMES


@pytest.mark.parametrize(
    ("begins", "frames"), [(0, LOOKS), (3, [3, 4, 6, 8, 10, 12, 14])], ids=("due", "between looks")
)
def test_it_looks_no_more_often_than_it_says(blank, body, begins, frames):
    backbone = blank([replace(track(1), frame_index=np.arange(begins, begins + FRAMES))])
    seen = []
    backbone.network = exact(body, seen=seen)
    backbone.observe(pictures(15))
    # every second frame and the track's ends; where it begins a second look along the body
    assert [frame for frame, _ in seen] == [begins, *frames]
    assert backbone.observations()[0].frame_index[0] == begins
    assert LOOKS_HZ * 2 == FPS


def test_a_crops_answer_does_not_depend_on_its_neighbours(weights, body, monkeypatch):
    monkeypatch.setattr(dense_maps, "weights_path", lambda name: weights)
    maps = DenseMaps(body, threads=1)
    crops = np.random.default_rng(1).integers(0, 255, (3, 256, 256, 3), dtype=np.uint8)
    together, alone = maps(crops), maps(crops[1:2])
    for place, (one, other) in enumerate(zip(together, alone, strict=True)):
        if place == 6:  # vertices' numbers: places of the body are as near to one as to the next
            continue
        assert np.abs(one[1].astype(float) - other[0]).max() < 2e-3 * max(1.0, np.abs(other).max())
    assert together[0].shape == (3, 29, 3)


def test_places_are_of_cells_that_show_the_person(weights, body, monkeypatch):
    monkeypatch.setattr(dense_maps, "weights_path", lambda name: weights)
    maps = DenseMaps(body, threads=1)
    answer = maps.maps(np.zeros((2, 256, 256, 3), np.uint8))
    mask = torch.full((2, 64, 64), -9.0)
    mask[0, 10:40, 20:30] = mask[1, 5, 5] = 9.0
    surface = body.template[1234][None, :, None, None].expand(2, 3, 64, 64)
    places = maps.places(replace(answer, mask=mask, surface=surface))
    rows, columns = np.divmod(places[0, :, 0], 64)
    assert (places[0, :, 1] == 1234).all()
    assert rows.min() == 10
    assert rows.max() == 39
    assert set(columns.tolist()) <= set(range(20, 30))
    assert len(set(places[0, :, 0].tolist())) == PLACES
    assert places[1, 0, :2].tolist() == [5 * 64 + 5, 1234]
    assert (places[1, 1:] == -1).all()


def test_maps_are_kept_at_the_looks_where_they_are_asked_for(blank, body):
    backbone = blank([track()], backbone="dense", align=True)
    backbone.network = exact(body)
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    assert obs.crops is not None and obs.masks is not None and obs.places is not None
    assert np.flatnonzero(np.isfinite(obs.crops).all(1)).tolist() == LOOKS
    assert np.flatnonzero(obs.masks.any((1, 2))).tolist() == LOOKS
    assert obs.places[:, 0, 0].tolist() == [t if t in LOOKS else -1 for t in range(FRAMES)]
    plain = blank([track()])
    plain.network = exact(body)
    plain.observe(pictures())
    assert plain.observations()[0].masks is None


def test_joints_of_parts_that_show_are_pulled_to_the_maps(weights, body, monkeypatch):
    monkeypatch.setattr(dense_maps, "weights_path", lambda name: weights)
    maps = DenseMaps(body, threads=1)
    crops = np.zeros((1, 256, 256, 3), np.uint8)
    answer = maps.maps(crops)
    wrist = LSP_JOINTS.index(LIMB_JOINTS[2 * 2])  # left wrist
    place = body.rest_joints(torch.zeros(10))[LSP_JOINTS[wrist]]
    told = replace(
        answer,
        mask=torch.full((1, 64, 64), 9.0),
        surface=place[None, :, None, None].expand(1, 3, 64, 64),
        joint=torch.full((1, 3, 64, 64), 0.5),
    )
    joints, own = maps.joints(told), answer.joints
    moved = (joints - own).abs().sum(-1)[0] > 0
    assert moved.nonzero().flatten().tolist() == [LSP_JOINTS[wrist]]
    share = dense_maps.MAPS_SHARE
    expected = own[0, LSP_JOINTS[wrist]] * (1 - share) + 0.5 * share
    assert torch.allclose(joints[0, LSP_JOINTS[wrist]], expected, atol=1e-4)


def test_another_networks_file_is_refused(tmp_path):
    from hpsvid.common.weights import weights_path

    with pytest.raises(WeightsError, match="dense maps"):
        load_dense(weights_path("gik"))
    with pytest.raises(WeightsError):
        load_dense(tmp_path / "missing.safetensors")
