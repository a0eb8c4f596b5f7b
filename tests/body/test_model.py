"""The shipped free body: its mesh, skeleton and skinning; damaged files are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from hpsvid.body.model import Body, body_from_arrays, load_body
from hpsvid.body.skeleton import BLAZEPOSE, JOINT, LANDMARK, SMPL, forward_kinematics, mirror_name
from hpsvid.common.weights import weights_path
from hpsvid.errors import WeightsError
from tests.factories import make_params

FLIP = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(weights_path("free_body"), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def random_poses(count: int, seed: int = 0, spread: float = 0.4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return roma.rotvec_to_rotmat(
        torch.randn(count, SMPL.n_rotations, 3, generator=generator) * spread
    )


def random_shapes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 10, generator=torch.Generator().manual_seed(seed))


def components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """Label of each vertex' connected part."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (vertices, vertices))
    return connected_components(graph, directed=False)[1]


def test_the_mesh_is_watertight_and_faces_outwards(body):
    faces, template = body.faces, body.template.double().numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)  # each direction of an edge once
    there = set(map(tuple, edges.tolist()))
    assert all((b, a) in there for a, b in there)  # and its opposite: two faces an edge
    labels = components(faces, len(template))
    assert labels.max() == 2  # skin and two eyeballs
    for label in range(3):
        part = faces[labels[faces[:, 0]] == label]
        a, b, c = (template[part[:, k]] for k in range(3))
        volume = np.einsum("fi,fi->", np.cross(a, b), c) / 6
        assert volume > 0
        if len(part) > 5000:
            assert 0.05 < volume < 0.09  # an adult's litres


def test_left_and_right_mirror_each_other(body, arrays):
    mirror = torch.from_numpy(arrays["mirror"].astype(np.int64))
    assert torch.equal(mirror[mirror], torch.arange(len(mirror)))
    assert torch.allclose(body.template[mirror] * FLIP, body.template, atol=1e-6)
    assert torch.allclose(body.shape_dirs[mirror] * FLIP[:, None], body.shape_dirs, atol=1e-6)
    swap = [JOINT[_other_side(name)] for name in list(JOINT)[: SMPL.n_rotations]]
    assert torch.allclose(body.skin_weights[mirror][:, swap], body.skin_weights, atol=1e-6)
    assert body.colours is not None
    assert np.array_equal(body.colours[mirror.numpy()], body.colours)


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


def test_skin_and_regressor_rows_are_convex(body, arrays):
    for rows in (arrays["weights"], arrays["J_regressor"], arrays["landmark_regressor"]):
        assert rows.min() >= 0
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    assert ((arrays["weights"] > 0).sum(1) <= 8).all()


