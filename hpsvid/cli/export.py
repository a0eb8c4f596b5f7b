"""hpsvid export: the motion of a video or a saved result as files for other programs."""

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
from hpsvid.errors import InputError
from hpsvid.options import FormatName, RigName

if TYPE_CHECKING:
    from hpsvid.options import Options
    from hpsvid.pipeline.stages import Progress, StageClock
    from hpsvid.types import Motion


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
        refuse_idle_choices(context, backbone, person)
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
