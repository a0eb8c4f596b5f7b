"""Licensed SMPL files: found where the user says, read without running code, skinned right."""

import io
import os
import pickle
import runpy
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from scipy import sparse

from hpsvid.body.model import load_body
from hpsvid.body.skeleton import JOINT, LANDMARK
from hpsvid.body.smpl import SMPL_LEAVES, find_gendered, find_smpl, load_smpl
from hpsvid.common.weights import weights_path
from hpsvid.errors import WeightsError
from hpsvid.formats.amass import write_amass
from hpsvid.options import ExportOptions
from tests.factories import make_motion

PICKLE_NAME = "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"


@pytest.fixture(scope="module")
def smpl_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it, with a file of random arrays in SMPL's format."""
    folder = tmp_path_factory.mktemp("models")
    runpy.run_path(str(shared / "ref" / "synthetic_smpl.py"))["make_smpl"](str(folder))
    return folder


@pytest.fixture(scope="module")
def content(smpl_folder: Path) -> dict:
    with (smpl_folder / PICKLE_NAME).open("rb") as stream:
        return pickle.load(stream, encoding="latin1")


@pytest.mark.filterwarnings("ignore")
def test_skinning_agrees_with_smplx_on_an_smpl_file(smpl_folder: Path):
    smplx = pytest.importorskip("smplx")
    count = 5
    model = smplx.SMPL(str(smpl_folder / PICKLE_NAME), batch_size=count)
    body = load_smpl(smpl_folder / PICKLE_NAME)
    generator = torch.Generator().manual_seed(4)
    vector = torch.randn(count, 24, 3, generator=generator) * 0.6
    betas, transl = torch.randn(count, 10, generator=generator), torch.ones(count, 3)
    with torch.no_grad():
        theirs = model(
            betas=betas, global_orient=vector[:, 0], body_pose=vector[:, 1:].flatten(1),
            transl=transl,
        )  # fmt: skip
    rotmats = roma.rotvec_to_rotmat(vector)
    assert (body.vertices(rotmats, betas, transl) - theirs.vertices).abs().max() < 1e-5
    ours = body.joints(rotmats, betas, transl)
    assert (ours[:, :24] - theirs.joints[:, :24]).abs().max() < 1e-5


def test_an_smpl_file_is_not_free_and_has_every_landmark(smpl_folder: Path):
    body = load_smpl(smpl_folder / PICKLE_NAME)
    assert not body.free
    assert body.colours is not None and len(np.unique(body.colours, axis=0)) == 1
    rest, zero = torch.eye(3).expand(24, 3, 3), torch.zeros(10)
    points = body.landmarks(rest, zero, torch.ones(3))
    joints = body.joints(rest, zero, torch.ones(3))
    assert points.shape == (33, 3)
    for name in ("left_elbow", "right_knee"):
        assert torch.allclose(points[LANDMARK[name]], joints[JOINT[name]], atol=1e-6)
    for name in ("left_shoulder", "right_wrist", "left_hip", "right_ankle"):
        assert 0 < (points[LANDMARK[name]] - joints[JOINT[name]]).norm() < 0.05
    tip = body.template[SMPL_LEAVES[3]] + 1
    assert torch.allclose(points[LANDMARK["left_foot_index"]], tip, atol=1e-6)


def test_the_landmark_table_for_smpl_meshes_finds_the_free_bodys_landmarks():
    """The free body keeps SMPL's ids for these points, so its own landmarks judge the table."""
    from hpsvid.body.smpl import _smpl_landmarks

    body = load_body(weights_path("free_body"))
    rest, zero = torch.eye(3).expand(24, 3, 3), torch.zeros(10)
    truth = body.landmarks(rest, zero, torch.zeros(3))
    table = _smpl_landmarks()
    surface = torch.from_numpy(table["landmark_regressor"])
    found = surface @ body.template[: surface.shape[1]]
    found = found + torch.from_numpy(table["landmark_joints"]) @ body.rest_joints(zero)
    assert (found - truth).norm(dim=-1).max() < 0.015
    total = surface.sum(1) + torch.from_numpy(table["landmark_joints"]).sum(1)
    assert torch.allclose(total, torch.ones(33), atol=1e-6)


