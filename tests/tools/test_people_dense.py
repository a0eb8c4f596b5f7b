"""Dense truth: what a cell shows of the body lies where the cell is, and nothing hidden is told."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.body.parts import PART_JOINTS, mirror_of_parts, part_of_vertices
from hpsvid.common.files import write_npz
from hpsvid.common.geometry import axis_angle_to_matrix, image_of
from hpsvid.common.raster import vertex_normals
from hpsvid.ik.tensors import posed_joints
from hpsvid.mocap.sources import mirror
from hpsvid.training.batches import LiftedPairs
from hpsvid.training.dense_data import mirrored_truth, rotations_of, roughened, truth_of_shard
from tests.tools.people_factories import plain_wardrobe, scene_of, source
from tools.people import dense, dense_pairs
from tools.people.beneath import BodySurface, Staged, crop_camera
from tools.people.character import read_bare_body
from tools.people.props import box
from tools.people.truth import camera_params
from tools.people.watch import Watcher

CELLS = dense.CELLS
CELL = SIDE / CELLS  # px of the crop


@pytest.fixture(scope="module")
def surface():
    bare = read_bare_body()
    return BodySurface(bare.template, bare.faces)


@pytest.fixture(scope="module")
def rows(body, surface):
    """A small shard of people in shirts, and what it was made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "SCENES", 2)
        patch.setattr("tools.people.backdrop.ROOMS", 1)  # as in conftest, which comes too late
        patch.setattr("tools.people.backdrop.FIELDS", 1)
        shots = source(dense.FRAMES * dense.STEP)
        stage = dense.Stage(wardrobe=plain_wardrobe(body), surface=surface, network=Watcher())
        yield dense.make_shard((3, 0), shots, stage), shots, stage


def middles():
    """Crop px (64, 64, 2) of the cells' middles."""
    return (np.moveaxis(np.indices((CELLS, CELLS)), 0, -1)[..., ::-1] + 0.5) * CELL


def posed(scene, body, which, t):
    params = camera_params(scene.actors[which], scene, body)
    return body.vertices_of(params)[t]


def test_places_on_the_surface_are_found_again(body, surface):
    rng = np.random.default_rng(0)
    faces = rng.integers(len(body.faces), size=300)
    weights = rng.dirichlet([1, 1, 1], 300)
    corners = body.template.numpy()[body.faces]
    normals = vertex_normals(body.template.numpy().astype(float), body.faces)[body.faces[faces, 0]]
    points = (weights[..., None] * corners[faces]).sum(1)
    found = surface.nearest(points + 0.002 * normals)
    again = (found.weights[..., None] * corners[found.face]).sum(1)
    assert np.linalg.norm(again - points, axis=1).max() < 0.006
    assert found.weights.min() >= 0


@pytest.mark.parametrize(("lean", "side"), [(0.0, 180.0), (0.7, 220.0), (np.pi, 150.0)])
def test_a_cell_shows_the_place_of_the_body_that_projects_onto_it(body, surface, lean, side):
    scene = scene_of(body, [(0, 0, 0)])
    crop = Crop(x=60.0, y=85.0, side=side, angle=lean)
    mask, places = Staged(scene, surface).shown(1, crop, 0, CELLS)
    assert mask.sum() > 150
    corners = posed(scene, body, 0, 1)[body.faces[places.face]]
    points = (places.weights[..., None] * corners).sum(1)
    flat = crop.from_image(image_of(points, scene.shot.K))
    off = np.linalg.norm(flat - middles()[mask], axis=1) / CELL
    assert np.median(off) < 0.5
    assert np.percentile(off, 99) < 2.5  # cloth stands off the skin, and at silhouettes it shows


def test_the_crops_camera_sees_a_point_where_the_crop_has_it():
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    crop = Crop(x=300.0, y=200.0, side=170.0, angle=-0.4)
    points = np.array([[0.1, -0.2, 3.0], [-0.3, 0.4, 2.5]])
    turn, camera = crop_camera(K, crop, CELLS)
    expected = crop.from_image(image_of(points, K)) / CELL
    assert np.abs(image_of(points @ turn.T, camera) - expected).max() < 1e-6


