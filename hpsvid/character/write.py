"""hpsvid export --character: a .glb of the user's own character for each person."""

from functools import partial
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.character.gltf import with_motion
from hpsvid.character.retarget import Rig, read_rig, retarget
from hpsvid.common.files import written_whole
from hpsvid.formats import Format
from hpsvid.formats.figure import figures
from hpsvid.formats.glb import GENERATOR
from hpsvid.options import ExportOptions
from hpsvid.types import Motion

HEEDS = frozenset({"fps", "frame", "pad_to_clip", "scale", "loop"})


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
            curves = retarget(figure, rig, body)
            stream.write(with_motion(rig.character, curves, GENERATOR, extras))
        paths.append(path)
    return paths
