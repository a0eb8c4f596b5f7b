"""Commands that measure: eval, bench, sensitivity, occlude."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

import hpsvid
from hpsvid.cli.shell import (
    ForceOpt,
    InputArg,
    QuietOpt,
    bounded,
    names_in,
    one_line_errors,
    progress_bars,
    refuse_idle,
    takes,
    with_old_spelling,
)
from hpsvid.errors import InputError
from hpsvid.options import LOOK, OUTPUT, Options, SolverName


@takes(Options, only=("input_fps", "lifter", "fast", "smpl"))
def evaluate(
    context: typer.Context,
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Truth: a file or folder of results or of 3DPW's sequences; or a folder of "
            "held-back motion capture, to compare solvers on noise."
        ),
    ],
    options: Options,
    motion: Annotated[
        list[Path] | None,
        typer.Option(
            help="Result .npz, clip, or folder of results; again for more. "
            "Without it the clips beside the truth."
        ),
    ] = None,
    ik: Annotated[
        str,
        typer.Option(
            help="Solvers of clips and noisy motion, with commas between.", rich_help_panel=LOOK
        ),
    ] = "hybrik,niki,niki-one-stage,niki-temporal,gik",
    mlp: Annotated[
        Path | None, typer.Option(help="Weights of the MLP baseline (train mlp), on noisy motion.")
    ] = None,
    windows: Annotated[int, typer.Option(help="Windows of 64 frames of noisy motion.", min=1)] = 24,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write every figure to this file, too.", rich_help_panel=OUTPUT
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (.html) with tables, curves and pictures.", rich_help_panel=OUTPUT
        ),
    ] = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Measure motions against the truth, or compare solvers on noisy motion; Markdown tables."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import written_whole
        from hpsvid.evaluation.noise_curves import compare_solvers, comparison_json, comparison_text
        from hpsvid.evaluation.report import Measured, write_report
        from hpsvid.evaluation.results import evaluate_motions, is_truth, solves_clips
        from hpsvid.evaluation.tables import as_json, joint_table, table
        from hpsvid.formats.ownership import check_outputs

        names = names_in(ik, SolverName, "--ik")
        if report is not None and report.suffix != ".html":
            raise InputError(f"{report}: suffix {report.suffix!r}; expected .html")
        outputs = [path for path in (json_file, report) if path is not None]
        check_outputs(outputs, force=force)
        truths = [path for path in data if is_truth(path)]
        _refuse_idle_eval(
            context, noisy=len(truths) < len(data), measured=bool(truths),
            solved=solves_clips(motion or ()),
        )  # fmt: skip
        comparisons = []
        for path in data:
            if path not in truths:
                found = compare_solvers(path, names, mlp=mlp, windows=windows)
                print(comparison_text(found), end="\n\n")
                comparisons.append(found)
        measured = []
        with progress_bars(shown=not quiet) as progress:
            for path in truths:
                measured += [
                    Measured(truth=truth, motion=made, errors=errors)
                    for truth, made, errors in evaluate_motions(
                        path,
                        motion or (),
                        names,
                        smpl=options.smpl,
                        progress=progress,
                        options=options,
                    )
                ]
        errors = [one for some in measured for one in some.errors]
        if errors:
            print(table(errors), joint_table(errors), sep="\n\n")
        if json_file is not None:
            facts = {"hpsvid_version": hpsvid.__version__, **as_json(errors)}
            facts["windows"] = [comparison_json(found) for found in comparisons]
            json_file.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(json_file) as stream:
                stream.write(json.dumps(facts, indent=2).encode())
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            write_report(report, comparisons, measured, load_chosen_body(options.smpl))


def _refuse_idle_eval(context: typer.Context, *, noisy: bool, measured: bool, solved: bool) -> None:
    """Refuse options of `eval` without effect.

    noisy: motion capture is among the data; measured: truth is; solved: clips are solved.
    """
    if not noisy:
        refuse_idle(context, "without a folder of motion capture", "mlp", "windows")
    if not measured:
        refuse_idle(context, "on motion capture alone", "motion", "smpl")
    if not (measured and solved):
        refuse_idle(context, "where no clip is solved", "lifter", "fast", "input_fps")
    if not (noisy or solved):
        refuse_idle(context, "on saved results, which are solved already", "ik")


@takes(
    Options,
    only=(
        "input_fps", "detector", "network", "lifter", "fast", "max_people", "smpl", "threads",
    ),
)  # fmt: skip
def bench(
    context: typer.Context,
    clips: Annotated[Path, typer.Argument(help="Folder of videos; truth beside them is used.")],
    options: Options,
    ik: Annotated[
        str,
        typer.Option("--compare", help="Solvers, with commas between.", rich_help_panel=LOOK),
    ] = "niki-temporal",
    overlay: Annotated[bool, typer.Option(help="Render and encode overlays, too.")] = True,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write every figure to this file.", rich_help_panel=OUTPUT),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write a page with charts to this file.", rich_help_panel=OUTPUT
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier --json file: say what is worse now.")
    ] = None,
    fail_on_regress: Annotated[
        bool, typer.Option("--fail-on-regress", help="Exit with 1 when something is worse.")
    ] = False,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Measure speed, memory, smoothness and accuracy on a folder of clips; Markdown tables.

    A clip that fails is listed with the reason and the others go on; the exit code is 1 when none
    could be measured.
    """
    with one_line_errors():
        from hpsvid.bench import clips as bench
        from hpsvid.bench.clips import truths_in
        from hpsvid.bench.report import (
            changed_settings,
            line,
            markdown,
            read_report,
            regressions,
            report,
        )
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import written_whole
        from hpsvid.formats.ownership import check_outputs
        from hpsvid.render import load_renderer

        solvers = names_in(ik, SolverName, "--compare")
        if baseline is None:
            refuse_idle(context, "without --baseline, an earlier --json file", "fail_on_regress")
        before = None if baseline is None else read_report(baseline)
        files = [file for file in (json_file, html_file) if file is not None]
        check_outputs(files, force=force)
        options = bounded(options, quiet=quiet)
        body = load_chosen_body(options.smpl)
        renderer = load_renderer("auto", options.threads) if overlay else None
        truths, unreadable = truths_in(clips, body)
        rows = []
        for row in bench.bench(clips, truths, body, options, solvers, renderer):
            rows.append(row)
            if not quiet:
                print(line(row), file=sys.stderr, flush=True)
        print(markdown(rows, unreadable))
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            "fast": options.fast, "network": options.network, "lifter": options.lifter_in_use,
            "detector": options.detector,
            "overlay": overlay, "max_people": options.max_people, "threads": options.threads,
            "body": body.name, "input_fps": options.input_fps,
        }  # fmt: skip
        if json_file is not None:
            facts = report(rows, settings, unreadable)
            with written_whole(json_file) as stream:
                stream.write(json.dumps(facts, indent=2).encode())
        worse = None if before is None else regressions(rows, before)
        if html_file is not None:
            from hpsvid.bench.report import write_bench_page

            write_bench_page(html_file, rows, worse, unreadable)
        if before is not None and (changed := changed_settings(settings, before)):
            print("", *changed, sep="\n")
        if worse is not None:
            print("\nWorse than the baseline:", *(worse or ["nothing"]), sep="\n- ")
        if (worse and fail_on_regress) or all("failed" in row for row in rows):
            raise typer.Exit(1)


