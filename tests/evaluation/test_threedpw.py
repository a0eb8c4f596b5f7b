"""3DPW's files, made up here in their format: Python 2 pickles of lists of arrays."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.smpl import load_smpl
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.evaluation.results import evaluate_motions
from hpsvid.evaluation.tables import summary
from hpsvid.evaluation.threedpw import read_sequence
from hpsvid.formats.npz import write_motion
from hpsvid.types import Motion
from tests.factories import make_motion, make_params, make_person

FRAMES = 9


@pytest.fixture(scope="module")
def smpl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SMPL-format files: here the free body plays every part but the man's."""
    folder = tmp_path_factory.mktemp("smpl")
    for name in ("SMPL_NEUTRAL", "SMPL_FEMALE"):
        shutil.copy(weights_path("free_body"), folder / f"{name}.npz")
    return folder / "SMPL_NEUTRAL.npz"


@pytest.fixture(scope="module")
def body(smpl: Path) -> Body:
    return load_smpl(smpl)


@pytest.fixture(scope="module")
def motion(body: Body) -> Motion:
    made = make_motion(body, people=2, frames=FRAMES, seed=5)
    second = make_person(body, make_params(FRAMES, 8), person_id=4)
    return replace(made, people=(made.people[0], second))


def sequence(motion: Motion, body: Body) -> dict:
    """The motion as 3DPW has it: in the world, seen by a camera that moves."""
    turn = Rotation.from_rotvec(np.linspace([0.2, 1, 0.1], [0.3, 1.4, 0], FRAMES)).as_matrix()
    shift = np.linspace([0.0, 1, 3], [1.0, 0.5, 2], FRAMES)
    extrinsics = np.tile(np.eye(4), (FRAMES, 1, 1))
    extrinsics[:, :3, :3], extrinsics[:, :3, 3] = turn, shift

    def world(points: np.ndarray) -> np.ndarray:  # (T, N, 3) of the camera
        return (points - shift[:, None]) @ turn

    poses, trans, joints = [], [], []
    for person in motion.people:
        params = person.body
        rotmats = params.rotmats.astype(float)
        rotmats[:, 0] = turn.swapaxes(1, 2) @ rotmats[:, 0]
        poses.append(Rotation.from_matrix(rotmats.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 72))
        pelvis = body.rest_joints(torch.from_numpy(params.betas))[0].numpy()
        trans.append(world((params.transl + pelvis)[:, None])[:, 0] - pelvis)
        joints.append(world(person.joints[:, :24].astype(float)).reshape(-1, 72))
    return {
        "sequence": "made_up_00",
        "betas": [person.body.betas.astype(float) for person in motion.people],
        "poses": poses,
        "trans": trans,
        "jointPositions": joints,
        "genders": ["f", "m"],
        "cam_poses": extrinsics,
        "cam_intrinsics": motion.camera.K,
        "campose_valid": [np.arange(FRAMES) != 2, np.ones(FRAMES, bool)],
        "texture_maps": [],
        "v_template_clothed": [np.zeros((5, 3))],
        "img_frame_ids": np.arange(FRAMES),
    }


@pytest.fixture
def folder(motion: Motion, body: Body, tmp_path: Path) -> Path:
    """sequenceFiles/test/made_up_00.pkl, protocol 2 as Python 2 wrote it."""
    path = tmp_path / "sequenceFiles" / "test" / "made_up_00.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(sequence(motion, body), protocol=2))
    return tmp_path / "sequenceFiles"


def test_the_set_against_saved_motions(
    folder: Path, motion: Motion, smpl: Path, tmp_path: Path
) -> None:
    """What the files say in the world is what the camera's motion says, joints and surface."""
    results = tmp_path / "results"
    results.mkdir()
    write_motion(motion, results / "made_up_00_overlay.npz")
    ((truth, _, errors),) = evaluate_motions(
        folder, [results], [], smpl=smpl.parent, progress=lambda *_: None
    )
    assert truth.name == "made_up_00"
    woman, man = (summary([one]) for one in errors)
    for found in (woman, man):
        assert found["found_percent"] == 100
        assert found["mpjpe_mm"] == pytest.approx(0, abs=0.01)
        assert found["pa_mpjpe_mm"] == pytest.approx(0, abs=0.01)
        assert found["acceleration_mm_frame2"] == pytest.approx(0, abs=0.02)
    assert woman["pve_mm"] == pytest.approx(0, abs=0.01)
    assert np.isnan(man["pve_mm"])  # there is no man's file
    assert np.isnan(errors[0].joint[2]).all()  # where the camera was not aligned
    assert np.isfinite(errors[1].joint).all()


def test_without_smpl_there_are_joints_and_no_surface(folder: Path, motion: Motion) -> None:
    truth = read_sequence(folder / "test" / "made_up_00.pkl", None)
    assert [person.body for person in truth.people] == [None, None]
    np.testing.assert_allclose(truth.people[1].points, motion.people[1].joints[:, :24], atol=1e-5)
    assert truth.clip is None


def test_the_pictures_of_a_sequence_are_its_clip(folder: Path) -> None:
    pictures = folder.parent / "imageFiles" / "made_up_00"
    pictures.mkdir(parents=True)
    assert read_sequence(folder / "test" / "made_up_00.pkl", None).clip == pictures


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"poses": None}, "has no `poses`"),
        ({"cam_poses": np.zeros((4, 4))}, "not the values of a 3DPW sequence"),
        ({"jointPositions": [np.full((FRAMES, 72), np.nan)] * 2}, "not finite"),
        ({"genders": [Path("x"), "m"]}, "refused, its pickle asks for pathlib"),
    ],
)
def test_another_file_is_one_line(
    folder: Path, motion: Motion, body: Body, change: dict, complaint: str
) -> None:
    content = {**sequence(motion, body), **change}
    path = folder / "test" / "made_up_00.pkl"
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}))
    with pytest.raises(InputError, match=complaint):
        read_sequence(path, None)
