"""Motion -> file: one module a format, one row each in `FORMATS`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.formats.amass import write_amass
from hpsvid.formats.bvh import write_bvh
from hpsvid.formats.npz import read_motion, write_motion, write_result
from hpsvid.options import ExportOptions, FormatName, known_format
from hpsvid.types import Motion

__all__ = [
    "FORMATS",
    "ExportOptions",
    "Format",
    "check_options",
    "read_motion",
    "write_motion",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file that a Motion can be written to."""

    suffix: str
    a_person: bool  # a file for each person, STEM_personNN; else one file STEM
    heeds: frozenset[str]  # the options that change what is written
    # (motion, body, out_dir, stem, options) -> the files written, each whole or not at all
    write: Callable[[Motion, Body, Path, str, ExportOptions], list[Path]]


FORMATS: dict[FormatName, Format] = {
    "npz": Format(suffix=".npz", a_person=False, heeds=frozenset(), write=write_result),
    "bvh": Format(suffix=".bvh", a_person=True, heeds=frozenset({"fps", "rig"}), write=write_bvh),
    "amass": Format(suffix=".npz", a_person=True, heeds=frozenset({"fps"}), write=write_amass),
}


def check_options(name: FormatName, options: ExportOptions) -> Format:
    """The format's row, for use before any work is done.

    Raises InputError when the format is unknown or would pass over an option that was set.
    """
    name = known_format(name)
    for option in fields(options):
        changed = getattr(options, option.name) != option.default
        if changed and option.name not in FORMATS[name].heeds:
            able = [other for other, row in FORMATS.items() if option.name in row.heeds]
            raise InputError(
                f"--{option.name} has no part in --format {name}; leave it out, or use "
                f"--format {' or '.join(able)}"
            )
    return FORMATS[name]
