"""hpsvid texture: what people of a result look like, unwrapped."""

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
    with_clip,
)
from hpsvid.errors import InputError, NoPersonError
from hpsvid.options import OUTPUT


def texture(
    result: Annotated[Path, typer.Argument(help="A result .npz.")],
    person: Annotated[int | None, typer.Option(help="Only this person.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The picture (.png .jpg) of one person, or a folder. Default: "
            "RESULT_personNN_texture.png beside the result, where --look textured finds it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(help="Texels a side.", min=64, max=4096, rich_help_panel=OUTPUT)
    ] = 1024,
    video: ClipOpt = None,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Unwrap what the clip shows of each person into a texture of the body."""
    with one_line_errors():
        from hpsvid.appearance.files import texture_path, write_texture
        from hpsvid.appearance.make import textured
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.edit import check_body, person_of
        from hpsvid.formats.npz import read_motion
        from hpsvid.formats.ownership import check_outputs

        motion = with_clip(read_motion(result), result, video)
        if not motion.people:
            raise NoPersonError(f"{result}: holds no person; nothing to unwrap")
        ids = [p.track.id for p in motion.people] if person is None else [person]
        for number in ids:
            person_of(motion, number)
        paths = {number: texture_path(result, number) for number in ids}
        if out is not None and out.suffix and not out.is_dir():
            if len(ids) != 1:
                raise InputError(f"{out}: {len(ids)} people; name a folder, or choose one --person")
            if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
                raise InputError(f"{out}: suffix {out.suffix!r}; expected .png or .jpg")
            paths = {ids[0]: out}
        elif out is not None:
            paths = {number: out / path.name for number, path in paths.items()}
        for path in paths.values():
            if path.exists() and motion.clip.path.exists() and path.samefile(motion.clip.path):
                raise InputError(f"{path}: is the clip itself; name another file for the texture")
        check_outputs(paths.values(), force=force)
        body = load_chosen_body(smpl)
        check_body(motion, body)
        with progress_bars(shown=not quiet) as progress:
            motion = textured(motion, body, progress, ids=ids, size=size)
        for number, path in paths.items():
            write_texture(person_of(motion, number), path)
            if not quiet:
                typer.echo(f"wrote {path}", err=True)
