"""The resume store: what a run that was cut off leaves, and who may use it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from hpsvid.backbone.blazepose import BlazePose
from hpsvid.batch.jobs import Job, perform
from hpsvid.body.model import Body
from hpsvid.common.files import read_npz, write_npz
from hpsvid.errors import InputError, NoPersonError
from hpsvid.options import DrawOptions, Options
from hpsvid.pipeline import store as store_module
from hpsvid.pipeline.answers import Answers, mark
from hpsvid.pipeline.stages import silent
from hpsvid.pipeline.store import KEY_FILE, LOCK_FILE, Store, opened_store, store_folder
from hpsvid.tracking.nanodet import NanoDet
from hpsvid.types import Array
from hpsvid.video.egomotion import Steps
from tests.factories import make_motion, write_walk

FRAMES = 12
STAGES = ("find people", "read landmarks", "render")
KEY = {"clip": "a"}
STEPS = Steps(
    key=np.zeros(3, np.int64), homography=np.tile(np.eye(3), (3, 1, 1)), scale=0.5, width=640,
    height=360, segments=np.ones((2, 4)), segment_frame=np.zeros(2, np.int64),
    flow_frames=np.array([[0, 2]]), flow=np.ones((1, 5, 4), np.int16),
)  # fmt: skip


class Killed(BaseException):
    """What ends a run in these tests; not even `finally` blocks of a killed process run."""


@pytest.fixture(autouse=True)
def _store_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "EVERY_S", 0.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_walk(tmp_path_factory.mktemp("clip") / "walk.mp4", FRAMES)


def job_for(clip: Path, folder: Path, **options: object) -> Job:
    chosen = Options(fast=True, network="small", threads=1, **options)  # pyright: ignore
    return Job(source=clip, overlay=folder / "out.mp4", options=chosen, drawing=DrawOptions())


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """How often the networks are asked in the block."""
    counts = {"detector": 0, "landmarks": 0}

    def count(patch: pytest.MonkeyPatch, kind: type, name: str, what: str) -> None:
        inner = getattr(kind, name)

        def wrapper(self: object, *arguments: object) -> object:
            counts[what] += 1
            return inner(self, *arguments)

        patch.setattr(kind, name, wrapper)

    with pytest.MonkeyPatch.context() as patch:
        count(patch, NanoDet, "_detect", "detector")
        count(patch, BlazePose, "_answer", "landmarks")
        yield counts


@dataclass(frozen=True)
class Undisturbed:
    """A run that keeps nothing: the bytes of overlay and result, how often networks were asked."""

    outputs: tuple[bytes, bytes]
    asked: dict[str, int]


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    job = replace(job_for(clip, tmp_path_factory.mktemp("whole")), resume=False)
    with counted() as asked:
        perform(job, silent)
    assert sorted(path.name for path in job.overlay.parent.iterdir()) == ["out.mp4", "out.npz"]
    return Undisturbed(outputs(job), asked)


@pytest.fixture
def asked() -> Iterator[dict[str, int]]:
    with counted() as counts:
        yield counts


def cut_off(job: Job, stage: str, after: int = 0) -> None:
    """Perform the job until `stage` has done more than `after` frames."""

    def progress(now: str, done: int, total: int | None) -> None:
        if now == stage and done > after:
            raise Killed

    with pytest.raises(Killed):
        perform(job, progress)


def outputs(job: Job) -> tuple[bytes, bytes]:
    return job.overlay.read_bytes(), job.result.read_bytes()


@pytest.mark.parametrize(
    ("stage", "after"),
    [("find people", 0), ("find people", 8), ("read landmarks", 0), ("render", 0)],
)
def test_a_run_that_was_cut_off_goes_on_and_gives_the_same_bytes(
    clip: Path,
    undisturbed: Undisturbed,
    asked: dict[str, int],
    tmp_path: Path,
    stage: str,
    after: int,
) -> None:
    job = job_for(clip, tmp_path)
    cut_off(job, stage, after)
    assert [path.name for path in tmp_path.iterdir()] == [".out.mp4.hpsvid"]
    first = dict(asked)
    facts = perform(job, silent)
    assert outputs(job) == undisturbed.outputs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.npz"]
    assert "went on" in facts["notes"][-1]
    assert asked == undisturbed.asked  # in both together: nothing was asked twice
    assert (asked["detector"] == first["detector"]) == (stage != "find people" or after > 0)
    assert (asked["landmarks"] == first["landmarks"]) == (stage == "render")


def test_other_options_or_another_clip_begin_afresh(
    clip: Path, asked: dict[str, int], tmp_path: Path
) -> None:
    own = tmp_path / "walk.mp4"
    own.write_bytes(clip.read_bytes())
    job = job_for(own, tmp_path / "out")
    cut_off(replace(job, options=replace(job.options, focal_px=900.0)), "read landmarks")
    first = asked["detector"]
    cut_off(job, "read landmarks")
    assert asked["detector"] == 2 * first
    os.utime(own, (1, 1))
    cut_off(job, "read landmarks")
    assert asked["detector"] == 3 * first
    cut_off(job, "read landmarks")
    assert asked["detector"] == 3 * first


def test_without_resume_nothing_is_kept_and_an_earlier_store_goes(
    clip: Path, asked: dict[str, int], tmp_path: Path
) -> None:
    job = job_for(clip, tmp_path)
    cut_off(job, "find people")
    first = asked["detector"]
    cut_off(replace(job, resume=False), "find people")
    assert not list(tmp_path.iterdir())
    assert asked["detector"] == 2 * first > 0


def test_a_short_run_leaves_no_store(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "EVERY_S", 600.0)
    cut_off(job_for(clip, tmp_path), "read landmarks")
    assert not list(tmp_path.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def blot(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes(9) + whole[69:])


def put_others(path: Path) -> None:
    write_npz(path, {"0/boxes": np.zeros(3), "marks": np.zeros(2)})


@pytest.mark.parametrize("damage", [cut, blot, put_others, Path.unlink])
def test_damaged_files_are_made_again(
    body: Body, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    motion = make_motion(body, people=1)
    (person,) = motion.people
    made: list[str] = []

    def make(what: str, value: object) -> Callable[[], Any]:
        return lambda: made.append(what) or value

    def go_through() -> None:
        store = Store(tmp_path / "s", every_s=0.0)
        store.open(KEY)
        tracks, _, steps = store.tracks(make("tracks", ([person.track], motion.pts_s, STEPS)))
        assert np.array_equal(tracks[0].boxes, person.track.boxes)
        assert (steps.scale, steps.width) == (0.5, 640)
        assert np.array_equal(steps.homography, STEPS.homography)
        found = store.person(motion.clip, motion.pts_s, motion.camera, 0, make("person", person))
        assert np.array_equal(found.joints, person.joints)
        (answer,) = Answers(store, "looks")([5], make("looks", [(np.arange(3.0),)]))
        assert answer[0].tolist() == [0, 1, 2]
        store.close()

    go_through()
    go_through()
    assert made == ["tracks", "person", "looks"]
    for path in (tmp_path / "s").glob("*.npz"):
        damage(path)
    go_through()
    assert made == 2 * ["tracks", "person", "looks"]


def foreign_file(folder: Path) -> None:
    folder.write_bytes(b"mine")


def foreign_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "tracks.npz").write_bytes(b"mine")


def foreign_key(folder: Path) -> None:
    folder.mkdir()
    (folder / KEY_FILE).write_text(json.dumps({"kind": "my own", "key": {}}))


def foreign_link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / KEY_FILE).write_text(json.dumps({"kind": store_module.KIND, "key": {}}))
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("make", [foreign_file, foreign_folder, foreign_key, foreign_link])
def test_what_hpsvid_did_not_write_is_neither_used_nor_touched(
    tmp_path: Path, make: Callable[[Path], None], resume: bool
) -> None:
    folder = store_folder(tmp_path / "out.mp4")
    make(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with opened_store(tmp_path / "out.mp4", resume=resume) as store:
        store.open(KEY)
        assert store.tracks(lambda: ([], np.zeros(3), STEPS))[1].shape == (3,)
        assert store.folder is None
        assert not resume or "not a resume store of hpsvid" in store.notes[0]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before and os.path.lexists(folder)


def test_files_that_are_not_the_stores_stay_when_it_goes(tmp_path: Path) -> None:
    with opened_store(tmp_path / "out.mp4", resume=True) as store:
        store.open(KEY)
        store.tracks(lambda: ([], np.zeros(3), STEPS))
        folder = store_folder(tmp_path / "out.mp4")
        (folder / "mine.txt").write_text("mine")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_store_in_use_is_left_to_its_user(tmp_path: Path) -> None:
    folder = store_folder(tmp_path / "out.mp4")
    first = Store(folder)
    first.open(KEY)
    first.tracks(lambda: ([], np.zeros(3), STEPS))
    held = sorted(folder.iterdir())
    second = Store(folder)
    second.open(KEY)
    assert "in use" in second.notes[0]
    assert second.tracks(lambda: ([], np.ones(2), STEPS))[1].tolist() == [1, 1]
    second.remove()
    assert sorted(folder.iterdir()) == held
    first.close()
    third = Store(folder)
    third.open(KEY)
    assert third.tracks(lambda: ([], np.ones(2), STEPS))[1].tolist() == [0, 0, 0]
    third.remove()
    assert not folder.exists()


def test_a_store_that_cannot_be_written_is_one_line_and_stays(tmp_path: Path) -> None:
    folder = store_folder(tmp_path / "out" / "out.mp4")
    store = Store(folder)
    store.open(KEY)
    store.tracks(lambda: ([], np.zeros(3), STEPS))
    folder.parent.rename(tmp_path / "away")
    with pytest.raises(InputError, match="--no-resume"):
        store.observations(0, list)
    (tmp_path / "away").rename(folder.parent)
    store.close()
    again = Store(folder)
    again.open(KEY)
    assert again.tracks(lambda: ([], np.ones(2), STEPS))[1].tolist() == [0, 0, 0]


def test_nobody_in_the_clip_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(NoPersonError), opened_store(tmp_path / "out.mp4", resume=True) as store:
        store.open(KEY)
        store.tracks(lambda: ([], np.zeros(3), STEPS))
        raise NoPersonError("nobody")
    assert not list(tmp_path.iterdir())


# ---- answers


def network(asked: list[int]) -> Callable[[int], tuple[Array, ...]]:
    """Answers of some rows, which say what they are about."""

    def ask(about: int) -> tuple[Array, ...]:
        asked.append(about)
        return np.full((about % 3, 2), about, np.float32), np.full(about % 3, about)

    return ask


@contextmanager
def kept(folder: Path) -> Iterator[Store]:
    store = Store(folder, every_s=0.0)
    store.open(KEY)
    yield store
    store.close()


def run_through(store: Store, marks: list[list[int]]) -> tuple[list[int], list[Array]]:
    """Ask about all the marks: those that reached the network, and the answers."""
    asked: list[int] = []
    ask = network(asked)
    answers = Answers(store, "looks")
    told = [
        answer
        for call in marks
        for answer in answers(call, lambda call=call: [ask(about) for about in call])
    ]
    return asked, [answer[0] for answer in told]


def test_answers_are_replayed_until_the_questions_differ(tmp_path: Path) -> None:
    marks = [[1, 2], [], [3], [4, 5, 6], [7]]
    with kept(tmp_path / "s") as store:
        asked, first = run_through(store, marks)
    assert asked == [1, 2, 3, 4, 5, 6, 7]
    with kept(tmp_path / "s") as store:
        asked, second = run_through(store, [*marks, [8]])
    assert asked == [8]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=False))
    assert [answer.dtype for answer in second] == [np.float32] * 8
    with kept(tmp_path / "s") as store:
        asked, third = run_through(store, [[1, 2], [3], [4, 5, 9], [7], [8]])
    assert asked == [4, 5, 9, 7, 8]
    with kept(tmp_path / "s") as store:
        asked, fourth = run_through(store, [[1, 2], [3], [4, 5, 9], [7], [8]])
    assert asked == [] and all(map(np.array_equal, third, fourth))


def test_answers_after_a_lost_part_are_asked_for_again(tmp_path: Path) -> None:
    marks = [[1], [2], [4], [5]]
    with kept(tmp_path / "s") as store:
        run_through(store, marks)
    (tmp_path / "s" / "looks_000001.npz").unlink()
    with kept(tmp_path / "s") as store:
        asked, answers = run_through(store, marks)
    assert asked == [2, 4, 5]
    assert [int(answer[0, 0]) for answer in answers] == [1, 2, 4, 5]


def test_pictures_have_marks_of_their_own() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (50, 64, 64, 3), np.uint8)
    assert len({mark(picture) for picture in pictures}) == 50


def test_the_lock_is_the_last_file_to_go(tmp_path: Path) -> None:
    with kept(tmp_path / "s") as store:
        store.tracks(lambda: ([], np.zeros(3), STEPS))
        with pytest.raises(TimeoutError):
            FileLock(tmp_path / "s" / LOCK_FILE, timeout=0).acquire()
        assert read_npz(tmp_path / "s" / "tracks.npz", "tracks")["pts_s"].shape == (3,)
        store.remove()
    assert not list(tmp_path.iterdir())
