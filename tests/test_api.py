"""`import hpsvid`: what a Python program does with it."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import hpsvid
from hpsvid.errors import InputError
from hpsvid.types import Source
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter
from tests.factories import make_motion, write_walk

FRAMES = 4


def test_the_import_is_instant_and_still_knows_every_name():
    code = (
        "import sys, hpsvid; hpsvid.Options; dir(hpsvid)\n"
        "heavy = {'torch', 'numpy', 'cv2', 'onnxruntime', 'av', 'typer'} & set(sys.modules)\n"
        "print(sorted(heavy), [n for n in hpsvid.__all__ if n not in dir(hpsvid)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[] []\n"
    assert all(getattr(hpsvid, name) for name in hpsvid.__all__)
    with pytest.raises(AttributeError, match="'walk'"):
        _ = hpsvid.walk  # type: ignore[attr-defined]


def test_the_types_of_the_package_are_for_others_too():
    assert (Path(hpsvid.__file__).parent / "py.typed").is_file()


def test_a_clip_becomes_a_motion_with_the_options_given(tmp_path: Path):
    clip = write_walk(tmp_path / "walk.mp4", FRAMES)
    stages = set()
    motion = hpsvid.run(
        str(clip),
        options=hpsvid.Options(solver="hybrik", fast=True, threads=1),
        progress=lambda stage, done, total: stages.add(stage),
    )
    assert isinstance(motion, hpsvid.Motion) and len(motion.pts_s) == FRAMES
    assert motion.provenance.solver == "hybrik" and len(stages) == 2
    hpsvid.draw(motion, str(tmp_path / "drawn.mp4"), options=hpsvid.DrawOptions(alpha=1))
    before, after = (
        np.concatenate([frames.rgb for frames in read_frames(probe(path))]).astype(int)
        for path in (clip, tmp_path / "drawn.mp4")
    )
    assert before.shape == after.shape
    x0, y0, x1, y1 = motion.people[0].track.boxes[0].astype(int)
    assert np.abs(before - after)[0, y0:y1, x0:x1].max() > 60


def test_a_saved_motion_is_loaded_as_it_was(body: hpsvid.Body, tmp_path: Path):
    motion = make_motion(body)
    path = tmp_path / "new" / "walk.npz"
    hpsvid.save(motion, path)
    loaded = hpsvid.load(str(path))
    assert [person.track.id for person in loaded.people] == [0, 3]
    for one, other in zip(loaded.people, motion.people, strict=True):
        np.testing.assert_array_equal(one.joints, other.joints)
    with pytest.raises(InputError, match=r"expected \.npz"):
        hpsvid.save(motion, tmp_path / "walk.bvh")


def test_files_for_other_programs_are_named_after_the_clip(body: hpsvid.Body, tmp_path: Path):
    motion = make_motion(body)
    files = hpsvid.export(motion, "bvh", tmp_path / "out", options=hpsvid.ExportOptions(fps=24))
    assert [file.name for file in files] == [
        "two people_person00.bvh", "two people_person03.bvh",
    ]  # fmt: skip
    assert "Frame Time: 0.041666667" in files[0].read_text()
    named = hpsvid.export(motion, "bvh", tmp_path / "pair.bvh")  # of two people
    assert [file.name for file in named] == ["pair_person00.bvh", "pair_person03.bvh"]
    with pytest.raises(InputError, match="--rig"):
        hpsvid.export(motion, "amass", tmp_path, options=hpsvid.ExportOptions(rig="hik"))


def test_a_motion_of_another_body_is_neither_exported_nor_drawn(body: hpsvid.Body, tmp_path: Path):
    clip = tmp_path / "grey.mp4"
    with VideoWriter(clip, width=64, height=64, fps=Fraction(30)) as writer:
        writer.write(np.full((64, 64, 3), 90, np.uint8), 0.0)
    motion = make_motion(body, people=1, frames=1)
    source = Source(name="SMPL_MALE", sha256="1" * 64)
    motion = replace(motion, clip=probe(clip), provenance=replace(motion.provenance, body=source))
    for call in (
        lambda: hpsvid.export(motion, "bvh", tmp_path),
        lambda: hpsvid.draw(motion, tmp_path / "drawn.mp4", body=hpsvid.load_body()),
    ):
        with pytest.raises(InputError, match="SMPL_MALE"):
            call()
    assert list(tmp_path.iterdir()) == [clip]