@takes(Options, only=("detector", "network", "lifter", "solver", "focal_px", "smpl", "threads"))
def sensitivity(
    context: typer.Context,
    input: InputArg,
    options: Options,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Heat map to write (.png .jpg).", rich_help_panel=OUTPUT),
    ],
    frame: Annotated[int, typer.Option(help="Which frame, counted from 0.", min=0)] = 0,
    truth: Annotated[
        Path | None, typer.Option(help="Truth of the clip; otherwise the pose without a patch.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Places of the patch a side.", min=2)] = 12,
    small: Annotated[  # the spelling before --network
        bool | None, typer.Option("--fast", hidden=True)
    ] = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Slide a grey patch over a person and draw where it makes the pose worst."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.evaluation import sensitivity
        from hpsvid.evaluation.results import read_truths
        from hpsvid.evaluation.sensitivity import heat_map, table
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.pipeline.stages import StageClock, make_context
        from hpsvid.video.marks import MARK
        from hpsvid.video.probe import probe
        from hpsvid.video.writer import PICTURE_OUT_SUFFIXES, check_output, write_image

        check_output(out)
        if out.suffix.lower() not in PICTURE_OUT_SUFFIXES:
            raise InputError(f"{out}: expected a picture, .png or .jpg")
        if out.exists() and input.exists() and out.samefile(input):
            raise InputError(f"{out}: is the input itself; name another file for the output")
        refuse_foreign([out], force=force)
        options = bounded(with_old_spelling(context, options, small=small), quiet=quiet)
        body = load_chosen_body(options.smpl)
        known = None if truth is None else read_truths(truth, body, None)[0]
        with progress_bars(shown=not quiet) as progress:
            scene = make_context(probe(input), body, options, StageClock(progress))
            found = sensitivity.sensitivity(scene, frame, steps=steps, truth=known)
        write_image(out, heat_map(found), MARK)
        if not quiet:
            print(table(found))


def occlude(
    input: InputArg,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Video (.mp4 .mov .mkv) or picture to write.")
    ],
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Hide parts of the people and cut the picture, as 3DPW-XOCC does, to test what holds."""
    with one_line_errors():
        from hpsvid.evaluation.occlude import occlude_clip
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.video.probe import probe
        from hpsvid.video.writer import check_output

        clip = probe(input)
        check_output(out, clip)
        refuse_foreign([out], force=force)
        with progress_bars(shown=not quiet) as progress:
            occlude_clip(clip, out, seed, progress)
        if not quiet:
            print(f"wrote {out}")
