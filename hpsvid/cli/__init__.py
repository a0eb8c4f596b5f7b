"""The command line: options in, one clear line out when something is wrong.

Nothing heavy is imported at the top of these modules, so that every `--help` is instant.
"""

import signal
import sys
from typing import Annotated

import typer

from hpsvid.cli import measure, models
from hpsvid.cli import run as clips
from hpsvid.cli.shell import app

__all__ = ["app", "clips", "main", "measure", "models"]  # importing the modules adds commands


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import hpsvid

        print(hpsvid.__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of the `hpsvid` script."""
    # as Ctrl-C: what was begun is cleared away before the end
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app()
