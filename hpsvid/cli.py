"""The command line: options in, one clear line out when something is wrong.

Nothing heavy is imported here at the top, so that every `--help` is instant.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpsvid.choices import (
    BackboneName,
    EngineName,
    FormatName,
    LifterName,
    ModelName,
    PartName,
    RendererName,
    RigName,
    SizeName,
    SolverName,
    WeightsName,
)
from hpsvid.errors import HpsvidError, InputError, one_line

if TYPE_CHECKING:
    from hpsvid.jobs import Job
    from hpsvid.pipeline import Options, Progress, StageClock
    from hpsvid.types import Motion

app = typer.Typer(
    help="Video of people in, smooth 3D human motion out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

InputArg = Annotated[Path, typer.Argument(help="Video, picture or folder of pictures.")]
DetectorOpt = Annotated[
    str, typer.Option(help="'embedded', or an ultralytics YOLO: a name or a .pt/.onnx file.")
]
BackboneOpt = Annotated[
    BackboneName, typer.Option(help="What looks at a person; hybrik: the authors', imported.")
]
WeightsOpt = Annotated[
    WeightsName, typer.Option(help="The solver's: ours, or the authors' (imported).")
]
IkOpt = Annotated[SolverName, typer.Option("--ik", help="Solver that turns joints into a body.")]
LifterOpt = Annotated[LifterName, typer.Option(help="What turns landmarks into joints.")]
FastOpt = Annotated[bool, typer.Option("--fast", help="Smaller landmark network: faster, rougher.")]
FocalOpt = Annotated[
    float | None, typer.Option(help="Focal length in pixels; guessed when not given.", min=1)
]
PersonOpt = Annotated[
    int | None, typer.Option(help="Only this person (the id that the summary shows).", min=0)
]
MaxPeopleOpt = Annotated[
    int | None, typer.Option(help="At most so many people, the most prominent first.", min=1)
]
SmplOpt = Annotated[
    Path | None, typer.Option(help="Your own SMPL file or folder (default: $HPSVID_SMPL).")
]
ThreadsOpt = Annotated[int | None, typer.Option(help="Threads a network may use.", min=1)]
QuietOpt = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import hpsvid

        print(hpsvid.__version__)
        raise typer.Exit


@app.command()
def run(
    input: Annotated[
        Path, typer.Argument(help="Video, picture, folder of pictures, or folder of videos.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Overlay video (.mp4 .mov .mkv) or picture; result .npz beside it. "
            "For a folder of videos, a folder."
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
    with _one_line_errors():
        from hpsvid import many, video, video_writer
        from hpsvid.jobs import Job, perform

        options: dict[str, Any] = {
            "detector": detector, "backbone": backbone, "lifter": lifter, "solver": solver,
            "weights": weights, "fast": fast, "focal_px": focal, "person": person,
            "max_people": max_people, "threads": threads,
        }  # fmt: skip
        job = Job(
            source=input, overlay=out or Path(f"{_stem(input)}_overlay"), options=options,
            renderer=renderer, alpha=alpha, smpl=smpl,
        )  # fmt: skip
        if address is not None and engine != "ray":
            raise InputError(f"--address {address}: is for --engine ray; give both or none")
        if many.holds_videos(input):
            _run_many(job, engine, address, jobs=jobs, again=again, quiet=quiet, as_json=as_json)
            return
        if jobs is not None or again or engine == "ray":
            raise InputError(
                f"{input}: one clip; --jobs, --again and --engine ray are for a folder of videos"
            )
        if out is None:
            suffix = video_writer.suffix_for(video.probe(input))
            job = replace(job, overlay=Path(f"{_stem(input)}_overlay{suffix}"))
        with _progress(shown=not quiet and not as_json) as progress:
            facts = perform(job, progress)
        _report(facts, quiet=quiet, as_json=as_json)


def _run_many(
    common: "Job", engine: EngineName, address: str | None,
    *, jobs: int | None, again: bool, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """All videos of a folder; what is said of each comes at once, a summary at the end."""
    from hpsvid import many
    from hpsvid.engines.cluster import CPUS_A_CLIP, run_on_ray
    from hpsvid.engines.processes import run_in_processes
    from hpsvid.jobs import work

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
        from hpsvid.body_files import find_smpl

        common = replace(common, smpl=(find_smpl(common.smpl) or Path()).absolute())
    common = replace(common, options={**common.options, "threads": threads})
    todo = many.jobs_for(folder, out, common)
    rows = []
    try:
        with closing(many.run_many(todo, do, again=again)) as coming:
            for row in coming:
                rows.append(row)
                if row["state"] == "failed" or not (quiet or as_json):
                    print(many.line(row), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        done = sum(row["state"] != "failed" for row in rows)
        print(
            f"hpsvid: interrupted; {done} of {len(todo)} clips are done and stay in {out}; "
            "the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    facts = many.summarise(todo, rows, started)
    if as_json:
        print(json.dumps(facts, indent=2))
    elif not quiet:
        many.show(facts, out)
    if facts["failed"]:
        raise typer.Exit(1)


@app.command()
def export(
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
    with _one_line_errors():
        from hpsvid import pipeline, summary
        from hpsvid.export import ExportOptions, check_options
        from hpsvid.files import check_folder

        wanted = ExportOptions(fps=fps, rig=rig)
        chosen = check_options(format, wanted)
        check_folder(out)
        result_path = out / f"{_stem(input)}.npz"
        if format == "npz" and result_path.exists() and result_path.samefile(input):
            raise InputError(f"{result_path}: is the input itself; give another folder, --out DIR")
        options = pipeline.Options(
            detector=detector, backbone=backbone, lifter=lifter, solver=solver, weights=weights,
            fast=fast, focal_px=focal, person=person, max_people=max_people, threads=threads,
        )  # fmt: skip
        clock = pipeline.StageClock()
        body = pipeline.load_chosen_body(smpl)
        with _progress(shown=not quiet and not as_json) as progress:
            motion = _motion_of(input, body, options, clock, progress)
        out.mkdir(parents=True, exist_ok=True)
        files = chosen.write(motion, body, out, _stem(input), wanted)
        _report(summary.summarise(motion, clock, files), quiet=quiet, as_json=as_json)


@app.command()
def train(
    model: Annotated[ModelName, typer.Argument(help="What to train.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with train/ and val/: motion capture; for the lifter, rendered pairs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Weights to write, .safetensors.")],
    folder: Annotated[
        Path | None, typer.Option(help="Checkpoints and log (default: beside --out); resumed.")
    ] = None,
    size: Annotated[SizeName, typer.Option(help="full is for a GPU.")] = "small",
    minutes: Annotated[float | None, typer.Option(help="Stop after so long.", min=0.1)] = None,
    steps: Annotated[int, typer.Option(help="Stop after so many steps.", min=1)] = 2000,
    pairs: Annotated[
        Path | None, typer.Option(help="Lifted renders (tools/lift_pairs.py) for half a batch.")
    ] = None,
    without: Annotated[
        str, typer.Option(help="Parts of NIKI to leave out: ind,bnd,bidirectional,analytic.")
    ] = "",
    loss: Annotated[
        str, typer.Option(help="Weights of NIKI's losses: fwd=0.1,acceleration=1,...")
    ] = "",
    mocap: Annotated[
        Path | None, typer.Option(help="For the lifter: motion to simulate landmarks for.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
) -> None:
    """Train a solver or the lifter; an interrupted run goes on where it was."""
    with _one_line_errors():
        from hpsvid.files import check_folder
        from hpsvid.train import FitConfig, loss_weights, train_solver

        if out.suffix != ".safetensors":
            raise InputError(f"{out}: suffix {out.suffix!r}; expected .safetensors")
        check_folder(out.parent)
        for option, given, mine in (
            ("--pairs", pairs, model != "lifter"),
            ("--without", without, model != "lifter"),
            ("--loss", loss, model.startswith("niki")),
            ("--mocap", mocap, model == "lifter"),
        ):
            if given and not mine:
                raise InputError(f"train {model} {option}: it has no such option; leave it out")
        folder = folder or out.with_suffix("")
        out.parent.mkdir(parents=True, exist_ok=True)
        if model == "lifter":
            from hpsvid.train_lifter import train_lifter

            scores = train_lifter(
                data, out, folder, mocap=mocap, size=size, seed=seed, steps=steps, minutes=minutes
            )
            told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            print(f"wrote {out}; validation {told}; log in {folder}")
            return
        config = FitConfig(steps=steps, minutes=minutes)
        error = train_solver(
            model, data, out, folder, size=size, seed=seed, config=config, pairs=pairs,
            weights=loss_weights(loss),
            without=_names(without, PartName, "--without") if without else (),
        )  # fmt: skip
        print(f"wrote {out}; mean validation MPJPE {error:.1f} mm, log in {folder}")


@app.command("eval")
def evaluate(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Truth: a file or folder of results or of 3DPW's sequences; or a folder of "
            "held-back motion capture, to compare solvers on noise."
        ),
    ],
    motion: Annotated[
        list[Path] | None,
        typer.Option(
            help="Result .npz, clip, or folder of results; again for more. "
            "Without it the clips beside the truth."
        ),
    ] = None,
    ik: Annotated[
        str, typer.Option(help="Solvers, with commas between.")
    ] = "hybrik,niki,niki-one-stage,niki-temporal,gik",
    mlp: Annotated[
        Path | None, typer.Option(help="Weights of the MLP baseline (train mlp), to compare too.")
    ] = None,
    windows: Annotated[int, typer.Option(help="Windows of 64 frames to solve.", min=1)] = 24,
    lifter: LifterOpt = "geometric",
    fast: FastOpt = False,
    smpl: SmplOpt = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file, too.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page (.html) with tables, curves and pictures.")
    ] = None,
    quiet: QuietOpt = False,
) -> None:
    """Measure motions against the truth, or compare solvers on noisy motion; Markdown tables."""
    with _one_line_errors():
        from hpsvid import accuracy, evaluate, pipeline
        from hpsvid.files import check_folder, written_whole
        from hpsvid.report import Measured, write_report

        names = _names(ik, SolverName, "--ik")
        if report is not None and report.suffix != ".html":
            raise InputError(f"{report}: suffix {report.suffix!r}; expected .html")
        for path in (json_file, report):
            if path is not None:
                check_folder(path.parent)
        truths = [path for path in data if accuracy.is_truth(path)]
        comparisons = []
        for path in data:
            if path not in truths:
                found = evaluate.compare_solvers(path, names, mlp=mlp, windows=windows)
                print(evaluate.comparison_text(found), end="\n\n")
                comparisons.append(found)
        measured = []
        with _progress(shown=not quiet) as progress:
            for path in truths:
                measured += [
                    Measured(truth=truth, motion=made, errors=errors)
                    for truth, made, errors in accuracy.evaluate_motions(
                        path,
                        motion or (),
                        names,
                        smpl=smpl,
                        progress=progress,
                        options=pipeline.Options(lifter=lifter, fast=fast),
                    )
                ]
        errors = [one for some in measured for one in some.errors]
        if errors:
            print(accuracy.table(errors), accuracy.joint_table(errors), sep="\n\n")
        if json_file is not None:
            facts = accuracy.as_json(errors)
            facts["windows"] = [evaluate.comparison_json(found) for found in comparisons]
            json_file.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(json_file) as stream:
                stream.write(json.dumps(facts, indent=2).encode())
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            write_report(report, comparisons, measured, pipeline.load_chosen_body(smpl))


@app.command()
def occlude(
    input: InputArg,
    out: Annotated[Path, typer.Option(help="Video (.mp4 .mov .mkv) or picture to write.")],
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
    quiet: QuietOpt = False,
) -> None:
    """Hide parts of the people and cut the picture, as 3DPW-XOCC does, to test what holds."""
    with _one_line_errors():
        from hpsvid import video
        from hpsvid.occlude import occlude_clip

        with _progress(shown=not quiet) as progress:
            occlude_clip(video.probe(input), out, seed, progress)
        if not quiet:
            print(f"wrote {out}")


@app.command()
def sensitivity(
    input: InputArg,
    out: Annotated[Path, typer.Option(help="Heat map to write (.png .jpg).")],
    frame: Annotated[int, typer.Option(help="Which frame, counted from 0.", min=0)] = 0,
    truth: Annotated[
        Path | None, typer.Option(help="Truth of the clip; otherwise the pose without a patch.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Places of the patch a side.", min=2)] = 12,
    detector: DetectorOpt = "embedded",
    lifter: LifterOpt = "geometric",
    solver: IkOpt = "niki-temporal",
    fast: FastOpt = False,
    focal: FocalOpt = None,
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    quiet: QuietOpt = False,
) -> None:
    """Slide a grey patch over a person and draw where it makes the pose worst."""
    with _one_line_errors():
        from hpsvid import accuracy, pipeline, video, video_writer
        from hpsvid import sensitivity as slide

        video_writer.check_output(out)
        if out.suffix.lower() not in video_writer.PICTURE_OUT_SUFFIXES:
            raise InputError(f"{out}: expected a picture, .png or .jpg")
        options = pipeline.Options(
            detector=detector, lifter=lifter, solver=solver, fast=fast, focal_px=focal,
            threads=threads,
        )  # fmt: skip
        body = pipeline.load_chosen_body(smpl)
        known = None if truth is None else accuracy.read_truths(truth, body, None)[0]
        with _progress(shown=not quiet) as progress:
            found = slide.sensitivity(
                video.probe(input), frame, body, options, steps=steps, truth=known,
                progress=progress,
            )  # fmt: skip
        video_writer.write_image(out, slide.heat_map(found))
        if not quiet:
            print(slide.table(found))


@app.command()
def bench(
    clips: Annotated[Path, typer.Argument(help="Folder of videos; truth beside them is used.")],
    ik: Annotated[
        str, typer.Option("--compare", help="Solvers, with commas between.")
    ] = "niki-temporal",
    detector: DetectorOpt = "embedded",
    lifter: LifterOpt = "geometric",
    fast: FastOpt = False,
    overlay: Annotated[bool, typer.Option(help="Render and encode overlays, too.")] = True,
    max_people: MaxPeopleOpt = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page with charts to this file.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier --json file: say what is worse now.")
    ] = None,
    fail_on_regress: Annotated[
        bool, typer.Option("--fail-on-regress", help="Exit with 1 when something is worse.")
    ] = False,
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    quiet: QuietOpt = False,
) -> None:
    """Measure speed, memory, smoothness and accuracy on a folder of clips; Markdown tables."""
    with _one_line_errors():
        from hpsvid import bench as measuring
        from hpsvid import pipeline
        from hpsvid.files import check_folder, written_whole
        from hpsvid.render import load_renderer

        solvers = _names(ik, SolverName, "--compare")
        if fail_on_regress and baseline is None:
            raise InputError("--fail-on-regress: needs --baseline, an earlier --json file")
        before = None if baseline is None else measuring.read_report(baseline)
        for file in (json_file, html_file):
            if file is not None:
                check_folder(file.parent)
        options = pipeline.Options(
            detector=detector, lifter=lifter, fast=fast, max_people=max_people, threads=threads
        )
        body = pipeline.load_chosen_body(smpl)
        renderer = load_renderer("auto") if overlay else None
        rows = []
        for row in measuring.bench(clips, body, options, solvers, renderer):
            rows.append(row)
            if not quiet:
                print(measuring.line(row), file=sys.stderr, flush=True)
        print(
            measuring.table([*rows, *measuring.totals(rows)]),
            measuring.stage_table(rows),
            sep="\n\n",
        )
        if json_file is not None:
            settings = {"fast": fast, "lifter": lifter, "detector": detector, "overlay": overlay}
            with written_whole(json_file) as stream:
                stream.write(json.dumps(measuring.report(rows, settings), indent=2).encode())
        worse = None if before is None else measuring.regressions(rows, before)
        if html_file is not None:
            from hpsvid.bench_page import write_bench_page

            write_bench_page(html_file, rows, worse)
        if worse is not None:
            print("\nWorse than the baseline:", *(worse or ["nothing"]), sep="\n- ")
        if (worse and fail_on_regress) or all("failed" in row for row in rows):
            raise typer.Exit(1)


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
    with _one_line_errors():
        from hpsvid import live as running
        from hpsvid import live_page, pipeline
        from hpsvid.export import npz
        from hpsvid.files import check_folder
        from hpsvid.render import load_renderer

        if out is not None and (out.suffix != ".npz" or out.is_dir()):
            raise InputError(f"{out}: expected the name of an .npz file")
        check_folder(Path() if out is None else out.parent)
        address = None if serve is None else live_page.parse_address(serve)
        options = pipeline.Options(
            detector=detector, lifter=lifter, solver=solver, fast=fast, focal_px=focal,
            max_people=max_people, threads=threads,
        )  # fmt: skip
        clip, shots = running.open_source(source)
        with ExitStack() as stack:
            stack.callback(shots.close)
            show, url = stack.enter_context(running.screen(address, f"hpsvid live {source}"))
            follower = running.Follower(clip, pipeline.load_chosen_body(smpl), options)
            if url and not quiet:
                print(f"look at {url}", flush=True)
            numbers, kept = running.watch(
                shots, follower, load_renderer("auto"), show,
                alpha=alpha, seconds=seconds, keep=out is not None,
            )  # fmt: skip
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            npz.write_motion(follower.as_motion(kept), out)
        if not quiet:
            print(numbers.line() + (f"; wrote {out}" if out else ""))


@app.command()
def doctor(as_json: JsonOpt = False) -> None:
    """Say what is installed, which weights and body models were found, and what to mend."""
    with _one_line_errors():
        from hpsvid import doctor as examination

        findings = examination.examine()
        if as_json:
            print(json.dumps([finding.as_dict() for finding in findings], indent=2))
        else:
            examination.show(findings)
        if any(finding.state == "broken" for finding in findings):
            raise typer.Exit(1)


def _names(text: str, known: Any, option: str) -> list[Any]:
    """The names in `text`, with commas between; InputError when one is not of the Literal."""
    names = text.split(",")
    unknown = sorted(set(names) - set(get_args(known)))
    if unknown:
        listed = ", ".join(get_args(known))
        raise InputError(f"{option} {', '.join(unknown)}: unknown; known are {listed}")
    return names


weights_app = typer.Typer(help="Weights of other people's networks.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command("import")
def import_weights(
    file: Annotated[
        Path, typer.Argument(help="niki_ts.pth, niki_1stage.pth, hybrik_hrnet.pth, ...")
    ],
) -> None:
    """Check a checkpoint of NIKI's or HybrIK's authors and keep what `run` needs of it."""
    with _one_line_errors():
        from hpsvid.import_weights import import_weights as bring_in

        kind, written = bring_in(file)
        print(f"{kind}: wrote {written}")


def _motion_of(
    path: Path, body: Any, options: "Options", clock: "StageClock", progress: "Progress"
) -> "Motion":
    from hpsvid import pipeline, video
    from hpsvid.export import npz

    if path.suffix.lower() == ".npz":
        saved = npz.read_motion(path)
        pipeline.check_body(saved, body)
        return pipeline.keep_people(saved, options)
    return pipeline.make_motion(video.probe(path), body, options, clock, progress)


def _stem(path: Path) -> str:
    """What files made from `path` are called; "." and ".." take their folder's own name."""
    return path.stem if path.stem.strip(".") else path.resolve().name


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn errors raised on purpose, or by the machine, into one line on stderr and exit code 1."""
    try:
        yield
    except HpsvidError as error:
        print(f"hpsvid: {one_line(error)}", file=sys.stderr)
        raise typer.Exit(1) from error
    except BrokenPipeError:  # who reads our output has had enough; typer ends quietly
        raise
    except OSError as error:  # a name too long, a folder that may not be entered, a full disk
        print(f"hpsvid: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except MemoryError as error:
        print(f"hpsvid: not enough memory ({error}); try a smaller input", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print("hpsvid: interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar a pass, with frames a second and the time left; nothing when not `shown`."""
    if not shown:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        Remaining(),
    )
    bars = Progress(*columns, console=Console(stderr=True))
    known: dict[str, Any] = {}
    begun: dict[str, int] = {}  # frames done when a bar's clock started: its first chunk

    def update(stage: str, done: int, total: int | None) -> None:
        bars.start()  # only now: an input that is refused at once shows no bar
        if stage not in known:
            known[stage], begun[stage] = bars.add_task(stage, total=total, rate=""), done
        task = bars.tasks[bars.task_ids.index(known[stage])]
        since = done - begun[stage]
        rate = f"{since / task.elapsed:.1f} fps" if since and task.elapsed else ""
        bars.update(known[stage], completed=done, rate=rate)

    try:
        yield update
        for task in bars.tasks:  # a container may announce another count than it holds
            bars.update(task.id, total=task.completed)
    finally:
        if known:
            bars.stop()


def _report(facts: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
    elif not quiet:
        from hpsvid import summary

        summary.show(facts)


def main() -> None:
    """Entry point of the `hpsvid` script."""
    # as Ctrl-C: what was begun is cleared away before the end
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app()
