"""Motion -> file: one module a format, one row each in `FORMATS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.flags import choices
from hpsvid.formats.amass import write_amass
from hpsvid.formats.bvh import write_bvh
from hpsvid.formats.c3d import check_c3d, write_c3d
from hpsvid.formats.camera import write_camera, write_chan
from hpsvid.formats.fbx import check_fbx, write_fbx
from hpsvid.formats.glb import write_glb
from hpsvid.formats.npz import read_motion, write_motion, write_result
from hpsvid.formats.opensim import write_mot, write_trc
from hpsvid.formats.skin import check_mesh
from hpsvid.formats.tables import write_coco, write_csv, write_json
from hpsvid.formats.usd import check_usd, write_usd, write_usdz
from hpsvid.options import ExportOptions, FormatName, known_format
from hpsvid.types import Motion

__all__ = [
    "FORMATS",
    "ExportOptions",
    "Format",
    "check_body_of",
    "check_formats",
    "check_options",
    "check_rows",
    "read_motion",
    "write_motion",
]


# (motion, body, out_dir, stem, options) -> the files written, each whole or not at all
Writer = Callable[[Motion, Body, Path, str, ExportOptions], list[Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file that a Motion can be written to."""

    name: FormatName
    suffix: str
    a_person: bool  # a file for each person, STEM_personNN; else one file STEM
    heeds: frozenset[str]  # the options that change what is written
    write: Writer
    check: Callable[[ExportOptions], None] | None  # raises when what it needs is not installed

    def each(self, options: ExportOptions) -> bool:
        """Whether there is a file for each person."""
        return self.a_person and not options.together


_PLACED = {"fps", "frame", "pad_to_clip"}  # what every file of motion can heed
_TABLE = _PLACED | {"up_axis"}
_CAMERA = {"fps", "frame", "up_axis", "scale"}
_MESH = _PLACED | {"rig", "scale", "together", "licensed_mesh", "loop"}


def _row(
    name: FormatName,
    write: Writer,
    heeds: set[str],
    *,
    suffix: str = "",
    a_person: bool = True,
    check: Callable[[ExportOptions], None] | None = None,
) -> Format:
    return Format(
        name=name, suffix=suffix or f".{name}", a_person=a_person, heeds=frozenset(heeds),
        write=write, check=check,
    )  # fmt: skip


_ROWS = (
    _row("npz", write_result, set(), a_person=False),
    _row("bvh", write_bvh, _PLACED | {"rig", "up_axis", "scale", "rest_frame", "loop"}),
    _row("amass", write_amass, _PLACED | {"loop"}, suffix=".npz"),
    _row("glb", write_glb, _MESH | {"look"}),
    _row("fbx", write_fbx, _MESH | {"blender"}, check=check_fbx),
    _row("usd", write_usd, _MESH | {"up_axis"}, suffix=".usdc", check=check_usd),
    _row("usdz", write_usdz, _MESH | {"up_axis"}, check=check_usd),
    _row("csv", write_csv, _TABLE | {"together"}),
    _row("json", write_json, _TABLE, a_person=False),
    _row("coco", write_coco, set(), suffix=".coco.json", a_person=False),
    _row("trc", write_trc, _PLACED),
    _row("mot", write_mot, _PLACED),
    _row("c3d", write_c3d, _TABLE, check=check_c3d),
    _row("chan", write_chan, _CAMERA, a_person=False),
    _row("camera", write_camera, _CAMERA, suffix=".camera.json", a_person=False),
)
FORMATS: dict[FormatName, Format] = {row.name: row for row in _ROWS}


def check_options(name: FormatName, options: ExportOptions) -> Format:
    """The format's row, for use before any work is done.

    Raises InputError when the format is unknown or would pass over an option that was set.
    """
    return check_formats([name], options)[0]


def check_formats(names: Sequence[str], options: ExportOptions) -> list[Format]:
    """The rows of several formats; raises as `check_options`, and where something is missing."""
    rows = [FORMATS[known_format(name)] for name in names]
    check_rows(rows, options)
    return rows


def check_rows(rows: Sequence[Format], options: ExportOptions) -> None:
    """Raise as `check_formats` for formats that are known already."""
    names = [row.name for row in rows]
    for option in choices(ExportOptions):
        changed = getattr(options, option.name) != option.default
        if changed and not any(option.name in row.heeds for row in rows):
            able = [row.name for row in _ROWS if option.name in row.heeds]
            raise InputError(
                f"{option.option} has no part in --format {','.join(names)}; leave it out, or use "
                f"--format {' or '.join(able)}"
            )
    for row in rows:
        if row.check is not None:
            row.check(options)


def check_body_of(rows: Sequence[Format], body: Body, options: ExportOptions) -> None:
    """Raise InputError when one of the formats holds a mesh and the body's may not be written."""
    if any("licensed_mesh" in row.heeds for row in rows):
        check_mesh(body, options)
