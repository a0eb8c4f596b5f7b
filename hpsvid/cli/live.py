"""hpsvid live: bodies drawn over a running camera."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import (
    ForceOpt,
    QuietOpt,
    bounded,
    one_line_errors,
    refuse_idle,
    takes,
    with_old_spelling,
)
from hpsvid.errors import InputError
from hpsvid.options import OUTPUT, DrawOptions, Options


@takes(
    Options,
    only=(
        "input_fps", "detector", "network", "lifter", "solver", "focal_px", "max_people", "smpl",
        "threads",
    ),
    network="small",
)  # fmt: skip
@takes(DrawOptions, only=("alpha",))
def live(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A camera's number, rtsp:// or http:// address, or a video.")
    ],
    options: Options,
    drawing: DrawOptions,
    serve: Annotated[
        str | None,
        typer.Option(
            help="[HOST:]PORT of a page for browsers, in place of a window.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Result .npz of what was seen.", rich_help_panel=OUTPUT),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="End after this many seconds.", min=0.1, rich_help_panel=OUTPUT),
    ] = None,
    small: Annotated[  # the spelling before --network
        bool | None, typer.Option("--fast/--heavy", hidden=True)
    ] = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Draw bodies over a running camera, newest frame first; Ctrl-C ends it."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_folder
        from hpsvid.common.threads import usable_cores
        from hpsvid.formats.npz import write_motion
        from hpsvid.formats.ownership import refuse_foreign
        from hpsvid.live.capture import open_source
        from hpsvid.live.look import Looker
        from hpsvid.live.page import parse_address
        from hpsvid.live.pose import Poser
        from hpsvid.live.screen import screen
        from hpsvid.live.watch import Drawing, watch
        from hpsvid.render import load_renderer

        if out is not None and (out.suffix != ".npz" or out.is_dir()):
            raise InputError(f"{out}: expected the name of an .npz file")
        if out is not None:
            check_folder(out.parent)
            refuse_foreign([out], force=force)
        address = None if serve is None else parse_address(serve)
        options = bounded(with_old_spelling(context, options, small=small), quiet=quiet)
        threads = options.threads or max(1, usable_cores() - 1)
        options = replace(options, threads=threads)
        if source.isdecimal() or "://" in source:
            refuse_idle(context, f"on {source}, which comes at its own pace", "input_fps")
        clip, shots = open_source(source, options.input_fps)
        with ExitStack() as stack:
            stack.callback(shots.close)
            show, url = stack.enter_context(screen(address, f"hpsvid live {source}"))
            looker = Looker(clip, options)
            poser = Poser(looker, load_chosen_body(options.smpl), options)
            if url and not quiet:
                print(f"look at {url}", flush=True)
            outcome = watch(
                shots, looker, poser,
                Drawing(renderer=load_renderer("auto"), alpha=drawing.alpha, show=show),
                seconds=seconds, keep=out is not None,
            )  # fmt: skip
        wrote = ""
        if out is not None and (outcome.kept or outcome.broken is None):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_motion(poser.as_motion(outcome.kept), out)
            wrote = f"; wrote {out}"
        if not quiet:
            print(outcome.numbers.line() + wrote)
        if outcome.broken is not None:
            kept = f"; what was seen until then is in {out}" if wrote else ""
            raise InputError(f"{outcome.broken}{kept}")
