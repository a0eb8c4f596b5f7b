"""hpsvid run: bodies drawn over a video, or over every video of a folder."""

import json
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpsvid.cli.shell import (
    ForceOpt,
    JsonOpt,
    QuietOpt,
    ResumeOpt,
    bounded,
    one_line_errors,
    progress_bars,
    refuse_idle,
    refuse_idle_choices,
    show_facts,
    stem_of,
    takes,
)
from hpsvid.errors import ending
from hpsvid.flags import choices
from hpsvid.options import OUTPUT, BatchOptions, DrawOptions, Options

if TYPE_CHECKING:
    from hpsvid.batch.jobs import Job


@takes(Options)
@takes(DrawOptions, [c.name for c in choices(DrawOptions) if c.name != "sheet"])
@takes(BatchOptions)
def run(
    context: typer.Context,
    input: Annotated[
        Path, typer.Argument(help="Video, picture, folder of pictures, or folder of videos.")
    ],
    options: Options,
    drawing: DrawOptions,
    batch: BatchOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Overlay video (.mp4 .mov .mkv) or picture; result .npz beside it. "
            "For a folder of videos, a folder. Default: INPUT_overlay here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: ForceOpt = False,
    resume: ResumeOpt = True,
    quiet: QuietOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Find and follow the people of a video and draw their bodies over it.

    A folder of videos is many clips: each gets its own overlay and result in the folder --out,
    those done already are skipped, those that fail are named in the summary.
    """
    with one_line_errors(resumes=resume):
        from hpsvid.batch.folder import holds_videos
        from hpsvid.batch.jobs import Job, perform
        from hpsvid.video.probe import probe
        from hpsvid.video.writer import suffix_for

        refuse_idle_choices(context, options)
        if batch.engine != "ray":
            refuse_idle(context, "without --engine ray", "address")
            options = bounded(options, quiet=quiet)
        overlay = Path(f"{stem_of(input)}_overlay")
        job = Job(
            source=input, overlay=out or overlay, options=options, drawing=drawing, resume=resume
        )
        if holds_videos(input):
            refuse_idle(context, f"on {input}, a folder of videos", "photos")
            _run_many(job, batch, force=force, quiet=quiet, as_json=as_json)
            return
        what = "a folder without videos" if input.is_dir() else "one clip"
        refuse_idle(context, f"on {input}, {what}", "jobs", "again", "engine")
        if out is None:
            clip = probe(input, input_fps=options.input_fps, photos=options.photos)
            job = replace(job, overlay=Path(f"{overlay}{suffix_for(clip)}"))
        with progress_bars(shown=not quiet and not as_json) as progress:
            facts = perform(job, progress, force=force)
        show_facts(facts, quiet=quiet, as_json=as_json)


def _run_many(
    common: "Job", batch: BatchOptions, *, force: bool, quiet: bool, as_json: bool
) -> None:
    """All videos of a folder: a line for each as it is done, a summary at the end."""
    from hpsvid.batch.folder import line, plan, run_many, show, summarise

    started = time.perf_counter()
    jobs, engine = plan(common, batch)
    rows = []
    try:
        with closing(run_many(jobs, engine, again=batch.again, force=force)) as coming:
            for row in coming:
                rows.append(row)
                if row["state"] == "failed" or not (quiet or as_json):
                    print(line(row), file=sys.stderr, flush=True)
    except KeyboardInterrupt as error:
        what, code = ending(error)
        done = sum(row["state"] != "failed" for row in rows)
        print(
            f"hpsvid: {what}; {done} of {len(jobs)} clips are done and stay in "
            f"{common.overlay}; the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(code) from None
    facts = summarise(jobs, rows, started)
    if as_json:
        print(json.dumps(facts, indent=2))
    elif not quiet:
        show(facts, jobs[0].overlay.parent)
    if facts["failed"]:
        raise typer.Exit(1)
