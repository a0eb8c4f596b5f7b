"""One clip's run as a job that any process on any machine can do, and that is done only once.

A single `hpsvid run` calls `perform`. Of many clips each is a call of `work`, whoever makes it:
the outputs grow in a hidden folder beside their place and are renamed into it; the last is a
receipt, which says what they were made from. Nothing heavy is imported at the top: whoever only
hands out jobs needs none of it.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hpsvid
from hpsvid.common.files import read_json, staged
from hpsvid.errors import HpsvidError, InputError, one_line, reason
from hpsvid.options import DrawOptions, Options

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import Progress


Row = dict[str, Any]
"""What became of a clip, as plain values: clip, state (done, skipped, failed), reason, figures."""

Work = Callable[["Job"], Row]

UNFINISHED = ".unfinished"  # folder beside the outputs, where they grow


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One clip, what to do with it and where the outputs go."""

    source: Path
    overlay: Path  # video or picture; the result .npz lies beside it
    options: Options
    drawing: DrawOptions
    resume: bool = True  # go on where a run that was killed has been, and keep what that takes
    store_at: Path | None = None  # the output beside which that is kept; None: `overlay`

    @property
    def result(self) -> Path:
        """Where the motion goes."""
        return self.overlay.with_suffix(".npz")

    @property
    def receipt(self) -> Path:
        """Where it is said what the outputs were made from; only of many clips."""
        return self.overlay.with_suffix(".json")


def perform(job: Job, progress: "Progress", *, force: bool = False) -> Row:
    """Make the motion and its overlay, both or neither; what `summary.summarise` says of them.

    When it is killed or fails, its resume store stays, and the next call goes on from there.
    force: overwrite files that hpsvid did not write.
    Raises what probing, making and drawing a motion raise: HpsvidError, OSError, MemoryError.
    """
    from hpsvid.video.probe import open_clip

    # a clip that cannot be read is known before torch is loaded
    clip = open_clip(job.source, job.options)
    from hpsvid.body.smpl import load_chosen_body
    from hpsvid.formats.npz import write_motion
    from hpsvid.formats.ownership import refuse_foreign
    from hpsvid.pipeline.make import make_motion
    from hpsvid.pipeline.pictures import check_pictures, write_pictures
    from hpsvid.pipeline.stages import StageClock
    from hpsvid.pipeline.store import opened_store
    from hpsvid.pipeline.summary import summarise
    from hpsvid.render import load_renderer
    from hpsvid.video.writer import check_output

    check_output(job.overlay, clip)
    check_pictures(job.overlay, clip, job.drawing, force=force)
    if job.result.is_dir():
        raise InputError(f"{job.result}: is a folder; the result goes there: name another file")
    refuse_foreign((job.result,), force=force)
    renderer = load_renderer(job.drawing.renderer, job.options.threads)
    clock = StageClock(progress)
    body = load_chosen_body(job.options.smpl)
    with opened_store(job.store_at or job.overlay, resume=job.resume) as store:
        motion = make_motion(clip, body, job.options, clock, store)
        job.overlay.parent.mkdir(parents=True, exist_ok=True)
        with staged(job.result) as unseen:  # both files appear, or neither
            write_motion(motion, unseen)
            write_pictures(motion, body, job.overlay, renderer, job.drawing, clock)
    return summarise(motion, clock, [job.overlay, job.result], store.notes)


def work(job: Job) -> Row:
    """Do the job unless its receipt says that it is done; its row, of a failure too.

    Never raises for what a clip can be the cause of. The folder UNFINISHED must be there.
    """
    start = time.perf_counter()
    try:
        if row := finished(job):
            return row
        unfinished = job.overlay.parent / UNFINISHED
        if not unfinished.is_dir():
            raise InputError(
                f"{unfinished}: no such folder on {platform.node()}; input and output must lie "
                "where every machine of the cluster finds them under the same path"
            )
        origin = _origin(job)
        with tempfile.TemporaryDirectory(dir=unfinished) as private:
            made = replace(job, overlay=Path(private) / job.overlay.name, store_at=job.overlay)
            facts = perform(made, lambda stage, frames, total: None)
            seconds = time.perf_counter() - start
            row = {
                "clip": job.source.name,
                "state": "done",
                "frames": facts["frames"],
                "people": len(facts["people"]),
                "seconds": round(seconds, 3),
                "fps": round(facts["frames"] / seconds, 2),
                "files": [str(job.overlay), str(job.result)],
            }
            _commit(job, made, {**origin, "row": row})
        return row
    except (HpsvidError, OSError) as error:
        return failed(job, reason(error, job.source))
    except Exception as error:  # one clip's bug, or memory's end, must not end the others
        return failed(job, f"{type(error).__name__}: {one_line(error)}")


def failed(job: Job, reason: str) -> Row:
    """The row of a clip that came to nothing."""
    return {"clip": job.source.name, "state": "failed", "reason": reason}


def finished(job: Job) -> Row | None:
    """The row that the receipt keeps; None unless it and the outputs belong to this very job."""
    with suppress(Exception):  # a receipt that says anything else than ours is none
        receipt = read_json(job.receipt)
        origin = _origin(job)
        # receipts of earlier versions lack the options that came later
        receipt["options"] = {**_solving(Options()), **receipt["options"]}
        receipt["overlay"] = {**asdict(DrawOptions()), **receipt["overlay"]}
        if {key: receipt[key] for key in origin} == origin and receipt["bytes"] == _sizes(job):
            return {**_checked(receipt["row"], job), "files": [str(job.overlay), str(job.result)]}
    return None


def _checked(row: Row, job: Job) -> Row:
    """A receipt's row; ValueError or others unless it is one that `work` makes."""
    figures = [float(row[key]) for key in ("frames", "people", "seconds", "fps")]
    if row["clip"] != job.source.name or row["state"] != "done" or not all(map(isfinite, figures)):
        raise ValueError("no row of this job")
    return {key: value for key, value in row.items() if isinstance(value, str | int | float)}


def has_receipt(job: Job) -> bool:
    """Whether the outputs there are those of a receipt, of whatever input and options."""
    with suppress(Exception):  # as above
        return read_json(job.receipt)["bytes"] == _sizes(job)
    return False


def _origin(job: Job) -> dict[str, Any]:
    """What the outputs depend on, as JSON has it; the number of threads changes nothing."""
    facts = job.source.stat()
    return {
        "hpsvid_version": hpsvid.__version__,
        "input": {"name": job.source.name, "bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns},
        "options": _solving(job.options),
        "overlay": asdict(job.drawing),
        "smpl": None if job.options.smpl is None else os.fspath(job.options.smpl),
    }


def _solving(options: Options) -> dict[str, Any]:
    """The options that change the motion, but for the body."""
    return {k: value for k, value in asdict(options).items() if k not in ("threads", "smpl")}


def _sizes(job: Job) -> list[int]:
    return [job.overlay.stat().st_size, job.result.stat().st_size]


def _commit(job: Job, made: Job, receipt: dict[str, Any]) -> None:
    """Put the outputs into their place, the receipt last."""
    text = json.dumps({**receipt, "bytes": _sizes(made)}, indent=2)
    made.receipt.write_text(text, encoding="utf-8")
    if finished(job):  # by a worker that was taken for lost: its outputs stay
        return
    job.receipt.unlink(missing_ok=True)  # of other outputs
    made.overlay.replace(job.overlay)
    made.result.replace(job.result)
    made.receipt.replace(job.receipt)
