"""Motion in, Motion out, and the commands that do it."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import hpsvid
from hpsvid.cli import app
from hpsvid.edit import drop, keep, rename, split, trim
from hpsvid.errors import InputError, NoPersonError
from tests.factories import make_motion


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def frames(motion: hpsvid.Motion) -> dict[int, list[int]]:
    return {p.track.id: [int(p.track.frame_index[0]), len(p.track)] for p in motion.people}


def test_a_stretch_of_time_keeps_its_frames_and_the_clips_clock(body: hpsvid.Body) -> None:
    motion = make_motion(body, people=2, frames=12, pts_s=np.arange(12) / 4)
    cut = trim(motion, 0.5, 1.5)  # frames 2, 3, 4, 5
    assert frames(cut) == {0: [2, 4], 3: [2, 4]}
    np.testing.assert_array_equal(cut.pts_s, motion.pts_s)
    for before, after in zip(motion.people, cut.people, strict=True):
        rows = after.track.frame_index - before.track.frame_index[0]
        for name in ("joints", "joints2d", "sigma", "valid", "evidence_error"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[rows])
        np.testing.assert_array_equal(after.body.rotmats, before.body.rotmats[rows])
        np.testing.assert_array_equal(after.body.betas, before.body.betas)
    assert frames(trim(motion, None, 0.25)) == {0: [0, 1]}  # the other comes later
    assert frames(trim(motion, None, None)) == frames(motion)
    with pytest.raises(NoPersonError, match="nobody between 9 s and the end"):
        trim(motion, 9, None)


def test_people_are_kept_dropped_renamed_and_split(body: hpsvid.Body) -> None:
    motion = make_motion(body, people=3, frames=12, pts_s=np.arange(12) / 4)  # 0, 3, 6
    assert list(frames(keep(motion, [6, 0]))) == list(frames(drop(motion, [3]))) == [0, 6]
    assert list(frames(rename(motion, 6, 1))) == [0, 1, 3]
    halves = split(motion, 3, 1.0)
    assert frames(halves)[3] == [1, 3] and frames(halves)[7] == [4, 8]
    joined = np.concatenate([p.joints for p in halves.people if p.track.id in (3, 7)])
    np.testing.assert_array_equal(joined, motion.people[1].joints)
    for wrong, says in (
        (lambda: keep(motion, [5]), "person 5: no such person; the result has 0, 3, 6"),
        (lambda: rename(motion, 0, 3), "nobody else has"),
        (lambda: rename(motion, 0, -1), "from 0 on"),
        (lambda: split(motion, 3, 0.25), "is there from 0.25 s to 2.75 s"),
        (lambda: drop(motion, [0, 3, 6]), "nobody is left"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()


def test_the_commands_write_new_results(body: hpsvid.Body, tmp_path: Path) -> None:
    source, out = tmp_path / "a.npz", tmp_path / "b.npz"
    hpsvid.save(make_motion(body, people=3, frames=12, pts_s=np.arange(12) / 4), source)
    kept = source.read_bytes()
    for command, expected in (
        (("tracks", "keep", source, "0,3"), {0: [0, 12], 3: [1, 11]}),
        (("tracks", "drop", source, "0"), {3: [1, 11], 6: [2, 10]}),
        (("tracks", "rename", source, "6", "2"), {0: [0, 12], 2: [2, 10], 3: [1, 11]}),
        (("tracks", "split", source, "0", "--at", "0:01"),
         {0: [0, 4], 3: [1, 11], 6: [2, 10], 7: [4, 8]}),
        (("trim", source, "--start", "0:02", "--end", "2.5"),
         {0: [8, 2], 3: [8, 2], 6: [8, 2]}),
    ):  # fmt: skip
        ran = call(*command, "--out", out)
        assert ran.exit_code == 0, ran.output
        assert frames(hpsvid.load(out)) == expected
    assert source.read_bytes() == kept
    assert "| 6 | 0.50 | 2.75 | 10 |" in call("tracks", "list", source).stdout
    ran = call("tracks", "drop", source, "0", "--out", source)
    assert ran.exit_code == 1 and "is the input itself" in ran.stderr
    ran = call("tracks", "keep", source, "x", "--out", out)
    assert ran.exit_code == 1 and "expected numbers of people" in ran.stderr
    assert call("trim", source, "--start", "soon", "--out", out).exit_code == 2


def test_a_saved_result_is_exported_from_a_time_on(body: hpsvid.Body, tmp_path: Path) -> None:
    hpsvid.save(make_motion(body, people=1, frames=12, pts_s=np.arange(12) / 4), tmp_path / "a.npz")
    ran = call("export", tmp_path / "a.npz", "--start", 1, "--end", 2, "-o", tmp_path / "a.csv",
               "--format", "csv", "--fps", "4", "-q")  # fmt: skip
    assert ran.exit_code == 0, ran.output
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["1.0", "1.25", "1.5", "1.75"]
