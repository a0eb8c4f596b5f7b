"""Runs that end before they are done: signals, full disks, folders that vanish.

Each is one line and an exit code, nothing half-written, and the same command goes on from there.
"""

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpsvid import cli
from hpsvid.cli import app
from hpsvid.pipeline import store
from hpsvid.video.probe import probe
from tests.factories import write_walk

FRAMES = 10
Deed = Callable[[], None]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walk(tmp_path_factory.mktemp("clip") / "walk.mp4", FRAMES)


@pytest.fixture
def clip(walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip of the test's own, in a folder of its own."""
    monkeypatch.setattr(store, "EVERY_S", 0.0)
    (tmp_path / "in").mkdir()
    return Path(shutil.copy2(walk, tmp_path / "in"))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Deed], None]:
    """Does something once, when a stage has done its first frames."""

    def arrange(stage: str, deed: Deed) -> None:
        left = [deed]

        @contextmanager
        def bars(shown: bool) -> Iterator[Callable[[str, int, int | None], None]]:
            def progress(now: str, done: int, total: int | None) -> None:
                if now == stage and left:
                    left.pop()()

            yield progress

        for command in ("run", "export"):
            monkeypatch.setattr(f"hpsvid.cli.{command}.progress_bars", bars)

    return arrange


def command(way: str, clip: Path, *options: str) -> tuple[object, ...]:
    out = clip.parent.parent / "out"
    arguments = {
        "run": ("run", clip, "--out", out / "a.mp4"),
        "export": ("export", clip, "--out", out, "--format", "npz"),
    }[way]
    return (*arguments, "--fast", "--network", "small", *options)


def check_ending(ran: Result, code: int, *says: str) -> None:
    assert ran.exit_code == code, ran.output
    assert ran.stderr.startswith("hpsvid: ") and ran.stderr.count("\n") == 1
    assert all(text in ran.stderr for text in says), ran.stderr
    assert not ran.stdout
    assert ".part:" not in ran.stderr  # the names of unfinished files mean nothing to users


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


STORES = {"run": [".a.mp4.hpsvid"], "export": [".walk.hpsvid"]}


@pytest.mark.parametrize(
    ("number", "way", "stage"),
    [
        (signal.SIGTERM, "run", "render"),
        (signal.SIGTERM, "export", "read landmarks"),
        (signal.SIGHUP, "run", "find people"),
        (signal.SIGINT, "export", "find people"),
    ],
)
def test_a_signal_ends_a_run_with_one_line_and_keeps_its_store(
    clip: Path, at: Callable[[str, Deed], None], number: signal.Signals, way: str, stage: str
) -> None:
    handler = signal.default_int_handler if number == signal.SIGINT else cli._end
    earlier = signal.signal(number, handler)
    try:
        at(stage, lambda: os.kill(os.getpid(), number))
        ran = call(*command(way, clip))
    finally:
        signal.signal(number, earlier)
    what = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    check_ending(ran, 128 + number, f"{what}; nothing was written; the same command goes on")
    out = clip.parent.parent / "out"
    assert left(out) == STORES[way]
    assert call(*command(way, clip, "-q")).exit_code == 0
    assert left(out) == (["a.mp4", "a.npz"] if way == "run" else ["walk.npz"])


def test_an_input_that_vanishes_keeps_the_store(
    clip: Path, at: Callable[[str, Deed], None]
) -> None:
    away = clip.parent.with_name("away")
    at("find people", lambda: clip.parent.rename(away) and None)
    check_ending(call(*command("run", clip)), 1, "walk.mp4: no such file")
    assert left(clip.parent.parent / "out") == STORES["run"]
    away.rename(clip.parent)
    ran = call(*command("run", clip))
    assert ran.exit_code == 0 and "went on" in ran.stderr
    assert left(clip.parent.parent / "out") == ["a.mp4", "a.npz"]


@pytest.mark.parametrize("options", [(), ("--no-resume",)])
@pytest.mark.parametrize(
    ("way", "stage"), [("run", "read landmarks"), ("run", "render"), ("export", "read landmarks")]
)
def test_an_output_folder_that_vanishes_is_one_line(
    clip: Path, at: Callable[[str, Deed], None], way: str, stage: str, options: tuple[str, ...]
) -> None:
    out = clip.parent.parent / "out"
    out.mkdir()
    at(stage, lambda: shutil.rmtree(out))
    ran = call(*command(way, clip, *options))
    if ran.exit_code == 0:  # it was made again in time, as a folder that was not there is
        assert "--no-resume" in options and stage == "read landmarks"
        assert left(out) == (["a.mp4", "a.npz"] if way == "run" else ["walk.npz"])
        return
    check_ending(ran, 1, str(out), "No such file or directory")
    assert not out.exists()


@pytest.mark.parametrize(
    ("way", "most_bytes", "options", "says"),
    [
        ("run", 2_000, (), "--no-resume"),  # the store
        ("run", 2_000, ("--no-resume",), "a.npz"),  # the result
        ("run", 40_000, ("--no-resume",), "free disk space"),  # the overlay, by the encoder
        ("export", 2_000, ("--no-resume",), "walk.npz"),
    ],
)
def test_a_full_disk_is_one_line_and_nothing_half_written(
    clip: Path,
    at: Callable[[str, Deed], None],
    way: str,
    most_bytes: int,
    options: tuple[str, ...],
    says: str,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        at(
            "read landmarks",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1])),
        )
        ran = call(*command(way, clip, *options))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_ending(ran, 1, says)
    out = clip.parent.parent / "out"
    assert left(out) == ([] if options else STORES[way])
    assert call(*command(way, clip, "-q")).exit_code == 0
    assert left(out) == (["a.mp4", "a.npz"] if way == "run" else ["walk.npz"])
    if way == "run":
        assert probe(out / "a.mp4").frame_count == FRAMES
