"""hpsvid surface: shapes and surfaces of people, read off the clip once more."""

from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import ClipOpt, ForceOpt, QuietOpt, one_line_errors, progress_bars, with_clip
from hpsvid.errors import InputError, NoPersonError
from hpsvid.options import OUTPUT


def surface(
    result: Annotated[Path, typer.Argument(help="A result .npz.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The new result .npz.", rich_help_panel=OUTPUT)
    ],
    video: ClipOpt = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Correct people's shapes by dense maps of the clip; keep what no shape can say as offsets."""
    with one_line_errors():
        from hpsvid.body.model import load_body
        from hpsvid.common.weights import weights_path
        from hpsvid.edit import check_body
        from hpsvid.formats.npz import read_motion, write_motion
        from hpsvid.formats.ownership import check_outputs
        from hpsvid.pipeline.surface import with_surface

        if out.suffix != ".npz":
            raise InputError(f"{out}: suffix {out.suffix!r}; expected .npz")
        motion = with_clip(read_motion(result), result, video)
        if not motion.people:
            raise NoPersonError(f"{result}: holds no person; no surface to read")
        check_outputs([out], force=force)
        body = load_body(weights_path("free_body"))
        check_body(motion, body)
        with progress_bars(shown=not quiet) as progress:
            motion = with_surface(motion, body, progress)
        write_motion(motion, out)
        if not quiet:
            typer.echo(f"wrote {out}", err=True)
