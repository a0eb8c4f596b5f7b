"""A folder of clips: their names, which are done already, who does the others, one summary."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hpsvid.batch.jobs import UNFINISHED, Job, Row, failed, finished, has_receipt, work
from hpsvid.batch.processes import run_in_processes
from hpsvid.batch.ray_cluster import CPUS_A_CLIP, run_on_ray
from hpsvid.common.files import check_folder, try_lock
from hpsvid.common.tables import Column, Table
from hpsvid.common.threads import usable_cores
from hpsvid.errors import InputError, one_line
from hpsvid.formats.ownership import refuse_foreign
from hpsvid.options import BatchOptions
from hpsvid.video.containers import VIDEO_SUFFIXES
from hpsvid.video.probe import clips_in

LOCK = ".hpsvid.lock"  # file in the folder of outputs while a run writes there
ENCODERS_END_S = 5.0  # how long they may take to see that nobody feeds them any more

Engine = Callable[[Sequence[Job]], Generator[Row]]


def holds_videos(path: Path) -> bool:
    """Whether the path is a folder of videos; a folder of pictures alone is one clip."""
    with suppress(InputError):
        return bool(clips_in(path))
    return False


def jobs_for(folder: Path, out: Path, common: Job) -> list[Job]:
    """A job for each video of `folder`, like `common` but for its source and outputs.

    Outputs are called STEM_overlay; where two outputs would meet, NAME_overlay.
    Raises InputError when there is no video or `out` cannot hold the outputs.
    """
    clips = clips_in(folder)
    check_folder(out)
    if out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir():
        raise InputError(f"{out}: many clips go into a folder; name one without {out.suffix}")
    if out.exists() and out.samefile(folder):
        raise InputError(f"{out}: is the input itself; overlays would be taken for clips next time")
    names = {path.name for path in clips}
    stems = Counter(path.stem for path in clips)
    jobs = []
    for path in clips:
        alone = stems[path.stem] == 1 and path.stem not in names
        label = path.stem if alone else path.name
        jobs.append(replace(common, source=path, overlay=out / f"{label}_overlay.mp4"))
    return jobs


def plan(common: Job, batch: BatchOptions) -> tuple[list[Job], Engine]:
    """A job for each video of the folder `common.source`, and the engine that does them.

    common: its overlay is the folder of outputs. Raises InputError when there is no video or the
    outputs cannot be written, WeightsError when the SMPL file is missing.
    """
    options = common.options
    if batch.engine == "ray":  # whose workers have a current folder of their own
        folder, out = common.source.absolute(), common.overlay.absolute()
        threads = options.threads or CPUS_A_CLIP
        address = batch.address or os.environ.get("RAY_ADDRESS", "auto")
        engine = partial(
            run_on_ray, work=work, address=address, at_once=batch.jobs, threads=threads
        )
    else:
        folder, out = common.source, common.overlay
        at_once = batch.jobs or 1
        threads = options.threads or max(1, usable_cores() // at_once)
        engine = partial(run_in_processes, work=work, at_once=at_once, threads=threads)
    options = replace(options, threads=threads, smpl=_absolute_smpl(options.smpl))
    return jobs_for(folder, out, replace(common, options=options)), engine


def _absolute_smpl(given: Path | None) -> Path | None:
    """The SMPL file that a worker with another current folder finds, too; None: the free body."""
    if given is None and not os.environ.get("HPSVID_SMPL"):
        return None
    from hpsvid.body.smpl import find_smpl  # imports torch

    return (find_smpl(given) or Path()).absolute()


def run_many(
    jobs: Sequence[Job], engine: Engine, *, again: bool = False, force: bool = False
) -> Generator[Row]:
    """The rows of all jobs; first those done earlier, as skipped, then the others as they come.

    again: do all of them. force: overwrite files that hpsvid did not write; otherwise clips whose
    outputs have such names fail, before any work. Outputs of one folder only. Raises InputError
    when another run writes there, and what the engine raises.
    """
    with _claimed(jobs[0].overlay.parent):
        left = []
        for job in jobs:
            if not again and (row := finished(job)):
                yield {**row, "state": "skipped", "reason": "done earlier"}
                continue
            try:
                if not has_receipt(job):
                    refuse_foreign((job.overlay, job.result), force=force)
            except InputError as error:
                yield failed(job, one_line(error))
                continue
            if again:
                job.receipt.unlink(missing_ok=True)
            left.append(job)
        if left:
            with closing(engine(left)) as rows:
                yield from rows


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """The folder of outputs for this process alone, with room for unfinished ones."""
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = try_lock(out / LOCK)
    if lock is None:
        raise InputError(
            f"{out}: another hpsvid is writing there; wait until it ends, or choose another "
            "folder with --out"
        )
    try:
        unfinished = out / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)  # what a run that was killed left
        unfinished.mkdir(exist_ok=True)
        try:
            yield
        finally:
            _remove(unfinished)
    finally:
        if lock.is_locked:
            with suppress(OSError):  # Windows removes it at the release
                (out / LOCK).unlink()
        lock.release()
        if made:
            with suppress(OSError):  # it holds something
                out.rmdir()


def _remove(folder: Path) -> None:
    """Remove a folder in which the encoders of processes that were killed may still be ending."""
    until = time.monotonic() + ENCODERS_END_S
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.05)


def line(row: Row) -> str:
    """A row in a few words, for the terminal while the others run."""
    if row["state"] == "failed":
        return f"{row['clip']}: failed: {row['reason']}"
    people = "1 person" if row["people"] == 1 else f"{row['people']} people"
    what = f"{row['clip']}: {row['frames']} frames, {people}"
    return f"{what}, {row['fps']:.1f} fps" if row["state"] == "done" else f"{what}, {row['reason']}"


def summarise(jobs: Sequence[Job], rows: Sequence[Row], started: float) -> dict[str, Any]:
    """All rows in the clips' order, and what they sum up to; started: of time.perf_counter."""
    order = {job.source.name: place for place, job in enumerate(jobs)}
    seconds = time.perf_counter() - started
    frames = sum(row["frames"] for row in rows if row["state"] == "done")
    states = Counter(row["state"] for row in rows)
    return {
        "clips": sorted(rows, key=lambda row: order[row["clip"]]),
        **{state: states[state] for state in ("done", "skipped", "failed")},
        "frames": frames,
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 2),
    }


def show(facts: dict[str, Any], out: Path) -> None:
    """Print the summary as a table on stderr."""
    from rich.console import Console

    keys = ("clip", "state", "frames", "people", "fps", "reason")
    columns = [
        Column(key, align="left" if key in ("clip", "state", "reason") else "right") for key in keys
    ]
    values = ([row.get(key) for key in keys] for row in facts["clips"])
    rows = [["" if value is None else value for value in row] for row in values]
    console = Console(stderr=True)
    console.print(Table(columns, rows).rich())
    counts = ", ".join(f"{facts[state]} {state}" for state in ("done", "skipped", "failed"))
    summary = f"{out}: {counts}; {facts['frames']} frames at {facts['fps']:.1f} fps in all"
    console.print(summary, markup=False, highlight=False, soft_wrap=True)
