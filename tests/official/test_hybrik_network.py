"""The authors' HybrIK networks: geometry that must hold, and the authors' numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import LIMB_LANDMARKS, SMPL
from hpsvid.body.smpl import load_smpl
from hpsvid.common.checkpoints import fill
from hpsvid.common.geometry import project
from hpsvid.common.records import to_arrays
from hpsvid.common.weights import load_imported
from hpsvid.ik.hybrik import solve, twists
from hpsvid.official.hybrik_evidence import (
    FOCAL,
    HybrIKBackbone,
    back_project,
    cut,
    second_scale,
    square_around,
)
from hpsvid.official.hybrik_network import (
    CELLS,
    DEPTH_M,
    HybrIKHRNet,
    HybrIKResNet,
    average,
    predict,
    soft_argmax,
)
from hpsvid.official.importing import LEFT_OUT
from hpsvid.options import Options
from hpsvid.types import Camera, Frames, Track
from tests.factories import make_params

SMALL = Options(backbone="hybrik", network="small")


def test_the_centre_of_mass_of_one_full_cell_is_that_cell() -> None:
    logits = torch.full((1, 29, CELLS, CELLS, CELLS), -50.0)
    cells = torch.randint(0, CELLS, (29, 3), generator=torch.Generator().manual_seed(0))
    for joint, (x, y, z) in enumerate(cells.tolist()):
        logits[0, joint, z, y, x] = 50
    torch.testing.assert_close(soft_argmax(logits.flatten(1, 2))[0], cells / CELLS - 0.5)


@pytest.fixture(scope="module")
def small_net() -> HybrIKHRNet:
    """An HRNet of the authors' shape, a tenth as wide."""
    torch.manual_seed(0)
    return HybrIKHRNet((4, 6, 8, 10), (2, 3, 4, 5)).eval()


