"""Hidden files that a killed process left are removed by a later run, those of others are not."""

import os
import subprocess
import sys

import pytest

from hpsvid.common.files import Stage, written_whole


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_a_killed_process_left_of_the_same_output_is_removed(tmp_path, gone):
    path = tmp_path / "a[1].npz"
    left = tmp_path / f".{path.name}.{gone}.part"
    left.mkdir()
    (left / "begun").touch()
    kept = [
        tmp_path / f".{path.name}.{os.getppid()}.part",  # still running
        tmp_path / f".other.npz.{gone}.part",
        tmp_path / f".{path.name}.x.part",
    ]
    for other in kept:
        other.touch()
    with written_whole(path) as stream:
        stream.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])


def test_a_process_does_not_remove_its_own_work(tmp_path):
    first = Stage(tmp_path / "a.mp4")
    first.beside.write_bytes(b"begun")
    Stage(tmp_path / "a.mp4")
    assert first.beside.read_bytes() == b"begun"
