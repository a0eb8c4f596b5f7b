"""hpsvid export: the motion of a video or a saved result as files for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hpsvid.cli.shell import (
    ForceOpt,
    JsonOpt,
    QuietOpt,
    ResumeOpt,
    bounded,
    formats_in,
    one_line_errors,
    progress_bars,
    refuse_idle,
    refuse_idle_choices,
    show_facts,
    stem_of,
    takes,
    with_clip,
)
from hpsvid.errors import InputError
from hpsvid.flags import choices
from hpsvid.options import OUTPUT, ExportOptions, FormatName, Options

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import StageClock
    from hpsvid.pipeline.store import Store
    from hpsvid.types import Motion

MAKING = (
    "input_fps", "photos", "every", "detector", "backbone", "network", "lifter",
    "solver", "weights", "fast", "focal_px", "threads", "resume", "up", "pitch", "roll", "height",
    "foot_lock",
)  # fmt: skip


@takes(Options)
@takes(ExportOptions)
def export(
    context: typer.Context,
    input: Annotated[Path, typer.Argument(help="Video, picture, folder, or a result .npz.")],
    options: Options,
    wanted: ExportOptions,
    format: Annotated[
        Any,  # a parser's result: names of formats
        typer.Option(
            help="File format; several with commas: glb,bvh.",
            rich_help_panel=OUTPUT,
            parser=formats_in,
            metavar="|".join(get_args(FormatName)),
        ),
    ] = "bvh",
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            rich_help_panel=OUTPUT,
            help="Folder for the files; or the file, when one person is written.",
        ),
    ] = Path(),
    force: ForceOpt = False,
    resume: ResumeOpt = True,
    quiet: QuietOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Write the motion of a video, or of a saved result, as files for other programs."""
    with one_line_errors(resumes=resume):
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.character.write import rows_of
        from hpsvid.formats import check_body_of
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.formats.target import target_for
        from hpsvid.pipeline.stages import StageClock
        from hpsvid.pipeline.store import opened_store
        from hpsvid.pipeline.summary import summarise

        source = context.get_parameter_source("format")
        if wanted.character is not None and (source is None or source.name != "COMMANDLINE"):
            format = ("glb",)
        rows = rows_of(format, wanted)
        heeded = frozenset().union(*(row.heeds for row in rows))
        idle = {choice.name for choice in choices(ExportOptions)} - heeded
        names = ",".join(row.name for row in rows)
        refuse_idle(context, f"on --format {names}", *idle)
        if input.suffix.lower() == ".npz":
            refuse_idle(context, "on a saved result, whose motion is made already", *MAKING)
        refuse_idle_choices(context, options)
        target = target_for(out, stem_of(input), rows)
        for row in rows:
            result = target.file or target.folder / f"{target.stem}{row.suffix}"
            if result.exists() and input.exists() and result.samefile(input):
                raise InputError(f"{result}: is the input itself; give another place with --out")
            refuse_foreign(target.existing(row, wanted), force=force)
        options = bounded(options, quiet=quiet)
        body = load_chosen_body(options.smpl)
        check_body_of(rows, body, wanted)
        with opened_store(target.folder / target.stem, resume=resume) as store:
            with progress_bars(shown=not quiet and not as_json) as progress:
                clock = StageClock(progress)
                motion = _motion_of(input, body, options, clock, store)
                if wanted.look == "textured":
                    motion = _textured(motion, input, body, progress)
            files = [file for row in rows for file in target.write(row, motion, body, wanted)]
        facts = summarise(motion, clock, files, store.notes)
        show_facts(facts, quiet=quiet, as_json=as_json)


def _textured(motion: "Motion", input: Path, body: Any, progress: Any) -> "Motion":
    """With textures: those beside a saved result, or else from the clip."""
    from hpsvid.appearance.files import with_textures

    saved = input.suffix.lower() == ".npz"
    beside = input.with_name(motion.clip.path.name)
    if saved and beside.exists():
        motion = with_clip(motion, input, None)
    return with_textures(motion, body, input if saved else None, progress)


def _motion_of(
    path: Path, body: Any, options: Options, clock: "StageClock", store: "Store"
) -> "Motion":
    from hpsvid.edit import check_body, keep_people, trim
    from hpsvid.formats.npz import read_motion
    from hpsvid.pipeline.make import make_motion
    from hpsvid.video.probe import open_clip

    if path.suffix.lower() == ".npz":
        saved = read_motion(path)
        check_body(saved, body)
        kept = keep_people(saved, options)
        if options.start is None and options.end is None:
            return kept
        return trim(kept, options.start, options.end)
    clip = open_clip(path, options)
    return make_motion(clip, body, options, clock, store)