def test_who_is_hidden_shows_nothing_there_nor_outside_the_picture(body, surface):
    scene = scene_of(body, [(0, 0, 0), (0.25, 0, -0.8)])
    crop = Crop(x=60.0, y=85.0, side=200.0, angle=0.0)
    staged = Staged(scene, surface)
    front, behind = (staged.shown(0, crop, k, CELLS)[0] for k in range(2))
    alone = replace(scene, actors=scene.actors[1:])
    whole = Staged(alone, surface).shown(0, crop, 0, CELLS)[0]
    assert not (front & behind).any()
    assert (whole & front).sum() > 20
    assert np.array_equal(behind, whole & ~front)
    wall = box(np.random.default_rng(0), np.array([0, 1.2, 1.0]), np.array([3.0, 3.0, 0.1]), 0)
    hidden = Staged(scene_of(body, [(0, 0, 0)], props=[wall]), surface)
    assert not hidden.shown(0, crop, 0, CELLS)[0].any()
    aside = Crop(x=150.0, y=85.0, side=200.0, angle=0.0)  # the picture ends at 120 px
    right = aside.to_image(middles())[..., 0] > 120
    assert not (staged.shown(0, aside, 0, CELLS)[0] & right).any()


def pictures(arrays):
    """A shard's crops (N, 256, 256, 3)."""
    files = np.split(arrays["file"], arrays["ends"][:-1])
    decoded = [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files]
    return np.stack([np.asarray(picture, float) for picture in decoded])


def placed(truth, arrays, row):
    """A row's crop, the location map's points (M, 3), and their cells (M, 2): row, column."""
    x, y, side, angle = arrays["crop"][row].tolist()
    crop = Crop(x=x, y=y, side=side, angle=angle)
    shown = truth.mask[row]
    points = truth.location[row].permute(1, 2, 0)[shown].float()
    return crop, points, torch.nonzero(shown)


@pytest.mark.parametrize("mirrored", [False, True])
def test_location_maps_fall_on_their_cells_mirrored_or_not(body, rows, mirrored):
    arrays = rows[0]
    truth = truth_of_shard(arrays, body)
    if mirrored:
        truth = mirrored_truth(truth)
    checked = 0
    for row in range(0, len(truth), 5):
        crop, points, cells = placed(truth, arrays, row)
        K, flat = arrays["K"][row], truth.joints2d[row, 0] * SIDE
        # the pelvis in the view: the view looks through the crop's middle, so rays start there
        true = body.joints(
            axis_angle_to_matrix(torch.from_numpy(arrays["rotvec"][row]).float()),
            torch.from_numpy(arrays["betas"][row]),
            torch.from_numpy(arrays["transl"][row]),
        )[0]  # fmt: skip
        ray = np.linalg.inv(K) @ [crop.x, crop.y, 1]
        if np.linalg.norm(ray[:2]) > 0.12:
            continue  # the crop is no picture of the view where it is far aside
        away = float(true.norm())
        scale = K[0, 0] * SIDE / crop.side
        centre = torch.tensor([SIDE / 2, SIDE / 2])
        pelvis = torch.cat([(flat - centre) / scale * away, torch.tensor([away])])
        seen = points + pelvis
        told = seen[:, :2] / seen[:, 2:] * scale + centre
        off = (told - (cells.flip(1) + 0.5) * CELL).norm(dim=1) / CELL
        assert off.median() < 1.2
        checked += 1
    assert checked >= 2


def test_joint_map_and_its_mirror_image(body, rows):
    truth = truth_of_shard(rows[0], body)
    twice = mirrored_truth(mirrored_truth(truth))
    for name in ("mask", "part", "location", "joints", "joints2d", "surface"):
        back, was = getattr(twice, name).float(), getattr(truth, name).float()
        assert (back - was).abs().max() < 1e-6, name
    # cells lie near the joint that they speak of: no further than half an arm, and mostly far less
    way = (truth.location.float() - truth.joint_map()).norm(dim=1)[truth.mask]
    assert way.max() < 0.6
    assert way.median() < 0.25


@pytest.mark.parametrize("mirrored", [False, True])
def test_rotations_for_a_solver_pose_the_joints_of_the_truth(body, rows, mirrored):
    arrays, *_ = rows
    truth = truth_of_shard(arrays, body)
    truth = mirrored_truth(truth) if mirrored else truth
    rotmats = rotations_of(arrays)
    rotmats = torch.from_numpy(mirror(rotmats.numpy())) if mirrored else rotmats
    betas = torch.from_numpy(arrays["betas"])
    rest = body.rest_joints(betas)
    posed = posed_joints(rotmats[:, None], rest[:, None])[:, 0]
    # a body in a mirror has the other side's bones, which are as long
    assert (posed - truth.joints).norm(dim=-1).max() < 2e-3


