"""hpsvid export --character: a .glb of the user's own character for each person."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.character.gltf import with_motion
from hpsvid.character.retarget import Rig, read_rig, retarget
from hpsvid.common.files import written_whole
from hpsvid.errors import InputError
from hpsvid.formats import Format, check_formats, check_rows
from hpsvid.formats.figure import figures
from hpsvid.formats.glb import GENERATOR
from hpsvid.options import ExportOptions
from hpsvid.types import Motion

HEEDS = frozenset({"fps", "frame", "pad_to_clip", "scale", "loop", "character", "mapping"})


def rows_of(names: Sequence[str], options: ExportOptions) -> list[Format]:
    """The formats of these names, or the one that writes the options' character.

    Raises InputError as `check_formats`, and when the character cannot be read.
    """
    if options.character is None:
        if options.mapping is not None:
            raise InputError("--mapping has no effect without --character; leave it out")
        return check_formats(names, options)
    if tuple(names) != ("glb",):
        raise InputError("--character is written as .glb; leave out --format")
    mapping = None if options.mapping is None else Path(options.mapping)
    rows = [character_format(Path(options.character), mapping)]
    check_rows(rows, options)
    return rows


def character_format(path: Path, mapping: Path | None) -> Format:
    """The format that writes this character; mapping: which bone is which. Raises InputError."""
    return Format(
        name="glb", suffix=".glb", a_person=True, heeds=HEEDS,
        write=partial(_write, read_rig(path, mapping)), check=None,
    )  # fmt: skip


def _write(
    rig: Rig, motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.glb` for each person."""
    paths = []
    for figure in figures(motion, body, options):
        extras = {
            "person": figure.id, "fps": figure.fps, "start_s": figure.start_s,
            "clip": motion.clip.path.name, "character": rig.name,
        }  # fmt: skip
        path = out_dir / f"{stem}_person{figure.id:02d}.glb"
        with written_whole(path) as stream:
            held = options.frame == "world" and not options.loop  # a cycle runs on the spot
            curves = retarget(figure, rig, body, held=held)
            stream.write(with_motion(rig.character, curves, GENERATOR, extras))
        paths.append(path)
    return paths