def test_an_npz_reads_like_its_pickle(smpl_folder: Path, content: dict, tmp_path: Path):
    plain = {k: v.toarray() if sparse.issparse(v) else v for k, v in content.items()}
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **plain, note=np.array([{}], object))
    one, two = load_smpl(tmp_path / "SMPL_NEUTRAL.npz"), load_smpl(smpl_folder / PICKLE_NAME)
    assert torch.equal(one.template, two.template)
    assert torch.equal(one.rest_dirs, two.rest_dirs)
    assert one.landmark_regressor is not None


@pytest.fixture
def old_modules(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Classes under the module names that chumpy's and old scipy's pickles carry."""

    def make(module: str, name: str, **body: object) -> type:
        kind = type(name, (), {"__module__": module, **body})
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
        monkeypatch.setattr(sys.modules[module], name, kind, raising=False)
        return kind

    return types.SimpleNamespace(
        ch=make("chumpy.ch", "Ch"),
        select=make("chumpy.reordering", "Select"),
        csc=make("scipy.sparse.csc_old_name", "csc_matrix"),
    )


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_chumpy_pickle_is_read_without_chumpy(
    smpl_folder: Path, content: dict, tmp_path: Path, old_modules, protocol: int
):
    def wrapped(array: np.ndarray) -> object:
        holder = old_modules.ch()
        holder.__dict__.update(x=array, _dirty_vars={"x"}, _itr=None, _depends_on_deps={})
        return holder

    shapes = content["shapedirs"].astype(np.float64)
    chosen = old_modules.select()
    more = np.concatenate([shapes, np.zeros_like(shapes)], -1)
    chosen.__dict__.update(
        a=wrapped(more),
        idxs=np.arange(more.size).reshape(more.shape)[..., :10].ravel(),
        preferred_shape=shapes.shape,
        _dr_cached=content["J_regressor"],
    )
    regressor = old_modules.csc()
    source = content["J_regressor"]
    regressor.__dict__.update(
        data=source.data, indices=source.indices, indptr=source.indptr, _shape=source.shape
    )
    chumpy = {
        **content,
        "v_template": wrapped(content["v_template"]),
        "shapedirs": chosen,
        "J_regressor": regressor,
        "bs_style": "lbs",
    }
    if protocol < 4:
        raw = pickle.dumps(chumpy, protocol=protocol)
        raw = raw.replace(b"scipy.sparse.csc_old_name", b"scipy.sparse.csc")
    else:  # names are counted in this protocol, so none can be exchanged; take today's scipy
        raw = pickle.dumps({**chumpy, "J_regressor": source}, protocol=protocol)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(raw)
    for name in [name for name in sys.modules if name.split(".")[0] == "chumpy"]:
        sys.modules.pop(name)
    body, plain = load_smpl(path), load_smpl(smpl_folder / PICKLE_NAME)
    assert torch.equal(body.template, plain.template)
    assert torch.equal(body.shape_dirs, plain.shape_dirs)
    assert torch.allclose(body.rest_mean, plain.rest_mean, atol=1e-6)
    assert not any(name.split(".")[0] == "chumpy" for name in sys.modules)


class _Runs:
    """Unpickling one of these calls a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("where", ["alone", "inside"])
def test_a_pickle_that_runs_a_command_is_refused(
    content: dict, tmp_path: Path, protocol: int, where: str
):
    mark = tmp_path / "ran"
    attack = _Runs(os.system, f"touch {mark}")
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(
        pickle.dumps({**content, "extra": attack} if where == "inside" else attack, protocol)
    )
    with pytest.raises(WeightsError, match=r"asks for posix\.system") as caught:
        load_smpl(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "function",
    [eval, exec, getattr, __import__, np.load, np.save, np.fromfile, io.open, pickle.loads],
    ids=lambda function: function.__name__,
)
def test_other_functions_are_refused(tmp_path: Path, function):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(_Runs(function, "x"), protocol=2))
    with pytest.raises(WeightsError, match="refused, its pickle asks for"):
        load_smpl(path)


