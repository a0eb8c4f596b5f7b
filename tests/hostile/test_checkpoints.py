"""Crafted files of `torch.save`: tensors that claim more than there is."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpsvid.errors import WeightsError
from hpsvid.official.checkpoint_file import read_checkpoint


def repacked(
    path: Path, change: Callable[[bytes], bytes], method: int = zipfile.ZIP_STORED
) -> None:
    """Change the index of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(1).expand(1_000_000, 1_000)}, path)  # 4 GB when written out
    with pytest.raises(WeightsError, match="claim far more"):
        read_checkpoint(path)
    torch.save({"a": torch.zeros(77)}, path)
    repacked(path, lambda index: index.replace(b"KM\x85", b"KN\x85"))
    with pytest.raises(WeightsError, match="not a readable PyTorch checkpoint"):
        read_checkpoint(path)


def test_a_packed_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(10_000_000)}, path)
    repacked(path, bytes, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="unpacks to more"):
        read_checkpoint(path)


def test_many_tensors_of_the_same_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    same = torch.zeros(1000, 1000)
    torch.save({str(i): same.T for i in range(100)}, path)  # each is copied to be contiguous
    with pytest.raises(WeightsError, match="claim far more"):
        read_checkpoint(path)
