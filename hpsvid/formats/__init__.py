"""Motion -> file: one module a format, one row each in `FORMATS`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.common.files import Stage, check_file, check_folder
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the files of an export go: STEM... in a folder, or one named file."""

    folder: Path
    stem: str
    file: Path | None = None  # the name of the file when only one is written

    def existing(self, row: Format) -> list[Path]:
        """The files that are there already under a name that an output may take."""
        files = [self.folder / f"{self.stem}{row.suffix}"] if self.file is None else [self.file]
        if row.a_person:
            name = re.compile(rf"{re.escape(self.stem)}_person\d+{re.escape(row.suffix)}")
            files = [] if self.file is None else files
            files += self.folder.iterdir() if self.folder.is_dir() else []
            files = [file for file in files if file == self.file or name.fullmatch(file.name)]
        return [file for file in files if file.is_file()]

    def write(self, row: Format, motion: Motion, body: Body, options: ExportOptions) -> list[Path]:
        """Write the motion in the format `row`; the files, each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.file is None or (row.a_person and len(motion.people) > 1):
            return row.write(motion, body, self.folder, self.stem, options)
        stage = Stage(self.file)  # a folder, in which the file has the name that it would have
        try:
            stage.beside.mkdir()
            (file,) = row.write(motion, body, stage.beside, self.stem, options)
            file.replace(self.file)
        finally:
            stage.discard()
        return [self.file]


def target_for(out: Path, stem: str, row: Format) -> Target:
    """What the user means by `out`: a folder, or a file if it has the format's suffix.

    stem: of the files in a folder. Where several files are written they are called after the one
    named. Changes nothing on disk. Raises InputError when `out` has the suffix of another format,
    or cannot be written.
    """
    suffix = out.suffix.lower()
    if out.is_dir() or suffix not in {known.suffix for known in FORMATS.values()}:
        check_folder(out)
        return Target(folder=out, stem=stem)
    if suffix != row.suffix:
        raise InputError(
            f"{out}: the format's files end in {row.suffix}; name such a file, or a folder"
        )
    check_file(out)
    return Target(folder=out.parent, stem=out.stem, file=out)
