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
from hpsvid.options import DRAWING, OUTPUT, DrawOptions, ViewName


@takes(DrawOptions)
def draw(
    result: Annotated[Path, typer.Argument(help="A result .npz.")],
    drawing: DrawOptions,
    view: Annotated[
        ViewName,
        typer.Option(
            help="Meshes or bones over the clip, bodies alone, from the side, from above, or "
            "overlay and side view in one picture.",
            rich_help_panel=DRAWING,
        ),
    ] = "overlay",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Video (.mp4 .mov .mkv) or picture. Default: RESULT_VIEW here.",
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
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.edit import check_body
        from hpsvid.formats.npz import read_motion
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.pipeline.make import write_pictures
        from hpsvid.pipeline.stages import StageClock
        from hpsvid.render import load_renderer
        from hpsvid.render.overlay import Overlay
        from hpsvid.render.views import View
        from hpsvid.video.writer import check_output, suffix_for

        motion = with_clip(read_motion(result), result, video)
        out = out or Path(f"{stem_of(result)}_{view}{suffix_for(motion.clip)}")
        check_output(out, motion.clip)
        refuse_foreign([out], force=force)
        body, renderer = load_chosen_body(smpl), load_renderer(drawing.renderer)
        check_body(motion, body)
        picture = View(Overlay(motion, body, renderer, alpha=drawing.alpha), view)
        with progress_bars(shown=not quiet) as progress:
            write_pictures(motion, picture, out, StageClock(progress))
        if not quiet:
            typer.echo(f"wrote {out}", err=True)
