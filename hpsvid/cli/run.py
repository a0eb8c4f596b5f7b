"""hpsvid run: bodies drawn over a video, or over every video of a folder."""

import json
import os
import sys
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsvid.cli.shell import (
    BackboneOpt,
    DetectorOpt,
    FastOpt,
    FocalOpt,
    IkOpt,
    JsonOpt,
    LifterOpt,
    MaxPeopleOpt,
    PersonOpt,
    QuietOpt,
    SmplOpt,
    ThreadsOpt,
    WeightsOpt,
    one_line_errors,
    progress_bars,
    refuse_idle,
    refuse_idle_choices,
    show_facts,
    stem_of,
)
from hpsvid.options import EngineName, RendererName

if TYPE_CHECKING:
    from hpsvid.batch.jobs import Job


def run(
    context: typer.Context,
    input: Annotated[
        Path, typer.Argument(help="Video, picture, folder of pictures, or folder of videos.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Overlay video (.mp4 .mov .mkv) or picture; result .npz beside it. "
            "For a folder of videos, a folder. Default: INPUT_overlay here."
        ),
    ] = None,
    detector: DetectorOpt = "embedded",
    backbone: BackboneOpt = "blazepose",
    lifter: LifterOpt = "geometric",
    solver: IkOpt = "niki-temporal",
    weights: WeightsOpt = "hpsvid",
    fast: FastOpt = False,
    focal: FocalOpt = None,
    person: PersonOpt = None,
    max_people: MaxPeopleOpt = None,
    renderer: Annotated[RendererName, typer.Option(help="What draws the meshes.")] = "auto",
    alpha: Annotated[
        float, typer.Option(help="Opacity of the meshes, 0 to 1.", min=0.0, max=1.0)
    ] = 0.85,
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    jobs: Annotated[
        int | None, typer.Option(help="Many clips: so many at a time (1; with Ray, all).", min=1)
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Many clips: redo those that are done already.")
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="Many clips: on this machine, or on a Ray cluster.")
    ] = "processes",
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the Ray cluster (default: this machine's).")
    ] = None,
    quiet: QuietOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Find and follow the people of a video and draw their bodies over it.

    A folder of videos is many clips: each gets its own overlay and result in the folder --out,
    those done already are skipped, those that fail are named in the summary.
    """
    with one_line_errors():
        from hpsvid.batch.folder import holds_videos
        from hpsvid.batch.jobs import Job, perform
        from hpsvid.video.probe import probe
        from hpsvid.video.writer import suffix_for

        options: dict[str, Any] = {
            "detector": detector, "backbone": backbone, "lifter": lifter, "solver": solver,
            "weights": weights, "fast": fast, "focal_px": focal, "person": person,
            "max_people": max_people, "threads": threads,
        }  # fmt: skip
        job = Job(
            source=input, overlay=out or Path(f"{stem_of(input)}_overlay"), options=options,
            renderer=renderer, alpha=alpha, smpl=smpl,
        )  # fmt: skip
        refuse_idle_choices(context, backbone, person)
        if engine != "ray":
            refuse_idle(context, "without --engine ray", "address")
        if holds_videos(input):
            _run_many(job, engine, address, jobs=jobs, again=again, quiet=quiet, as_json=as_json)
            return
        what = "a folder without videos" if input.is_dir() else "one clip"
        refuse_idle(context, f"on {input}, {what}", "jobs", "again", "engine")
        if out is None:
            suffix = suffix_for(probe(input))
            job = replace(job, overlay=Path(f"{stem_of(input)}_overlay{suffix}"))
        with progress_bars(shown=not quiet and not as_json) as progress:
            facts = perform(job, progress)
        show_facts(facts, quiet=quiet, as_json=as_json)


def _run_many(
    common: "Job", engine: EngineName, address: str | None,
    *, jobs: int | None, again: bool, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """All videos of a folder; what is said of each comes at once, a summary at the end."""
    from hpsvid.batch.folder import jobs_for, line, run_many, show, summarise
    from hpsvid.batch.jobs import work
    from hpsvid.batch.processes import run_in_processes
    from hpsvid.batch.ray_cluster import CPUS_A_CLIP, run_on_ray

    started = time.perf_counter()
    folder, out, threads = common.source, common.overlay, common.options["threads"]
    if engine == "ray":  # whose workers have a current folder of their own
        folder, out = folder.absolute(), out.absolute()
        threads = threads or CPUS_A_CLIP
        address = address or os.environ.get("RAY_ADDRESS", "auto")
        do = partial(run_on_ray, work=work, address=address, at_once=jobs, threads=threads)
    else:
        at_once = jobs or 1
        threads = threads or max(1, (os.cpu_count() or 1) // at_once)
        do = partial(run_in_processes, work=work, at_once=at_once, threads=threads)
    if common.smpl or os.environ.get("HPSVID_SMPL"):
        from hpsvid.body.smpl import find_smpl

        common = replace(common, smpl=(find_smpl(common.smpl) or Path()).absolute())
    common = replace(common, options={**common.options, "threads": threads})
    todo = jobs_for(folder, out, common)
    rows = []
    try:
        with closing(run_many(todo, do, again=again)) as coming:
            for row in coming:
                rows.append(row)
                if row["state"] == "failed" or not (quiet or as_json):
                    print(line(row), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        done = sum(row["state"] != "failed" for row in rows)
        print(
            f"hpsvid: interrupted; {done} of {len(todo)} clips are done and stay in {out}; "
            "the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    facts = summarise(todo, rows, started)
    if as_json:
        print(json.dumps(facts, indent=2))
    elif not quiet:
        show(facts, out)
    if facts["failed"]:
        raise typer.Exit(1)
