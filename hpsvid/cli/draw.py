"""hpsvid draw: a saved result over its clip, or from another side."""

from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import (
    ClipOpt,
    ForceOpt,
    QuietOpt,
    SmplOpt,
    one_line_errors,
    progress_bars,
    stem_of,
    takes,
    with_clip,
)
from hpsvid.options import OUTPUT, DrawOptions


@takes(DrawOptions)
def draw(
    result: Annotated[Path, typer.Argument(help="A result .npz.")],
    drawing: DrawOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Video (.mp4 .mov .mkv), or a name without suffix: a folder of PNG files; with "
            "--sheet a picture. Default: RESULT_VIEW here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    video: ClipOpt = None,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Draw a saved result again, in another view; the networks have no part in it."""
    with one_line_errors():
        from hpsvid.appearance.files import with_textures
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.edit import check_body
        from hpsvid.formats.npz import read_motion
        from hpsvid.pipeline.pictures import check_pictures, write_pictures
        from hpsvid.pipeline.stages import StageClock
        from hpsvid.render import load_renderer
        from hpsvid.video.writer import suffix_for

        motion = with_clip(read_motion(result), result, video)
        if out is None:
            plain = "" if drawing.transparent else suffix_for(motion.clip)
            suffix = plain if drawing.sheet is None else "_sheet.png"
            out = Path(f"{stem_of(result)}_{drawing.view.replace(',', '_')}{suffix}")
        check_pictures(out, motion.clip, drawing, force=force)
        body, renderer = load_chosen_body(smpl), load_renderer(drawing.renderer)
        check_body(motion, body)
        with progress_bars(shown=not quiet) as progress:
            if drawing.look == "textured":
                motion = with_textures(motion, body, result, progress)
            write_pictures(motion, body, out, renderer, drawing, StageClock(progress))
        if not quiet:
            typer.echo(f"wrote {out}", err=True)