def test_answers_about_crops_are_pairs_of_single_pictures(rows, tmp_path, monkeypatch):
    arrays, *_ = rows
    few = {key: value[:3] for key, value in arrays.items() if value.ndim > 1}
    ends = arrays["ends"][:3]
    whole = few | {key: arrays[key][:3] for key in ("scene", "person", "frame")}
    write_npz(
        tmp_path / "shard_00000.npz", whole | {"file": arrays["file"][: ends[-1]], "ends": ends}
    )
    out = tmp_path / "pairs.npz"
    monkeypatch.setattr("sys.argv", ["dense_pairs", "--crops", str(tmp_path), "--out", str(out)])
    dense_pairs.main()
    pairs = LiftedPairs.read(out)
    assert pairs.single
    assert pairs.joints.shape == (6, 1, 29, 3)  # each as it is, and in a mirror
    assert not pairs.joints[:, :, 0].any()
    true = rotations_of(few)
    assert torch.equal(pairs.rotmats[:3, 0], true)
    assert torch.equal(pairs.rotmats[3:, 0], torch.from_numpy(mirror(true.numpy())))


@pytest.mark.parametrize("count", [14, 24])
def test_parts_are_symmetric_and_none_is_empty(body, count):
    part = part_of_vertices(body, count)
    assert set(part) == set(range(count))
    template = body.template.numpy()
    mirrored = BodySurface(template, body.faces).nearest(template * [-1, 1, 1])
    other = body.faces[mirrored.face, mirrored.weights.argmax(1)]
    aside = np.abs(template[:, 0]) > 0.02
    agree = part[other] == np.array(mirror_of_parts(count))[part]
    assert agree[aside].mean() > 0.97
    assert len(PART_JOINTS[count]) == count


def test_a_shard_is_a_function_of_its_seed(rows):
    arrays, shots, stage = rows
    again = dense.make_shard((3, 0), shots, stage)
    other = dense.make_shard((4, 0), shots, stage)
    assert arrays.keys() == again.keys()
    # a film's codec is not bit-exact from run to run, nor are the crops that follow what it shows
    exact = arrays.keys() - {"file", "ends", "crop", "face", "weights"}
    assert all(np.array_equal(arrays[key], again[key]) for key in exact)
    assert np.abs(arrays["crop"] - again["crop"])[:, :3].max() < 0.02 * arrays["crop"][:, 2].max()
    upright = ~arrays["along"]
    assert np.array_equal(arrays["crop"][upright], again["crop"][upright])
    assert np.abs(pictures(arrays) - pictures(again)).mean() < 3
    assert not np.array_equal(arrays["crop"][:4], other["crop"][:4])
    assert arrays["ends"][-1] == len(arrays["file"])


class Lying(Watcher):
    """A landmark network that takes everybody to lie, head to the right, in the crop's middle."""

    def __init__(self, score: float) -> None:  # no file is read
        self.score = score

    def network(self, crops):
        points = np.zeros((1, 39, 2), np.float32)
        points[0, [33, 34]] = [[128, 128], [228, 128]]
        return points, None, None, np.array([self.score])


def test_most_crops_lie_along_the_body_where_the_network_sees_one():
    rng = np.random.default_rng(0)
    picture, box = np.zeros((480, 640, 3), np.uint8), np.array([200.0, 100, 400, 300])
    drawn = [dense.draw_crop(rng, box, picture, Lying(1.0)) for _ in range(200)]
    lean = np.array([crop.angle for crop, _ in drawn])
    along = np.array([second for _, second in drawn])
    assert 0.65 < along.mean() < 0.85
    # of upright boxes; a few are turned by quarters
    assert np.median(lean[along]) == pytest.approx(np.pi / 2, abs=0.1)
    assert np.median(lean[~along]) == pytest.approx(0, abs=0.1)
    side = np.median([crop.side for crop, second in drawn if second])
    assert side == pytest.approx(2.5 * 100 / SIDE * 250, rel=0.05)
    assert not any(second for _, second in (
        dense.draw_crop(rng, box, picture, Lying(0.2)) for _ in range(20)
    ))  # fmt: skip


def test_things_drawn_over_a_crop_cover_the_cells_that_changed():
    picture = np.full((SIDE, SIDE, 3), 120, np.uint8)
    covered_any = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        out, covered = roughened(rng, picture)
        assert out.shape == picture.shape
        assert out.dtype == np.uint8
        covered_any += covered.any()
        if not covered.any():
            flat = out.astype(float).reshape(-1, 3).std(0).max()
            assert flat < 40  # no thing, so only light and noise
    assert 8 <= covered_any <= 22
