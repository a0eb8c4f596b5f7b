"""hpsvid import: another tool's result as one of ours."""

from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import ForceOpt, QuietOpt, SmplOpt, one_line_errors, stem_of
from hpsvid.errors import InputError
from hpsvid.options import MAX_FPS, OUTPUT


def import_(
    file: Annotated[Path, typer.Argument(
        help="Of GVHMR (.pt), WHAM, 4D-Humans (.pkl), ROMP, AMASS, SMPL-X (.npz), or a .bvh.")],
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", help="The result (.npz). Default: FILE_imported.npz here.",
        rich_help_panel=OUTPUT)] = None,
    fps: Annotated[float | None, typer.Option(
        help="Frames a second, of a file that does not say it.", min=1, max=MAX_FPS)] = None,
    video: Annotated[Path | None, typer.Option(help="The video that it was made from.")] = None,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:  # fmt: skip
    """Turn another tool's result into one of ours, for export, view, draw, tracks and eval."""
    with one_line_errors():
        import hpsvid
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_file
        from hpsvid.foreign.reading import read_foreign
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.video.probe import probe

        out = out or Path(f"{stem_of(file)}_imported.npz")
        if out.exists() and file.exists() and out.samefile(file):
            raise InputError(f"{out}: is the input itself; give another place with --out")
        check_file(out)
        refuse_foreign([out], force=force)
        clip = None if video is None else probe(video)
        motion = read_foreign(file, load_chosen_body(smpl), clip=clip, fps=fps)
        hpsvid.save(motion, out, force=force)
        if not quiet:
            tool = motion.provenance.other["imported"]["tool"]
            frames = f"{len(motion.pts_s)} frames at {float(motion.clip.fps):g} Hz"
            typer.echo(f"{file}: {tool}, {len(motion.people)} people, {frames}", err=True)
            typer.echo(f"wrote {out}", err=True)