def test_a_mirrored_picture_gives_the_mirrored_person(small_net: HybrIKHRNet) -> None:
    crops = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        one, other = predict(small_net, crops), predict(small_net, crops.flip(-1))
    assert one.uvd.shape == (1, 29, 3) and one.sigma.shape == (1, 29)
    torch.testing.assert_close(other.uvd, one.uvd[:, SMPL.mirror] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(other.sigma, one.sigma[:, SMPL.mirror])
    torch.testing.assert_close(other.scale, one.scale)
    # the left shoulder's twist is the right one's, turned the other way
    torch.testing.assert_close(other.twist[:, 15], one.twist[:, 16] * torch.tensor([1.0, -1]))


def test_a_crop_holds_the_box_and_is_black_outside_the_picture() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[100:104, 200:204] = 255  # about (202, 102)
    centre, side = square_around(np.array([[190.0, 60, 230, 140]]))
    np.testing.assert_allclose(centre, [[210, 100]])
    assert side == 100
    crop = cut(picture, centre[0], side[0])
    bright = (crop[0] > 0).nonzero().float().mean(0) + 0.5
    expected = (torch.tensor([102.0, 202]) - torch.tensor([100.0, 210])) * 2.56 + 128
    torch.testing.assert_close(bright, expected, rtol=0, atol=0.5)
    black = cut(picture, np.array([-300.0, 0]), 100.0)
    assert (black == cut(np.zeros_like(picture), centre[0], 100.0)).all()


def posed_in_crop(body: Body, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """People seen by a crop's camera: joints m, uvd, offset, scale and the rotations."""
    params = make_params(n, 0)
    rotmats = torch.from_numpy(params.rotmats)
    joints = body.joints(rotmats, torch.from_numpy(params.betas), torch.zeros(n, 3))
    joints = joints - joints[:, :1]
    scale, offset = torch.linspace(0.4, 1.1, n), torch.linspace(-0.5, 0.5, 2 * n).view(n, 2)
    away = FOCAL / scale
    shift = torch.stack([torch.full((n,), 0.3), torch.full((n,), -0.2), away], -1)
    K = torch.tensor([[FOCAL, 0, 0], [0, FOCAL, 0], [0, 0, 1]])
    uv = project(joints + shift[:, None], K) - offset[:, None]
    return joints, torch.cat([uv, joints[..., 2:] / DEPTH_M], -1), offset, scale, rotmats


def test_back_projection_undoes_projection(body: Body) -> None:
    joints, uvd, offset, scale, _ = posed_in_crop(body, 5)
    found, pelvis = back_project(uvd, offset, scale)
    torch.testing.assert_close(found, joints, rtol=0, atol=1e-5)
    torch.testing.assert_close(pelvis[:, 2], FOCAL / scale)


def test_the_second_scale_is_that_of_a_body_of_the_right_size(body: Body) -> None:
    _, uvd, offset, scale, rotmats = posed_in_crop(body, 5)
    params = make_params(5, 0)
    rest = body.rest_joints(torch.from_numpy(params.betas)).expand(5, -1, -1)
    sigma, twist = torch.full((5, 29), 0.02), twists(rotmats, rest)
    # the naive figure's collars are not quite the body's, hence the percent
    found = second_scale(uvd, offset, scale, sigma, twist, rest)
    torch.testing.assert_close(found, scale, rtol=0.02, atol=0)
    wrong = 1.2 * scale
    nearer = second_scale(uvd, offset, wrong, sigma, twist, rest)
    assert ((nearer - scale).abs() < (wrong - scale).abs()).all()
    blind = torch.full((5, 29), 0.5)  # nothing is believed: the network's own word stands
    assert (second_scale(uvd, offset, wrong, blind, twist, rest) == wrong).all()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_crops_agree_with_the_released_ones(index: int, shared: Path) -> None:
    stored = np.load(shared / "ref" / "crop.npz")
    centre, side = square_around(stored[f"bbox{index}"][None])
    np.testing.assert_allclose(centre[0], stored[f"center{index}"])
    np.testing.assert_allclose(side, stored[f"scale{index}"][0])
    crop = cut(stored["src"], centre[0] + 0.5, side[0])  # theirs count from a pixel's centre
    np.testing.assert_allclose(crop[:, ::4, ::4], stored[f"tensor{index}"], atol=1e-5)


def judge(found, net, stored, prefix: str, body: Body, boxed: bool) -> None:
    """Hold a prediction, and the pose that follows from it, against stored outputs."""

    def wanted(key: str, *shape: int) -> Tensor:
        return torch.from_numpy(stored[prefix + key]).reshape(2, *shape)

    betas, twist = wanted("pred_shape", 10), wanted("pred_phi", 23, 2)
    torch.testing.assert_close(found.uvd, wanted("pred_uvd_jts", 29, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.betas, betas, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.twist, twist, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.sigma, wanted("pred_sigma", 29), rtol=0, atol=1e-5)
    boxes = stored["bboxes"]
    side = boxes[:, 2] - boxes[:, 0]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    offset = torch.from_numpy((centre - stored["img_center"]) / side[:, None]) * boxed
    rest, scale = body.rest_joints(found.betas), found.scale
    if isinstance(net, HybrIKHRNet):
        scale = second_scale(found.uvd, offset, scale, found.sigma, found.twist, rest)
    torch.testing.assert_close(scale, wanted("cam_scale")[:], rtol=0, atol=1e-3)
    joints, pelvis = back_project(found.uvd, offset, scale)
    theirs = wanted("pred_xyz_jts_29", 29, 3) * DEPTH_M
    torch.testing.assert_close(joints, theirs, rtol=0, atol=1e-3)
    torch.testing.assert_close(pelvis, wanted("cam_root", 3), rtol=0, atol=1e-2)
    rotmats = solve(joints, rest, found.twist, "released")
    # 0.3 degrees: on another processor's convolutions the double's nearly straight arms turn by 0.2
    torch.testing.assert_close(rotmats, wanted("pred_theta_mats", 24, 3, 3), rtol=0, atol=5e-3)


@pytest.fixture
def synthetic_smpl(official_folder: Path) -> Body:
    """The test double of a SMPL body that the reference outputs were made with."""
    return load_smpl(next((official_folder / "model_files").glob("*.pkl")))


def test_resnet_34_agrees_with_the_released_one(shared, imported, synthetic_smpl) -> None:
    imported("hybrik_res34")
    with torch.device("meta"):
        net = HybrIKResNet()
    load_imported(net, "hybrik_res34")
    net.eval()
    stored = np.load(shared / "ref" / "res34_io.npz")
    with torch.inference_mode():
        found = net(torch.from_numpy(stored["x"]))
    judge(found, net, stored, "", synthetic_smpl, boxed=True)


def test_hrnet_w48_agrees_with_the_released_one(shared, fake_state, synthetic_smpl) -> None:
    state = {k: v for k, v in fake_state("hybrik_hrnet").items() if not LEFT_OUT.match(k)}
    with torch.device("meta"):
        net = HybrIKHRNet()
    fill(net, state, Path("hybrik_hrnet.pth"))
    net.eval()
    stored = np.load(shared / "ref" / "hrnet48_io.npz")
    crops = torch.from_numpy(stored["x"])
    with torch.inference_mode():
        alone, mirrored = net(crops), net(crops.flip(-1)).mirrored()
    judge(alone, net, stored, "nobox_", synthetic_smpl, boxed=False)
    judge(alone, net, stored, "box_", synthetic_smpl, boxed=True)
    both = average(alone, mirrored)
    judge(both, net, stored, "flipfix_", synthetic_smpl, boxed=True)


def test_the_backbone_looks_at_each_track_where_it_is(imported, synthetic_smpl) -> None:
    imported("hybrik_res34")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (3, 120, 160, 3), np.uint8)
    frames = Frames(rgb=pictures, index=np.arange(3), pts_s=np.arange(3) / 30)
    camera = Camera(K=np.array([[160.0, 0, 80], [0, 160, 60], [0, 0, 1]]), source="guessed")
    box = np.array([[20.0, 10, 70, 110]], np.float32)

    def track(number: int, first: int, boxes: np.ndarray, detected: list[int]) -> Track:
        n = len(boxes)
        return Track(
            id=number,
            frame_index=np.arange(first, first + n),
            boxes=boxes,
            scores=np.ones(n, np.float32),
            detected=np.isin(np.arange(n), detected),
        )

    tracks = [track(4, 0, np.repeat(box, 3, 0), [0, 2]), track(7, 2, box + 40, [0])]

    backbone = HybrIKBackbone(tracks, camera, synthetic_smpl, SMALL)
    assert backbone.provenance["name"] == "hybrik_res34"
    backbone.observe(frames)
    first, second = backbone.observations()
    assert first.valid.all() and second.valid.all()
    for seen in (first, second):
        assert all(np.isfinite(values).all() for values in to_arrays(seen).values())
        assert (seen.joints[:, 0] == 0).all() and (seen.pelvis[:, 2] > 0).all()
        # nothing is claimed about the face, the hands' and the feet's points
        others = np.setdiff1d(np.arange(33), LIMB_LANDMARKS)
        assert (seen.landmarks2d[:, others, 2] == 0).all()
        assert (seen.landmarks2d[:, LIMB_LANDMARKS, 2] > 0).any()
    points = first.landmarks2d[0, LIMB_LANDMARKS, :2]
    assert (np.abs(points - [45, 60]) <= 62.5).all()  # inside the crop
    backbone = HybrIKBackbone(tracks[:1], camera, synthetic_smpl, SMALL)
    backbone.observe(Frames(rgb=pictures[:1], index=np.arange(1), pts_s=np.zeros(1)))
    (alone,) = backbone.observations()  # the other person changes nothing
    np.testing.assert_allclose(alone.joints[0], first.joints[0], atol=1e-4)
    # the detector looked at every other frame, and for a while saw nobody
    gappy = track(1, 0, np.repeat(box, 12, 0), [0, 2, 4, 10])
    (blank,) = HybrIKBackbone([gappy], camera, synthetic_smpl, SMALL).observations()
    assert np.flatnonzero(~blank.valid).tolist() == [6, 7, 8]
