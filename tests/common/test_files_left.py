"""Hidden files that a killed process left are removed by a later run, those of others are not."""

import os
import subprocess
import sys

import pytest

from hpsvid.common.files import Stage, staged, write_npz, written_whole
from hpsvid.pipeline.store import Store, store_folder


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


@pytest.mark.parametrize("length", [10, 220, 230, 231, 240, 255])
@pytest.mark.parametrize("letter", ["x", "漢", "é"])
def test_a_name_that_the_output_may_have_is_never_too_long_for_what_lies_beside_it(
    tmp_path, gone, letter, length
):
    name = letter * ((length - 4) // len(letter.encode())) + ".npz"
    path = tmp_path / name
    other = tmp_path / f"{name[1:]}"  # of the same end
    for output in (path, other):
        stage = Stage(output)
        left = stage.beside.with_name(stage.beside.name.replace(str(os.getpid()), str(gone)))
        left.touch()  # of a process that was killed
        with staged(output) as beside:  # as results are written, a stage within a stage
            write_npz(beside, {})
        store = Store(store_folder(output), every_s=0.0)
        store.open({})
        assert store.save_after_a_while("looks_000000", dict)
        store.close()
    assert store_folder(path) != store_folder(other)
    assert sorted(tmp_path.iterdir()) == sorted(
        [path, other, store_folder(path), store_folder(other)]
    )
