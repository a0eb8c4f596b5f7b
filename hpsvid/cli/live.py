"""hpsvid live: bodies drawn over a running camera."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from hpsvid.cli.shell import (
    DetectorOpt,
    FocalOpt,
    IkOpt,
    LifterOpt,
    MaxPeopleOpt,
    QuietOpt,
    SmplOpt,
    ThreadsOpt,
    one_line_errors,
)
from hpsvid.errors import InputError


def live(
    source: Annotated[
        str, typer.Argument(help="A camera's number, rtsp:// or http:// address, or a video.")
    ],
    serve: Annotated[
        str | None,
        typer.Option(help="[HOST:]PORT of a page for browsers, in place of a window."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Result .npz of what was seen.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so long.", min=0.1)] = None,
    detector: DetectorOpt = "embedded",
    lifter: LifterOpt = "geometric",
    solver: IkOpt = "niki-temporal",
    fast: Annotated[
        bool, typer.Option("--fast/--heavy", help="Which of the two landmark networks.")
    ] = True,
    focal: FocalOpt = None,
    max_people: MaxPeopleOpt = None,
    alpha: Annotated[
        float, typer.Option(help="Opacity of the meshes, 0 to 1.", min=0.0, max=1.0)
    ] = 0.85,
    smpl: SmplOpt = None,
    threads: ThreadsOpt = None,
    quiet: QuietOpt = False,
) -> None:
    """Draw bodies over a running camera, newest frame first; Ctrl-C ends it."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.common.files import check_folder
        from hpsvid.formats.npz import write_motion
        from hpsvid.live.capture import open_source
        from hpsvid.live.look import Looker
        from hpsvid.live.page import parse_address
        from hpsvid.live.pose import Poser
        from hpsvid.live.screen import screen
        from hpsvid.live.watch import watch
        from hpsvid.options import Options
        from hpsvid.render import load_renderer

        if out is not None and (out.suffix != ".npz" or out.is_dir()):
            raise InputError(f"{out}: expected the name of an .npz file")
        check_folder(Path() if out is None else out.parent)
        address = None if serve is None else parse_address(serve)
        options = Options(
            detector=detector, lifter=lifter, solver=solver, fast=fast, focal_px=focal,
            max_people=max_people, threads=threads or max(1, (os.cpu_count() or 1) - 1),
        )  # fmt: skip
        clip, shots = open_source(source)
        with ExitStack() as stack:
            stack.callback(shots.close)
            show, url = stack.enter_context(screen(address, f"hpsvid live {source}"))
            looker = Looker(clip, options)
            poser = Poser(looker, load_chosen_body(smpl), options)
            if url and not quiet:
                print(f"look at {url}", flush=True)
            outcome = watch(
                shots, looker, poser, load_renderer("auto"), show,
                alpha=alpha, seconds=seconds, keep=out is not None,
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
