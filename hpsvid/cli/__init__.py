"""The command line: options in, one clear line out when something is wrong.

Nothing heavy is imported at the top of these modules, so that every `--help` is instant.
"""

import atexit
import gc
import signal
import sys
from typing import Annotated

import typer

from hpsvid.cli import (
    draw,
    export,
    foreign,
    live,
    measure,
    models,
    run,
    surface,
    texture,
    tracks,
    view,
)
from hpsvid.cli.shell import Commands
from hpsvid.errors import Ended, ending

app = typer.Typer(
    cls=Commands,
    help="Video of people in, smooth 3D human motion out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# in the order of --help
app.command()(run.run)
app.command()(export.export)
app.command("import")(foreign.import_)
app.command()(draw.draw)
app.command()(view.view)
app.command()(texture.texture)
app.command()(surface.surface)
app.add_typer(tracks.tracks_app, name="tracks")
app.command()(tracks.trim)
app.command()(tracks.smooth)
app.add_typer(tracks.edit_app, name="edit")
app.command()(live.live)
app.command()(measure.occlude)
app.command("eval")(measure.evaluate)
app.command()(measure.bench)
app.command()(measure.sensitivity)
app.command()(models.train)
app.add_typer(models.weights_app, name="weights")
app.command()(models.doctor)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    if version:
        import hpsvid

        print(hpsvid.__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of the `hpsvid` script."""
    atexit.register(gc.freeze)  # else Python looks through all of torch once more: half a second
    # as Ctrl-C: what was begun is cleared away before the end
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
            signal.signal(number, _end)
    try:
        app()
    except KeyboardInterrupt as error:
        sys.exit(ending(error)[1])


def _end(number: int, frame: object) -> None:
    raise Ended(number)
