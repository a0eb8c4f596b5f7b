"""Where the files of an export go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.common.files import check_file, check_folder, staged_apart
from hpsvid.errors import InputError
from hpsvid.formats import FORMATS, Format
from hpsvid.options import ExportOptions
from hpsvid.types import Motion


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the files of an export go: STEM... in a folder, or one named file."""

    folder: Path
    stem: str
    file: Path | None = None  # the name of the file when only one is written

    def existing(self, row: Format, options: ExportOptions) -> list[Path]:
        """The files that are there already under a name that an output may take."""
        files = [self.folder / f"{self.stem}{row.suffix}"] if self.file is None else [self.file]
        if row.each(options):
            name = re.compile(rf"{re.escape(self.stem)}_person\d+{re.escape(row.suffix)}")
            files = [] if self.file is None else files
            files += self.folder.iterdir() if self.folder.is_dir() else []
            files = [file for file in files if file == self.file or name.fullmatch(file.name)]
        return [file for file in files if file.is_file()]

    def write(self, row: Format, motion: Motion, body: Body, options: ExportOptions) -> list[Path]:
        """Write the motion in the format `row`; the files, each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if options.frame is None:
            options = replace(options, frame="camera" if motion.world is None else "world")
        if self.file is None or (row.each(options) and len(motion.people) > 1):
            return row.write(motion, body, self.folder, self.stem, options)
        with staged_apart(self.file) as inside:
            (file,) = row.write(motion, body, inside.parent, self.stem, options)
            file.rename(inside)
        return [self.file]


def target_for(out: Path, stem: str, rows: Sequence[Format]) -> Target:
    """What the user means by `out`: a folder, or a file if it has the format's suffix.

    stem: of the files in a folder. Where several files are written they are called after the one
    named. Changes nothing on disk. Raises InputError when `out` has the suffix of another format,
    or cannot be written.
    """
    known = {Path(f"a{row.suffix}").suffix for row in FORMATS.values()}
    if out.is_dir() or out.suffix.lower() not in known:
        check_folder(out)
        return Target(folder=out, stem=stem)
    if len(rows) > 1:
        raise InputError(f"{out}: {len(rows)} formats are written; name a folder")
    (row,) = rows
    if not out.name.lower().endswith(row.suffix):
        raise InputError(
            f"{out}: the format's files end in {row.suffix}; name such a file, or a folder"
        )
    check_file(out)
    return Target(folder=out.parent, stem=out.stem, file=out)
