"""Commands that work on videos: run, export, live, occlude."""

import json
import os
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsvid.cli.common import (
    BackboneOpt,
    DetectorOpt,
    FastOpt,
    FocalOpt,
    IkOpt,
    InputArg,
    JsonOpt,
    LifterOpt,
    MaxPeopleOpt,
    PersonOpt,
    QuietOpt,
    SmplOpt,
    ThreadsOpt,
    WeightsOpt,
    app,
    one_line_errors,
    progress_bars,
    refuse_idle,
    show_facts,
    stem_of,
)
from hpsvid.errors import InputError
from hpsvid.options import EngineName, FormatName, RendererName, RigName

if TYPE_CHECKING:
    from hpsvid.batch.jobs import Job
    from hpsvid.options import Options
    from hpsvid.pipeline.stages import Progress, StageClock
    from hpsvid.types import Motion


@app.command()
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
        _refuse_idle_choices(context, backbone, person)
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


def _refuse_idle_choices(context: typer.Context, backbone: str, person: int | None) -> None:
    """Options of `run` and `export` that others make idle."""
    if backbone == "hybrik":
        refuse_idle(context, "with --backbone hybrik, which sees joints itself", "lifter")
    if person is not None:
        refuse_idle(context, "with --person, who is one", "max_people")


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


@app.command()
def export(
    context: typer.Context,
    input: Annotated[Path, typer.Argument(help="Video, picture, folder, or a result .npz.")],
    format: Annotated[FormatName, typer.Option(help="File format.")] = "bvh",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    rig: Annotated[RigName, typer.Option(help="Joint names of a .bvh.")] = "smpl",
    fps: Annotated[
        int | None, typer.Option(help="Resample to so many frames a second.", min=1)
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
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    quiet: QuietOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Write the motion of a video, or of a saved result, as files for other programs."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_folder
        from hpsvid.formats import check_options
        from hpsvid.options import ExportOptions, Options
        from hpsvid.pipeline.stages import StageClock
        from hpsvid.pipeline.summary import summarise

        wanted = ExportOptions(fps=fps, rig=rig)
        chosen = check_options(format, wanted)
        if "rig" not in chosen.heeds:
            refuse_idle(context, f"on --format {format}", "rig")
        if input.suffix.lower() == ".npz":
            saved = "on a saved result, whose motion is made already"
            refuse_idle(
                context, saved, "detector", "backbone", "lifter", "solver", "weights", "fast",
                "focal", "threads",
            )  # fmt: skip
        _refuse_idle_choices(context, backbone, person)
        check_folder(out)
        result_path = out / f"{stem_of(input)}.npz"
        if format == "npz" and result_path.exists() and result_path.samefile(input):
            raise InputError(f"{result_path}: is the input itself; give another folder, --out DIR")
        options = Options(
            detector=detector, backbone=backbone, lifter=lifter, solver=solver, weights=weights,
            fast=fast, focal_px=focal, person=person, max_people=max_people, threads=threads,
        )  # fmt: skip
        clock = StageClock()
        body = load_chosen_body(smpl)
        with progress_bars(shown=not quiet and not as_json) as progress:
            motion = _motion_of(input, body, options, clock, progress)
        out.mkdir(parents=True, exist_ok=True)
        files = chosen.write(motion, body, out, stem_of(input), wanted)
        show_facts(summarise(motion, clock, files), quiet=quiet, as_json=as_json)


def _motion_of(
    path: Path, body: Any, options: "Options", clock: "StageClock", progress: "Progress"
) -> "Motion":
    from hpsvid.edit import check_body, keep_people
    from hpsvid.formats.npz import read_motion
    from hpsvid.pipeline.make import make_motion
    from hpsvid.video.probe import probe

    if path.suffix.lower() == ".npz":
        saved = read_motion(path)
        check_body(saved, body)
        return keep_people(saved, options)
    return make_motion(probe(path), body, options, clock, progress)


@app.command()
def live(
    source: Annotated[
        str, typer.Argument(help="A camera's number, rtsp:// or http:// address, or a video.")
    ],
    serve: Annotated[
        str | None,
        typer.Option(help="[HOST:]PORT of a page for browsers, in place of a window."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result .npz of what was seen.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so long.", min=0.1)] = None,
    detector: DetectorOpt = "embedded",
    lifter: LifterOpt = "geometric",
    solver: IkOpt = "niki-temporal",
    fast: Annotated[
        bool, typer.Option("--fast/--heavy", help="Which of the two landmark networks.")
    ] = True,
    focal: FocalOpt = None,
    max_people: MaxPeopleOpt = None,
    alpha: Annotated[
        float, typer.Option(help="Opacity of the meshes, 0 to 1.", min=0.0, max=1.0)
    ] = 0.85,
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    quiet: QuietOpt = False,
) -> None:
    """Draw bodies over a running camera, newest frame first; Ctrl-C ends it."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_folder
        from hpsvid.formats.npz import write_motion
        from hpsvid.live.capture import open_source
        from hpsvid.live.look import Looker
        from hpsvid.live.page import parse_address
        from hpsvid.live.pose import Poser
        from hpsvid.live.screen import screen
        from hpsvid.live.watch import watch
        from hpsvid.options import Options
        from hpsvid.render import load_renderer

        if out is not None and (out.suffix != ".npz" or out.is_dir()):
            raise InputError(f"{out}: expected the name of an .npz file")
        check_folder(Path() if out is None else out.parent)
        address = None if serve is None else parse_address(serve)
        options = Options(
            detector=detector, lifter=lifter, solver=solver, fast=fast, focal_px=focal,
            max_people=max_people, threads=threads or max(1, (os.cpu_count() or 1) - 1),
        )  # fmt: skip
        clip, shots = open_source(source)
        with ExitStack() as stack:
            stack.callback(shots.close)
            show, url = stack.enter_context(screen(address, f"hpsvid live {source}"))
            looker = Looker(clip, options)
            poser = Poser(looker, load_chosen_body(smpl), options)
            if url and not quiet:
                print(f"look at {url}", flush=True)
            outcome = watch(
                shots, looker, poser, load_renderer("auto"), show,
                alpha=alpha, seconds=seconds, keep=out is not None,
            )  # fmt: skip
        wrote = ""
        if out is not None and (outcome.kept or outcome.broken is None):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_motion(poser.as_motion(outcome.kept), out)
            wrote = f"; wrote {out}"
        if not quiet:
            print(outcome.numbers.line() + wrote)
        if outcome.broken is not None:
            kept = f"; what was seen until then is in {out}" if wrote else ""
            raise InputError(f"{outcome.broken}{kept}")


@app.command()
def occlude(
    input: InputArg,
    out: Annotated[Path, typer.Option(help="Video (.mp4 .mov .mkv) or picture to write.")],
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
    quiet: QuietOpt = False,
) -> None:
    """Hide parts of the people and cut the picture, as 3DPW-XOCC does, to test what holds."""
    with one_line_errors():
        from hpsvid.evaluation.occlude import occlude_clip
        from hpsvid.video.probe import probe

        with progress_bars(shown=not quiet) as progress:
            occlude_clip(probe(input), out, seed, progress)
        if not quiet:
            print(f"wrote {out}")