@pytest.mark.parametrize("seed", range(4))
def test_joints_of_random_shapes_are_those_of_people(body, seed):
    betas = random_shapes(64, seed)
    rest = body.rest_joints(betas)
    stature = body.shaped(betas)[..., 1]
    stature = stature.amax(1) - stature.amin(1)
    assert stature.min() > 1.3 and stature.max() < 2.15
    bones = torch.stack([rest[:, j] - rest[:, SMPL.parents[j]] for j in range(1, 29)], 1).norm(
        dim=-1
    )
    assert bones.min() > 0.02 and bones.max() < 0.65
    for name, index in JOINT.items():
        if name.startswith("left_"):
            other = rest[:, JOINT[_other_side(name)]] * FLIP
            assert torch.allclose(rest[:, index], other, atol=1e-5)
    upright = rest[:, :, 1]
    for low, high in (("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("neck", "head")):
        assert (upright[:, JOINT[low]] < upright[:, JOINT[high]]).all()


def test_stature_is_the_first_beta_and_girth_the_second(body):
    def extent(betas: list[float]) -> tuple[float, float]:
        shape = torch.zeros(10)
        shape[: len(betas)] = torch.tensor(betas)
        rest = body.shaped(shape)
        waist = rest[(rest[:, 1] - rest[:, 1].max() + 0.65).abs() < 0.03]
        waist = waist[waist[:, 0].abs() < 0.3]
        return float(rest[:, 1].max() - rest[:, 1].min()), float(waist[:, 0].max())

    mean, tall, wide = extent([0]), extent([1]), extent([0, 2])
    assert tall[0] - mean[0] == pytest.approx(0.091, abs=0.003)  # the model card's figure
    assert wide[0] == pytest.approx(mean[0], abs=0.002)
    assert wide[1] > mean[1] + 0.02


def test_skinning_carries_joints_and_leaves_along(body, arrays):
    """A vertex of one bone only moves with that bone's frame; leaves are such vertices."""
    rotmats, betas = random_poses(8), random_shapes(8)
    transl = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    vertices = body.vertices(rotmats, betas, transl)
    joints, turned = forward_kinematics(rotmats, body.rest_joints(betas))
    eye = torch.eye(3)
    shaped = body.shaped(betas) + ((rotmats[:, 1:] - eye).flatten(1) @ body.pose_dirs).unflatten(
        1, (-1, 3)
    )
    owner = body.skin_weights.argmax(1)
    single = torch.nonzero(body.skin_weights.amax(1) > 1 - 1e-6)[:, 0]
    assert len(single) > 500
    bone = owner[single]
    away = shaped[:, single] - body.rest_joints(betas)[:, bone]
    expected = joints[:, bone] + (turned[:, bone] @ away[..., None])[..., 0] + transl[:, None]
    assert torch.allclose(vertices[:, single], expected, atol=1e-5)
    leaves = vertices[:, torch.from_numpy(arrays["leaf_vertices"])]
    fk = body.joints(rotmats, betas, transl)[:, SMPL.n_rotations :]
    # Pose correctives may move a leaf's vertex by millimetres; the skeleton's leaf is rigid.
    assert (leaves - fk).norm(dim=-1).max() < 0.02


def test_one_shape_for_a_batch_equals_the_shape_repeated(body):
    rotmats, betas, transl = random_poses(5), random_shapes(1)[0], torch.zeros(5, 3)
    once = body.vertices(rotmats, betas, transl)
    each = body.vertices(rotmats, betas.expand(5, 10), transl)
    assert torch.allclose(once, each, atol=1e-6)
    alone = body.vertices(rotmats[3], betas, transl[3])
    assert torch.allclose(once[3], alone, atol=1e-5)


def test_gradients_reach_pose_shape_and_place(body):
    body = replace(body)  # nothing cached yet
    with torch.inference_mode():
        body.landmarks(torch.eye(3).expand(SMPL.n_rotations, 3, 3), torch.zeros(10), torch.zeros(3))
    vector = torch.zeros(2, SMPL.n_rotations, 3, requires_grad=True)
    betas, transl = torch.zeros(10, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    points = body.landmarks(roma.rotvec_to_rotmat(vector), betas, transl)
    points.square().sum().backward()
    for leaf in (vector, betas, transl):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all() and leaf.grad.abs().sum() > 0


def test_landmarks_lie_where_their_names_say(body):
    rest = torch.eye(3).expand(SMPL.n_rotations, 3, 3)
    points = body.landmarks(rest, torch.zeros(10), torch.zeros(3))
    joints = body.rest_joints(torch.zeros(10))
    for name in BLAZEPOSE.names:
        if name in JOINT:  # shoulders, elbows, wrists, hips, knees, ankles
            assert (points[LANDMARK[name]] - joints[JOINT[name]]).norm() < 0.024
        if name.startswith("left_"):
            other = points[LANDMARK[_other_side(name)]] * FLIP
            assert torch.allclose(points[LANDMARK[name]], other, atol=1e-5)
    nose, heel, toe = (points[LANDMARK[n]] for n in ("nose", "left_heel", "left_foot_index"))
    assert abs(float(nose[0])) < 1e-4 and nose[2] == points[:11, 2].max()  # foremost of the face
    assert 0.18 < toe[2] - heel[2] < 0.30


def test_landmarks_are_those_of_the_whole_posed_mesh(body):
    rotmats, betas, transl = random_poses(3, seed=5), random_shapes(3), torch.ones(3, 3)
    whole = body.landmark_regressor @ body.vertices(rotmats, betas, transl)
    assert torch.allclose(body.landmarks(rotmats, betas, transl), whole, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_skinning_agrees_with_smplx(body, arrays):
    smplx = pytest.importorskip("smplx")
    from smplx.utils import Struct

    count = 6
    model = smplx.SMPL("", data_struct=Struct(**arrays), batch_size=count)
    vector = (
        torch.randn(count, SMPL.n_rotations, 3, generator=torch.Generator().manual_seed(2)) * 0.6
    )
    betas, transl = random_shapes(count, 3), torch.ones(count, 3)
    with torch.no_grad():
        theirs = model(
            betas=betas, global_orient=vector[:, 0], body_pose=vector[:, 1:].flatten(1),
            transl=transl,
        )  # fmt: skip
    rotmats = roma.rotvec_to_rotmat(vector)
    assert (body.vertices(rotmats, betas, transl) - theirs.vertices).abs().max() < 1e-5
    ours = body.joints(rotmats, betas, transl)[:, : SMPL.n_rotations]
    assert (ours - theirs.joints[:, : SMPL.n_rotations]).abs().max() < 1e-5


def test_the_body_wears_a_suit_and_has_texture_coordinates(body):
    colours, template = body.colours.astype(int), body.template.numpy()
    chest = template[(abs(template[:, 1] - 0.1) < 0.05) & (abs(template[:, 0]) < 0.2)]
    rows = (abs(template[:, 1] - 0.1) < 0.05) & (abs(template[:, 0]) < 0.2)
    thighs = abs(template[:, 1] + 0.5) < 0.1
    face = (template[:, 1] > 0.36) & (template[:, 2] > 0.14)
    assert len(chest) > 50
    for part in (rows, thighs):
        assert np.ptp(colours[part], axis=0).max() == 0  # one cloth
    assert np.abs(colours[rows][0] - colours[thighs][0]).sum() > 60  # two tones
    assert np.abs(colours[face].mean(0) - colours[rows][0]).sum() > 60
    assert body.uv_faces.shape == body.faces.shape
    assert body.uv.min() >= 0 and body.uv.max() <= 1
    # Each texture point belongs to one vertex, so a seam splits texture points, never vertices.
    owner = np.full(len(body.uv), -1)
    owner[body.uv_faces.ravel()] = body.faces.ravel()
    assert np.array_equal(owner[body.uv_faces], body.faces)


@pytest.mark.parametrize("kept", [0, 10, 3000, 100_000])
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, kept: int):
    path = tmp_path / "body.npz"
    path.write_bytes(weights_path("free_body").read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"not a readable npz .*expected a body model") as caught:
        load_body(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("shapedirs", np.zeros((6939, 3, 6), np.float32), "6 shape directions, expected 10"),
        ("weights", np.zeros((6939, 22), np.float32), r"`weights` is float32 \(6939, 22\)"),
        ("kintree_table", np.zeros((2, 52), np.int64), "52 joints, expected SMPL's 24"),
        ("kintree_table", np.zeros((2, 24), np.int64), "joint hierarchy is not SMPL's"),
        ("f", np.array([[0, 1, 7000]]), "beyond its 6939"),
        ("v_template", np.full((6939, 3), np.nan), "not finite"),
        ("J_regressor", None, "has no `J_regressor`"),
    ],
)
def test_arrays_of_another_body_are_refused(arrays, key, value, said):
    changed = {name: array for name, array in arrays.items() if name != key}
    if value is not None:
        changed[key] = value
        if key == "shapedirs":
            del changed["betas_mean"], changed["betas_covariance"]
        if key == "f":
            changed.pop("uv_faces")
    with pytest.raises(WeightsError, match=said):
        body_from_arrays(changed, name="strange")


def test_every_name_has_a_counterpart_on_the_other_side():
    for points in (SMPL, BLAZEPOSE):
        names, other = points.names, points.mirror
        assert [other[i] for i in other] == list(range(len(names)))
        left = [i for i, name in enumerate(names) if "left" in name]
        assert left and all("right" in names[other[i]] for i in left)
        middle = [i for i, name in enumerate(names) if "left" not in name and "right" not in name]
        assert [other[i] for i in middle] == middle
    assert mirror_name("mouth_left") == "mouth_right"


def test_the_body_is_the_same_with_any_number_of_threads():
    """Its hash goes into every result, and a result is refused on another body."""
    threads, hashes = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            hashes.add(load_body(weights_path("free_body")).sha256)
    finally:
        torch.set_num_threads(threads)
    assert len(hashes) == 1


def test_landmarks_of_a_long_motion_are_placed_in_chunks(
    body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vertices that carry them took 50 kB a frame, over 2 GB for 30 minutes of video."""
    params = make_params(1100, seed=1)
    at_once = []
    landmarks = Body.landmarks

    def watched(self: Body, rotmats: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
        at_once.append(len(rotmats))
        return landmarks(self, rotmats, betas, transl)

    monkeypatch.setattr(Body, "landmarks", watched)
    marks = body.landmarks_of(params)
    assert sum(at_once) == len(marks) == 1100 and max(at_once) <= 512
    for rows in (slice(0, 3), slice(510, 515), slice(1098, 1100)):
        part = replace(params, rotmats=params.rotmats[rows], transl=params.transl[rows])
        np.testing.assert_allclose(marks[rows], body.landmarks_of(part), atol=1e-6)
