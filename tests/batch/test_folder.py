"""Many clips: what is written, what is skipped, and what a bad clip or a death costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from hpsvid.batch import folder, jobs
from hpsvid.batch.folder import LOCK, holds_videos, jobs_for, run_many
from hpsvid.batch.jobs import UNFINISHED, Job, Row, failed
from hpsvid.batch.processes import run_in_processes
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.options import DrawOptions, Options
from hpsvid.video.probe import probe
from hpsvid.video.writer import VideoWriter
from tests.factories import write_walk

FRAMES = 8


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make_job(source: Path, out: Path) -> Job:
    options = Options(fast=True, threads=1)
    return Job(source=source, overlay=out, options=options, drawing=DrawOptions())


def folder_of(path: Path, *names: str) -> Path:
    """A folder of files that are called like videos."""
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"no video")
    return path


def write_clip(path: Path, pictures: np.ndarray) -> None:
    height, width = pictures.shape[1:3]
    with VideoWriter(path, width=width, height=height, fps=Fraction(30)) as writer:
        for t, rgb in enumerate(pictures):
            writer.write(rgb, t / 30)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a person, one without and one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    write_walk(folder / "walk.mp4", FRAMES)
    write_clip(folder / "blank.mp4", np.full((4, 240, 320, 3), 90, np.uint8))
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def finished(clips: Path) -> tuple[Path, Result]:
    """`hpsvid run` on them, one after the other: the folder it wrote to, and what it said.

    One thread, as a process has that shares the cores with others.
    """
    out = clips.parent / "out"
    return out, call("run", clips, "--out", out, "--fast", "--threads", 1, "--json")


def test_poison_clips_are_named_and_the_others_are_done(finished: tuple[Path, Result]) -> None:
    out, ran = finished
    assert ran.exit_code == 1
    facts = json.loads(ran.stdout)
    rows = {row["clip"]: row for row in facts["clips"]}
    assert [rows[name]["state"] for name in ("bad.mp4", "blank.mp4", "walk.mp4")] == [
        "failed", "failed", "done",
    ]  # fmt: skip
    assert rows["bad.mp4"]["reason"].startswith("cannot be read as a video")  # named once
    assert "no person" in rows["blank.mp4"]["reason"]
    assert (rows["walk.mp4"]["frames"], rows["walk.mp4"]["people"]) == (FRAMES, 1)
    assert (facts["done"], facts["failed"], facts["frames"]) == (1, 2, FRAMES)
    written = sorted(path.name for path in out.iterdir())
    assert written == ["walk_overlay.json", "walk_overlay.mp4", "walk_overlay.npz"]
    assert rows["walk.mp4"]["files"] == [str(out / name) for name in written[1:]]


def test_the_result_is_that_of_a_run_alone(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    ran = call("run", clips / "walk.mp4", "--out", tmp_path / "x.mp4", "--fast", "-q")
    assert ran.exit_code == 0, ran.output
    alone, among_many = tmp_path / "x.npz", finished[0] / "walk_overlay.npz"
    assert alone.read_bytes() == among_many.read_bytes()
    assert probe(finished[0] / "walk_overlay.mp4").frame_count == FRAMES


def test_what_is_done_is_skipped_without_a_worker(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    shutil.copy2(clips / "walk.mp4", left)
    ran = call("run", left, "--out", finished[0], "--fast")
    assert ran.exit_code == 0, ran.output
    assert "1 skipped" in ran.stderr and "done earlier" in ran.stderr


def test_done_means_this_input_with_these_options_and_whole_outputs(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    source = Path(shutil.copy2(clips / "walk.mp4", tmp_path))
    job = make_job(source, out / "walk_overlay.mp4")
    row = jobs.finished(job)
    assert row is not None and row["files"] == [str(job.overlay), str(job.result)]
    more_threads = replace(job.options, threads=7)
    assert jobs.finished(replace(job, options=more_threads)) is not None
    for changed in ({"solver": "hybrik"}, {"network": "small"}, {"smpl": tmp_path}):
        options = replace(job.options, **changed)
        assert jobs.finished(replace(job, options=options)) is None
    assert jobs.finished(replace(job, drawing=DrawOptions(alpha=0.5))) is None
    whole = job.result.read_bytes()
    job.result.write_bytes(whole[:-1])
    assert jobs.finished(job) is None
    job.result.write_bytes(whole)
    os.utime(source, (1, 1))
    assert jobs.finished(job) is None


def test_a_receipt_of_an_earlier_version_counts(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    source = Path(shutil.copy2(clips / "walk.mp4", tmp_path))
    job = make_job(source, out / "walk_overlay.mp4")
    now = json.loads(job.receipt.read_text())
    earlier = {  # as 0.1.0 wrote it
        "hpsvid_version": now["hpsvid_version"],
        "input": now["input"],
        "options": {
            "detector": "embedded", "backbone": "blazepose", "lifter": "learned",
            "solver": "niki-temporal", "weights": "hpsvid", "fast": True, "focal_px": None,
            "person": None, "max_people": None,
        },
        "overlay": {"renderer": "auto", "alpha": 0.85},
        "smpl": None,
        "row": now["row"],
        "bytes": now["bytes"],
    }  # fmt: skip
    assert earlier.keys() == now.keys() and earlier["options"].items() <= now["options"].items()
    job.receipt.write_text(json.dumps(earlier))
    assert jobs.finished(job) is not None
    assert jobs.finished(replace(job, options=replace(job.options, network="small"))) is None


def test_the_files_of_others_cost_their_clip_alone_unless_forced(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy2(clips / "walk.mp4", source / name)
    out.mkdir()
    (out / "a_overlay.npz").write_bytes(b"a user's own")
    todo = jobs_for(source, out, make_job(source, out))

    def engine(left):
        return ({"clip": job.source.name, "state": "done"} for job in left)

    rows = {row["clip"]: row for row in run_many(todo, engine)}
    assert rows["a.mp4"]["state"] == "failed" and "--force" in rows["a.mp4"]["reason"]
    assert rows["b.mp4"]["state"] == "done"
    assert {row["state"] for row in run_many(todo, engine, force=True)} == {"done"}


def test_overlays_that_hpsvid_drew_are_no_clips(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "in", "a.mp4")
    for name in ("walk_overlay.mp4", "walk_overlay.npz"):
        shutil.copy2(finished[0] / name, source)
    shutil.copy2(clips / "walk.mp4", source)
    shutil.copy2(finished[0] / "walk_overlay.npz", source / "walk.npz")  # of the clip itself
    todo = jobs_for(source, tmp_path / "out", make_job(source, tmp_path))
    assert [job.source.name for job in todo] == ["a.mp4", "walk.mp4"]
    for name in ("a.mp4", "walk.mp4"):
        (source / name).unlink()
    assert not holds_videos(source)


def test_no_two_clips_share_an_output(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", "a.mp4", "a.mov", "a.mp4.mkv", "b.mp4", "c.d.mp4")
    todo = jobs_for(source, tmp_path / "out", make_job(source, tmp_path))
    assert len({job.overlay for job in todo} | {job.result for job in todo}) == 2 * len(todo)
    names = {job.source.name: job.overlay.name for job in todo}
    assert names["b.mp4"] == "b_overlay.mp4" and names["c.d.mp4"] == "c.d_overlay.mp4"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{in}", "--out", "{in}"), "input itself"),
        (("{in}", "--out", "{tmp}/x.mp4"), "folder"),
        (("{in}", "--out", "{in}/a.mp4"), "folder"),
        (("{in}/a.mp4", "--jobs", "2"), "--jobs"),
        (("{in}/a.mp4", "--again"), "--again"),
        (("{in}", "--out", "{tmp}/taken"), "another hpsvid"),
    ],
)
def test_bad_use_is_one_line_and_nothing_written(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    folder_of(tmp_path / "in", "a.mp4")
    (tmp_path / "taken").mkdir()
    with FileLock(tmp_path / "taken" / LOCK):
        before = sorted(tmp_path.rglob("*"))
        places = {"in": tmp_path / "in", "tmp": tmp_path}
        ran = call("run", *(argument.format(**places) for argument in arguments))
        assert ran.exit_code == 1
        assert ran.stderr.startswith("hpsvid: ") and ran.stderr.count("\n") == 1
        assert says in ran.stderr
        assert sorted(tmp_path.rglob("*")) == before


# ---- what the processes do when one of them dies; the work is a stand-in


def die_at_b(job: Job) -> Row:
    """Done; but the process that does b.mp4 is killed, as when memory runs out."""
    if job.source.name == "b.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    return done(job)


def done(job: Job) -> Row:
    row = {"clip": job.source.name, "state": "done", "frames": 1, "people": 1, "fps": 1.0}
    return {**row, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def encode_for_ever(job: Job) -> Row:
    """Begin a video, say who does it, and never end."""
    path = job.overlay.parent / UNFINISHED / f"{job.source.stem}.mp4"
    with VideoWriter(path, width=64, height=64, fps=Fraction(30)) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8), 0.0)
        note = job.source.with_suffix(".note")
        note.write_text(f"{os.getpid()} {writer._process.pid}")
        note.rename(job.source.with_suffix(".pids"))
        time.sleep(600)
    raise AssertionError


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_process_that_dies_costs_its_clip_alone(tmp_path: Path, at_once: int) -> None:
    source = folder_of(tmp_path / "in", *(f"{name}.mp4" for name in "abcd"))
    todo = jobs_for(source, tmp_path / "out", make_job(source, tmp_path))
    rows = list(run_in_processes(todo, die_at_b, at_once=at_once, threads=3))
    assert sorted(row["clip"] for row in rows) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    failed = [row for row in rows if row["state"] == "failed"]
    assert [row["clip"] for row in failed] == ["b.mp4"]
    assert "SIGKILL" in failed[0]["reason"]
    others = [row for row in rows if row["state"] == "done"]
    assert {row["threads"] for row in others} == {"3"}
    assert os.getpid() not in {row["pid"] for row in others}


def test_an_earlier_row_is_kept_unless_asked_again(
    clips: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy2(clips / "walk.mp4", source)
    todo = jobs_for(source, out, make_job(source, out))

    def engine(left):
        return (failed(job, "asked") for job in left)

    assert [row["state"] for row in run_many(todo, engine)] == ["skipped"]
    rows = list(run_many(todo, engine, again=True))
    assert [(row["state"], row["reason"]) for row in rows] == [("failed", "asked")]


def test_an_interrupt_ends_workers_and_encoders_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "in", "a.mp4", "b.mp4")
    notes = [source / "a.pids", source / "b.pids"]
    monkeypatch.setattr(folder, "work", encode_for_ever)
    begun: list[bool] = []
    # a shell starts jobs in the background with SIGINT ignored, and then no interrupt comes
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt_when_begun() -> None:
        begun.append(comes_true(lambda: all(note.exists() for note in notes), 60))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_begun).start()
    try:
        ran = call("run", source, "--out", tmp_path / "out", "--jobs", 2)
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert begun == [True]
    assert ran.exit_code == 130
    assert "0 of 2 clips are done" in ran.stderr
    pids = [int(pid) for note in notes for pid in note.read_text().split()]
    assert len(pids) == 4
    assert comes_true(lambda: not any(map(is_running, pids)), 20)
    assert not (tmp_path / "out").exists()


def test_what_an_ending_encoder_writes_late_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder_of(tmp_path / "in", "a.mp4")
    todo = jobs_for(source, tmp_path / "out", make_job(source, tmp_path))
    removes, late = shutil.rmtree, []

    def remove(path: Path, *, ignore_errors: bool) -> None:
        removes(path, ignore_errors=ignore_errors)
        if todo[0].receipt.exists() and not late:
            path.mkdir()
            late.append(path / "late.mp4")
            late[0].touch()

    monkeypatch.setattr(shutil, "rmtree", remove)

    def engine(jobs: Sequence[Job]) -> Generator[Row]:
        for job in jobs:
            job.receipt.touch()
            yield failed(job, "nothing was tried")

    list(run_many(todo, engine))
    assert len(late) == 1
    assert not late[0].parent.exists()


def comes_true(fact: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_folder_of_pictures_is_one_clip(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    assert not holds_videos(tmp_path)
    with pytest.raises(InputError, match="without videos"):
        jobs_for(tmp_path, tmp_path / "out", make_job(tmp_path, tmp_path))


def test_no_worker_imports_from_the_current_folder(tmp_path: Path) -> None:
    """A folder may hold anything, also files that are called like modules of Python."""
    here = folder_of(tmp_path / "here", "a.mp4")
    for name in ("types", "signal", "json", "multiprocessing", "queue", "hpsvid"):
        (here / f"{name}.py").write_text(
            f"from pathlib import Path\nPath('imported_{name}').touch()\nraise SystemExit(1)\n"
        )
    script = Path(sys.executable).with_name("hpsvid")  # as installed: not the current folder's
    code = "from hpsvid.cli import main; main()"
    command = [str(script)] if script.exists() else [sys.executable, "-P", "-c", code]
    ran = subprocess.run(
        [*command, "run", ".", "--out", "../out", "--jobs", "2"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "a.mp4: failed: cannot be read as a video" in ran.stderr
    assert not list(here.glob("imported_*"))
