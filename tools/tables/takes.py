"""Rendered takes that a table is made of: each a function of its seed, kept in a folder."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from hpsvid.common.tables import Table
from hpsvid.errors import InputError
from hpsvid.mocap.amass import read_mocap_folder
from hpsvid.mocap.sources import MotionSource
from tools.people.assets import cache_folder, find_assets, shared_folder
from tools.people.character import Wardrobe

Render = Callable[[int, Path, MotionSource, Wardrobe], None]
"""Writes the clip and, last, the truth (SEED.npz) of a seed into a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """A kind of rendered takes."""

    frames: int  # of captured motion that one shows
    render: Render
    name: Callable[[int], str] = str  # what is said of a seed that was rendered

    def render_missing(self, seeds: Sequence[int], folder: Path) -> None:
        """Render the takes that are not in the folder yet."""
        missing = [seed for seed in seeds if not (folder / f"{seed:03d}.npz").exists()]
        if not missing:
            return
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        folder.mkdir(parents=True, exist_ok=True)
        wardrobe = Wardrobe(find_assets())
        mocap = shared_folder() / "data/mocap/free/val"
        source = MotionSource(tuple(read_mocap_folder(mocap, wardrobe.body)), self.frames)
        for seed in missing:
            self.render(seed, folder, source, wardrobe)
            print(f"rendered {self.name(seed)}", file=sys.stderr, flush=True)

    def command(
        self, what: str, seeds: str, folder: str, table: Callable[[Sequence[int], Path], Table]
    ) -> None:
        """Render what is missing, measure, print the table, as the command line asks.

        what: the tool does; seeds, folder: used where the command line says nothing.
        """
        parser = argparse.ArgumentParser(description=what)
        parser.add_argument("--seeds", default=seeds, help=f"such as 0-24 or 3,7 (default {seeds})")
        parser.add_argument("--cache", type=Path, default=cache_folder() / folder)
        parser.add_argument("--render-only", action="store_true", help="measure nothing")
        options = parser.parse_args()
        try:
            chosen = list(seeds_of(options.seeds))
        except ValueError:
            parser.error(f"--seeds {options.seeds}: expected numbers such as 0-24 or 3,7")
        try:
            self.render_missing(chosen, options.cache)
            if not options.render_only:
                print(table(chosen, options.cache).markdown())
        except InputError as error:
            raise SystemExit(str(error)) from None


def seeds_of(text: str) -> Iterator[int]:
    """The numbers of "0-3,7"."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
