"""hpsvid export: the motion of a video or a saved result as files for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsvid.cli.shell import (
    JsonOpt,
    QuietOpt,
    one_line_errors,
    progress_bars,
    refuse_idle,
    refuse_idle_choices,
    show_facts,
    stem_of,
    takes,
)
from hpsvid.errors import InputError
from hpsvid.options import OUTPUT, ExportOptions, FormatName, Options

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import StageClock
    from hpsvid.types import Motion

MAKING = (
    "detector", "backbone", "network", "lifter", "solver", "weights", "fast", "focal_px", "threads",
)  # fmt: skip


@takes(Options)
@takes(ExportOptions)
def export(
    context: typer.Context,
    input: Annotated[Path, typer.Argument(help="Video, picture, folder, or a result .npz.")],
    options: Options,
    wanted: ExportOptions,
    format: Annotated[
        FormatName,
        typer.Option(help="File format.", rich_help_panel=OUTPUT, case_sensitive=False),
    ] = "bvh",
    out: Annotated[
        Path, typer.Option(help="Folder for the files.", rich_help_panel=OUTPUT)
    ] = Path(),
    quiet: QuietOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Write the motion of a video, or of a saved result, as files for other programs."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_folder
        from hpsvid.formats import check_options
        from hpsvid.pipeline.stages import StageClock
        from hpsvid.pipeline.summary import summarise

        chosen = check_options(format, wanted)
        if "rig" not in chosen.heeds:
            refuse_idle(context, f"on --format {format}", "rig")
        if input.suffix.lower() == ".npz":
            refuse_idle(context, "on a saved result, whose motion is made already", *MAKING)
        refuse_idle_choices(context, options)
        check_folder(out)
        result_path = out / f"{stem_of(input)}.npz"
        if format == "npz" and result_path.exists() and result_path.samefile(input):
            raise InputError(f"{result_path}: is the input itself; give another folder, --out DIR")
        body = load_chosen_body(options.smpl)
        with progress_bars(shown=not quiet and not as_json) as progress:
            clock = StageClock(progress)
            motion = _motion_of(input, body, options, clock)
        out.mkdir(parents=True, exist_ok=True)
        files = chosen.write(motion, body, out, stem_of(input), wanted)
        show_facts(summarise(motion, clock, files), quiet=quiet, as_json=as_json)


def _motion_of(path: Path, body: Any, options: Options, clock: "StageClock") -> "Motion":
    from hpsvid.edit import check_body, keep_people
    from hpsvid.formats.npz import read_motion
    from hpsvid.pipeline.make import make_motion
    from hpsvid.video.probe import probe

    if path.suffix.lower() == ".npz":
        saved = read_motion(path)
        check_body(saved, body)
        return keep_people(saved, options)
    return make_motion(probe(path), body, options, clock)