@pytest.mark.parametrize(
    "raw",
    [
        b"c_codecs\nencode\n(Vx\nVzlib\ntR.",  # bytes through another codec
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"cnumpy\nndarray\n.",
        b"\x80\x02]q\x00.",
        b"not a pickle at all",
        b"",
    ],
)
def test_strange_bytes_give_one_line(tmp_path: Path, raw: bytes):
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(raw)
    with pytest.raises(WeightsError) as caught:
        load_smpl(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_pickle_gives_one_line(smpl_folder: Path, tmp_path: Path, share: float):
    raw = (smpl_folder / PICKLE_NAME).read_bytes()
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(WeightsError, match="not a whole pickle") as caught:
        load_smpl(path)
    assert "\n" not in str(caught.value)


def test_wild_sparse_indices_are_refused(content: dict, tmp_path: Path):
    wild = content["J_regressor"].copy()
    wild.indices = wild.indices + 1_000_000
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({**content, "J_regressor": wild}, protocol=2))
    with pytest.raises(WeightsError, match="`J_regressor` is damaged"):
        load_smpl(path)


def test_a_body_with_another_mesh_needs_its_own_leaves(content: dict, tmp_path: Path):
    short = {**content, "v_template": content["v_template"][:5000]}
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(short, protocol=2))
    with pytest.raises(WeightsError, match="5000 vertices, expected SMPL's 6890"):
        load_smpl(path)


def test_the_free_body_can_be_given_as_the_file():
    body = load_smpl(weights_path("free_body"))
    assert body.free and body.uv is not None


def test_the_file_is_found_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HPSVID_SMPL", raising=False)
    assert find_smpl(None) is None
    (tmp_path / "models" / "smpl").mkdir(parents=True)
    with pytest.raises(WeightsError, match="holds no neutral SMPL model; expected"):
        find_smpl(tmp_path / "models")
    with pytest.raises(WeightsError, match=r"--smpl .*nowhere: does not exist"):
        find_smpl(tmp_path / "nowhere")
    below = tmp_path / "models" / "smpl" / PICKLE_NAME
    below.touch()
    assert find_smpl(tmp_path / "models") == below
    assert find_smpl(below) == below
    beside = tmp_path / "models" / "SMPL_NEUTRAL.pkl"
    beside.touch()
    monkeypatch.setenv("HPSVID_SMPL", str(tmp_path / "models"))
    assert find_smpl(None) == beside
    monkeypatch.setenv("HPSVID_SMPL", str(tmp_path / "gone"))
    with pytest.raises(WeightsError, match=r"\$HPSVID_SMPL .*gone: does not exist"):
        find_smpl(None)
    assert find_smpl(below) == below  # the option wins over the environment


def test_the_official_archive_of_version_1_1_is_found_as_it_unpacks(tmp_path: Path):
    models = tmp_path / "SMPL_python_v.1.1.0" / "smpl" / "models"
    models.mkdir(parents=True)
    neutral = models / "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"
    for name in (neutral.name, "basicmodel_f_lbs_10_207_0_v1.1.0.pkl"):
        (models / name).touch()
    for folder in (tmp_path, models.parents[1], models.parent, models):
        assert find_smpl(folder) == neutral
    assert find_gendered(neutral, "female") == models / "basicmodel_f_lbs_10_207_0_v1.1.0.pkl"
    assert find_gendered(neutral, "m") is None


@pytest.mark.parametrize(
    ("name", "gender"),
    [
        ("SMPL_FEMALE", "female"),
        ("basicmodel_f_lbs_10_207_0_v1.1.0", "female"),
        ("basicModel_m_lbs_10_207_0_v1.0.0", "male"),
        ("SMPL_MALE", "male"),
        ("SMPL_NEUTRAL", "neutral"),
        ("my_family", "neutral"),
    ],
)
def test_the_gender_in_the_files_name_reaches_an_amass_export(
    tmp_path: Path, name: str, gender: str
):
    shutil.copy(weights_path("free_body"), tmp_path / f"{name}.npz")
    body = load_smpl(tmp_path / f"{name}.npz")
    motion = make_motion(body, people=1, frames=3)
    (path,) = write_amass(motion, body, tmp_path, "walk", ExportOptions())
    with np.load(path) as data:
        assert data["gender"] == gender
