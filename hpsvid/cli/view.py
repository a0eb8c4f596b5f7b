"""hpsvid view: a result as one HTML page."""

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
    with_clip,
)
from hpsvid.errors import InputError
from hpsvid.options import OUTPUT, SkinName


def view(
    result: Annotated[Path, typer.Argument(help="A result .npz.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The page (.html). Default: RESULT.html here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    look: Annotated[
        SkinName, typer.Option(help="Bodies in their suit, or in what the clip shows of them.")
    ] = "suit",
    video: ClipOpt = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Leave the video out.")] = False,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write a page that shows video and bodies side by side, in any browser, offline."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_file, make_parent
        from hpsvid.edit import check_body
        from hpsvid.errors import NoPersonError
        from hpsvid.formats.npz import read_motion
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.viewer.page import write_page

        if video is not None and no_video:
            raise InputError("--video has no effect with --no-video; leave one of them out")
        out = out or Path(f"{stem_of(result)}.html")
        if out.suffix.lower() != ".html":
            raise InputError(f"{out}: suffix {out.suffix!r}; expected .html")
        check_file(out)
        refuse_foreign([out], force=force)
        motion = read_motion(result)
        if not motion.people:
            raise NoPersonError(f"{result}: holds no person; nothing to show")
        body = load_chosen_body(smpl)
        check_body(motion, body)
        if not no_video:
            motion = with_clip(motion, result, video)
        make_parent(out)
        with progress_bars(shown=not quiet) as progress:
            if look == "textured":
                from hpsvid.appearance.files import with_textures

                motion = with_textures(motion, body, result, progress)
            shows = not (no_video or motion.clip.blank)
            write_page(motion, body, out, video=shows, progress=progress, look=look)
        if not quiet:
            typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)", err=True)
