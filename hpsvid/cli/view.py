"""hpsvid view: a result as one HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpsvid.cli.shell import ForceOpt, QuietOpt, one_line_errors, progress_bars, stem_of
from hpsvid.errors import InputError
from hpsvid.options import OUTPUT

if TYPE_CHECKING:
    from hpsvid.types import Motion


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
    video: Annotated[
        Path | None,
        typer.Option(help="The clip, when it is no longer where the result says."),
    ] = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Leave the video out.")] = False,
    smpl: Annotated[
        Path | None,
        typer.Option(help="Your own SMPL file or folder (default: $HPSVID_SMPL)."),
    ] = None,
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
            write_page(motion, body, out, video=not no_video, progress=progress)
        if not quiet:
            typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)", err=True)


def with_clip(motion: "Motion", result: Path, video: Path | None) -> "Motion":
    """The motion with its clip as it lies on this machine.

    It is `video`, or else a file of the clip's name beside the result, or where the result says.
    Raises InputError when there is none, or it cannot be read.
    """
    from dataclasses import replace

    from hpsvid.video.parts import with_part
    from hpsvid.video.probe import probe

    beside = result.with_name(motion.clip.path.name)
    path = video or (beside if beside.exists() else motion.clip.path)
    if not path.exists():
        raise InputError(
            f"{path}: the clip of this result is not there; say where it is with --video"
        )
    return replace(motion, clip=with_part(probe(path), motion.clip.part))
