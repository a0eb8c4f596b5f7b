"""Motion -> file: one module a format, one row each in `FORMATS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.formats.amass import write_amass
from hpsvid.formats.bvh import write_bvh
from hpsvid.formats.glb import write_glb
from hpsvid.formats.npz import read_motion, write_motion, write_result
from hpsvid.options import ExportOptions, FormatName, choices, known_format
from hpsvid.types import Motion

__all__ = [
    "FORMATS",
    "ExportOptions",
    "Format",
    "check_formats",
    "check_options",
    "read_motion",
    "write_motion",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file that a Motion can be written to."""

    name: FormatName
    suffix: str
    a_person: bool  # a file for each person, STEM_personNN; else one file STEM
    heeds: frozenset[str]  # the options that change what is written
    # (motion, body, out_dir, stem, options) -> the files written, each whole or not at all
    write: Callable[[Motion, Body, Path, str, ExportOptions], list[Path]]

    def each(self, options: ExportOptions) -> bool:
        """Whether there is a file for each person."""
        return self.a_person and not options.together


_PLACED = {"fps", "frame", "pad_to_clip"}  # what every file of motion can heed
_ROWS = (
    Format(name="npz", suffix=".npz", a_person=False, heeds=frozenset(), write=write_result),
    Format(
        name="bvh", suffix=".bvh", a_person=True, write=write_bvh,
        heeds=frozenset(_PLACED | {"rig", "up_axis", "scale"}),
    ),
    Format(
        name="amass", suffix=".npz", a_person=True, write=write_amass, heeds=frozenset(_PLACED)
    ),
    Format(
        name="glb", suffix=".glb", a_person=True, write=write_glb,
        heeds=frozenset(_PLACED | {"rig", "scale", "together", "licensed_mesh"}),
    ),
)  # fmt: skip
FORMATS: dict[FormatName, Format] = {row.name: row for row in _ROWS}


def check_options(name: FormatName, options: ExportOptions) -> Format:
    """The format's row, for use before any work is done.

    Raises InputError when the format is unknown or would pass over an option that was set.
    """
    return check_formats([name], options)[0]


def check_formats(names: Sequence[str], options: ExportOptions) -> list[Format]:
    """The rows of several formats. Raises as `check_options`, when none heeds a set option."""
    rows = [FORMATS[known_format(name)] for name in names]
    for option in choices(ExportOptions):
        changed = getattr(options, option.name) != option.default
        if changed and not any(option.name in row.heeds for row in rows):
            able = [row.name for row in _ROWS if option.name in row.heeds]
            raise InputError(
                f"{option.option} has no part in --format {','.join(names)}; leave it out, or use "
                f"--format {' or '.join(able)}"
            )
    return rows
