"""The dense backbone: what its network says of a crop, told of the camera and of every frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpsvid.backbone import dense_maps
from hpsvid.backbone.crop import crop_around_box
from hpsvid.backbone.dense_maps import LOOKS_HZ, DenseBackbone, DenseMaps
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
    return lambda tracks: DenseBackbone(tracks, Camera(K=K, source="given"), body, Options())


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
    rgb = np.random.default_rng(0).integers(0, 255, (frames, 480, 640, 3), dtype=np.uint8)
    return Frames(rgb=rgb, index=np.arange(frames), pts_s=np.arange(frames) / FPS)


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


def exact(body, seen_boxes, cells=500.0):
    """A network that answers the truth of the frame whose crop it is shown, one after the other."""
    joints = walker(body)
    asked = iter(seen_boxes)

    def answer(crops):
        (frame,) = [next(asked) for _ in crops]
        crop = crop_around_box(track().boxes[frame])
        turn = turns_of([crop], K)[0].numpy()
        told = (joints[frame] - joints[frame, :1]) @ turn
        flat = crop.from_image(image_of(joints[frame], K))
        sure = np.full(29, 0.02, np.float32)
        twist = np.tile(np.array([1, 0], np.float32), (23, 1))
        return tuple(
            np.asarray(values, np.float32)[None]
            for values in (told, flat, sure, twist, np.zeros(10), cells)
        )

    return answer


def test_exact_answers_give_the_person_back_in_the_camera(blank, body):
    backbone = blank([track()])
    looks = [0, 2, 4, 6, 8, 10, 11]
    backbone.network = exact(body, looks)
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    joints = walker(body)
    assert obs.valid.all()
    assert np.abs(obs.joints - (joints - joints[:, :1]))[looks].max() < 1e-4
    assert np.abs(obs.joints - (joints - joints[:, :1])).max() < 0.01  # between two looks
    assert np.linalg.norm(obs.pelvis - joints[:, 0], axis=1).max() < 0.02
    flat = image_of(joints, K)[:, LIMB_JOINTS]
    assert np.abs(obs.landmarks2d[:, LIMB_LANDMARKS, :2] - flat)[looks].max() < 0.01
    assert (obs.landmarks2d[:, LIMB_LANDMARKS, 2] > 0.8).all()


def test_looks_that_show_nobody_are_not_valid(blank, body):
    backbone = blank([track()])
    looks = iter([500.0, 500.0, 0.0, 500.0, 500.0, 500.0, 500.0])
    told = exact(body, [0, 2, 4, 6, 8, 10, 11])

    def answer(crops):
        return (*told(crops)[:-1], np.array([next(looks)], np.float32))

    backbone.network = answer
    backbone.observe(pictures())
    (obs,) = backbone.observations()
    assert obs.valid.tolist() == [t not in (3, 4, 5) for t in range(FRAMES)]
    assert (obs.sigma[4] > obs.sigma[0]).all()
    assert np.isfinite(obs.joints).all()
    empty = blank([track()])
    empty.network = lambda crops: (*exact(body, [0])(crops)[:-1], np.zeros(1, np.float32))
    empty.observe(pictures())
    (obs,) = empty.observations()
    assert not obs.valid.any()
    assert len(obs) == FRAMES


def test_it_looks_no_more_often_than_it_says(blank):
    backbone = blank([track(), replace(track(1), frame_index=np.arange(3, 3 + FRAMES))])
    asked = []
    inner = backbone.network
    backbone.network = lambda crops: (asked.append(len(crops)), inner(crops))[1]
    backbone.observe(pictures(15))
    assert sum(asked) == 7 + 7  # every second frame and the ends of each
    assert backbone.observations()[1].frame_index[0] == 3
    assert LOOKS_HZ * 2 == FPS


def test_a_crops_answer_does_not_depend_on_its_neighbours(weights, body, monkeypatch):
    monkeypatch.setattr(dense_maps, "weights_path", lambda name: weights)
    maps = DenseMaps(body, threads=1)
    crops = np.random.default_rng(1).integers(0, 255, (3, 256, 256, 3), dtype=np.uint8)
    together, alone = maps(crops), maps(crops[1:2])
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one[1] - other[0]).max() < 2e-3 * max(1.0, np.abs(other).max())
    assert together[0].shape == (3, 29, 3)


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
