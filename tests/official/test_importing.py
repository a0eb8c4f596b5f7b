"""Importing the authors' checkpoints: what is read, what is refused, and in how many words."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner, Result

from hpsvid.cli import app
from hpsvid.common.weights import file_sha256, imported_path, imported_source, load_imported
from hpsvid.errors import InputError, WeightsError
from hpsvid.formats.npz import read_motion
from hpsvid.official.checkpoint_file import read_checkpoint
from hpsvid.official.importing import CHECKPOINTS, import_weights
from hpsvid.official.niki_network import ReleasedNiki
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import WALK

KIND = "niki_1stage"


def small() -> ReleasedNiki:
    """A one-stage NIKI of the authors' kind, much smaller than theirs."""
    return ReleasedNiki(KIND, (4, 8))


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Its tensors under the authors' names, SMPL's and the camera's among them."""
    monkeypatch.setitem(CHECKPOINTS, KIND, replace(CHECKPOINTS[KIND], build=small))
    torch.manual_seed(0)
    state = small().state_dict()
    state["flow.mask"][0::2, 1::2] = state["flow.mask"][1::2, 0::2] = 1
    found = {f"regressor.{key}": value for key, value in state.items()}
    found["regressor.smpl_layer.v_template"] = torch.zeros(6890, 3)
    found["regressor.camnet.camera_net.0.weight"] = torch.zeros(4, 4)
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where imported weights go."""
    monkeypatch.setenv("HPSVID_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_an_imported_network_is_the_checkpoint_without_smpl(released, tmp_path, folder) -> None:
    path = tmp_path / "any name.pth"
    torch.save(released, path)
    kind, written = import_weights(path)
    assert (kind, written) == (KIND, folder / f"{KIND}.safetensors")
    with safe_open(written, "pt") as archive:
        assert not [key for key in archive.keys() if "smpl" in key or "cam" in key]  # noqa: SIM118
    model = small()
    source = load_imported(model, KIND)
    assert source == {"file": "any name.pth", "sha256": file_sha256(path)}
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, released[f"regressor.{key}"], rtol=0, atol=0)
    first = written.read_bytes()
    import_weights(path)
    assert written.read_bytes() == first


def test_a_checkpoint_inside_a_training_state_is_found(released, tmp_path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": {k: v.half() for k, v in released.items()}, "epoch": 3}, path)
    import_weights(path)
    model = small()
    load_imported(model, KIND)
    assert next(model.parameters()).dtype == torch.float32


def test_a_checkpoint_of_the_old_form_is_read_alike(released, tmp_path) -> None:
    released["regressor.flow.s.0.0.weight"] = released["regressor.flow.s.0.0.weight"].T.clone().T
    torch.save(released, tmp_path / "new.pth")
    torch.save(released, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    new, old = (read_checkpoint(tmp_path / name) for name in ("new.pth", "old.pth"))
    assert list(new) == list(old) == list(released)
    for key, value in released.items():
        assert new[key].dtype == old[key].dtype == value.dtype
        assert torch.equal(new[key], value) and torch.equal(old[key], value)


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("regressor.flow.t.2.4.bias"), r"lacks `flow\.t\.2\.4\.bias`; expected"),
        (lambda s: s.update({"extra": torch.zeros(1)}), r"holds the unknown `extra`; expected"),
        (
            lambda s: s.update({"regressor.flow.s.0.0.bias": torch.zeros(3)}),
            r"has another shape for `flow\.s\.0\.0\.bias`",
        ),
        (
            lambda s: s["regressor.flow.s.0.0.bias"].fill_(torch.nan),
            r"`flow\.s\.0\.0\.bias` holds numbers that are not finite",
        ),
        (lambda s: s.pop("regressor.flow.mask"), r"holds none of niki_ts, niki_1stage"),
        (lambda s: s.update({"epoch": 3}), r"holds no network; expected a dictionary of tensors"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    change: Change, message: str, released, tmp_path, folder
) -> None:
    change(released)
    path = tmp_path / "a.pth"
    torch.save(released, path)
    with pytest.raises(WeightsError, match=message) as caught:
        import_weights(path)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


class _Harm:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_damage_harm_and_absence_are_told_apart(released, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = tmp_path / "whole.pth"
    torch.save(released, whole)
    content = whole.read_bytes()
    torch.save({"model": _Harm()}, tmp_path / "harmful.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "half.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("<html>quota exceeded</html>")
    for name in ("harmful", "half", "empty", "text", "plain"):
        with pytest.raises(WeightsError, match=rf"{name}\.pth: ") as caught:
            import_weights(tmp_path / f"{name}.pth")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not (tmp_path / "harmed").exists()
    with pytest.raises(InputError, match=r"gone\.pth: cannot be opened \(No such file"):
        import_weights(tmp_path / "gone.pth")
    with pytest.raises(InputError, match="is a folder, expected a regular file"):
        import_weights(tmp_path)


def test_weights_that_were_never_imported_say_how_to_import_them() -> None:
    with pytest.raises(WeightsError, match=r"run `hpsvid weights import niki_ts\.pth`"):
        imported_source("niki_ts")


def test_imported_weights_that_were_damaged_are_refused(folder) -> None:
    path = imported_path("niki_ts")
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"niki_ts\.safetensors: damaged .* import it again"):
        imported_source("niki_ts")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_imports_and_refuses_in_one_line(released, tmp_path, folder) -> None:
    path = tmp_path / "niki.pth"
    torch.save(released, path)
    ran = call("weights", "import", path)
    assert ran.exit_code == 0
    assert ran.stdout == f"{KIND}: wrote {folder / KIND}.safetensors\n"
    path.write_bytes(path.read_bytes()[:1000])
    ran = call("weights", "import", path)
    assert ran.exit_code == 1 and ran.stdout == ""
    assert ran.stderr.count("\n") == 1 and "niki.pth: not a readable PyTorch" in ran.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "hybrik"], "speak of SMPL's skeleton; give your own SMPL file"),
        (["--ik", "niki", "--weights", "official"], "speak of SMPL's skeleton"),
    ],
)
def test_without_a_smpl_body_the_authors_networks_are_refused(
    options: list[str], message: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("HPSVID_SMPL", raising=False)
    ran = call("run", WALK, "--out", tmp_path / "a.mp4", *options)
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1 and message in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "hybrik"], "run `hpsvid weights import hybrik_hrnet.pth`"),
        (["--ik", "niki", "--weights", "official"], "run `hpsvid weights import niki_ts.pth`"),
        (["--weights", "official"], "choose one of niki, niki-one-stage"),
    ],
)
def test_weights_that_are_missing_are_asked_for_before_any_work(
    options: list[str], message: str, tmp_path, official_folder
) -> None:
    ran = call(
        "run", WALK, "--out", tmp_path / "a.mp4", "--smpl", official_folder / "model_files",
        *options,
    )  # fmt: skip
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1 and message in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_authors_networks_run_from_picture_to_motion(
    imported, official_folder, tmp_path
) -> None:
    imported("hybrik_res34")
    imported("niki_ts")
    # weights are random here: what counts is that all is there
    ran = call(
        "export", picture(tmp_path), "--format", "npz", "--out", tmp_path, "--backbone", "hybrik",
        "--fast", "--ik", "niki", "--weights", "official", "--threads", 1, "--quiet",
        "--smpl", official_folder / "model_files",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    motion = read_motion(tmp_path / "picture.npz")
    (person,) = motion.people
    turned = person.body.rotmats
    eye = np.broadcast_to(np.eye(3), turned.shape)
    np.testing.assert_allclose(turned @ turned.swapaxes(-1, -2), eye, atol=1e-5)
    assert person.joints.shape == (1, 29, 3) and np.isfinite(person.joints).all()
    assert np.isfinite(person.reprojection_px).all()  # the person was seen
    made_with = motion.provenance
    assert made_with.backbone is not None and made_with.backbone["name"] == "hybrik_res34"
    assert made_with.lifter is None
    assert made_with.weights == {"niki_ts": file_sha256(official_folder / "niki_ts.pth")}


def picture(folder: Path) -> Path:
    """A frame of a sample on which a person is large."""
    path = folder / "picture.png"
    clip = probe(WALK)
    frames = next(f for f in read_frames(clip, chunk=12) if f.index[0] == 60)
    cv2.imwrite(str(path), frames.rgb[0, ..., ::-1])
    return path
