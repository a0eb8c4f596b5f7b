"""Autodesk's FBX (.fbx), made by Blender from the .glb: skinned, animated bodies and the camera.

The format has no open description; Blender's exporter is the free program that other programs'
importers are tested against. Blender runs as another process, on files of a folder of its own.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hpsvid.body.model import Body
from hpsvid.common.files import staged
from hpsvid.errors import InputError
from hpsvid.formats.figure import Figure, figures, refuse_overlap
from hpsvid.formats.glb import glb_of
from hpsvid.formats.skin import check_mesh
from hpsvid.options import ExportOptions
from hpsvid.types import Motion

_LONGEST_S = 1800  # Blender bakes about 100 frames a second
_SAID = 300  # characters of Blender's last words that an error repeats
_SCRIPT = """
import json, sys
import bpy

given = json.loads(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = max(1, round(given["fps"]))
scene.render.fps_base = scene.render.fps / given["fps"]
bpy.ops.import_scene.gltf(filepath=given["glb"], disable_bone_shape=True)
scene.frame_start, scene.frame_end = 0, given["rows"] - 1
scene["made_by"] = "hpsvid"
for thing in bpy.data.objects:
    thing["made_by"] = "hpsvid"
bpy.ops.export_scene.fbx(
    filepath=given["fbx"], object_types={"ARMATURE", "MESH", "EMPTY", "CAMERA"},
    add_leaf_bones=False, bake_anim_use_all_actions=False, bake_anim_use_nla_strips=False,
    bake_anim_simplify_factor=0, use_custom_props=True, colors_type="SRGB",
    apply_scale_options="FBX_SCALE_UNITS",
)
"""


def find_blender(given: Path | None) -> list[str]:
    """The command, up to its script, that runs a script in Blender.

    given: a blender, or a Python that has bpy; None takes the one on the PATH, or this Python.
    Raises InputError when there is none.
    """
    if given is not None:
        found = shutil.which(given) or (str(given) if given.is_file() else None)
        if found is None:
            raise InputError(f"--blender {given}: no such program")
    else:
        found = shutil.which("blender")
        if found is None and importlib.util.find_spec("bpy") is not None:
            found = sys.executable
    if found is None:
        raise InputError(
            "--format fbx needs Blender, which is not found; install it (blender.org, or pip "
            "install bpy for the Python that its page names) or say where it is with --blender "
            "PATH; most programs that read FBX read --format glb, too"
        )
    if Path(found).name.lower().startswith("python"):
        return [found]
    return [found, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]


def write_fbx(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.fbx` for each person, or `STEM.fbx` with all of them.

    Raises InputError when there is no Blender or it fails, or as `write_glb`.
    """
    command = find_blender(options.blender)
    check_mesh(body, options)
    refuse_overlap(motion, options)
    people = figures(motion, body, options)
    if options.together:
        files = {out_dir / f"{stem}.fbx": people}
    else:
        files = {out_dir / f"{stem}_person{figure.id:02d}.fbx": [figure] for figure in people}
    for path, group in files.items():
        with staged(path) as beside, tempfile.TemporaryDirectory(prefix="hpsvid_fbx_") as folder:
            made = _by_blender(command, Path(folder), group, glb_of(group, motion, body, options))
            shutil.copyfile(made, beside)
    return list(files)


def _by_blender(command: list[str], folder: Path, people: Sequence[Figure], glb: bytes) -> Path:
    """The .fbx that Blender makes of a .glb. Raises InputError with its last words."""
    script, source, result = (folder / name for name in ("make.py", "a.glb", "a.fbx"))
    script.write_text(_SCRIPT, encoding="utf-8")
    source.write_bytes(glb)
    start_s = min(figure.start_s for figure in people)
    end_s = max(float(figure.times_s[-1]) for figure in people)
    fps = people[0].fps
    given = {
        "glb": str(source), "fbx": str(result), "fps": fps,
        "rows": round((end_s - start_s) * fps) + 1,
    }  # fmt: skip
    try:
        ran = subprocess.run(
            [*command, str(script), "--", json.dumps(given)], capture_output=True, check=False,
            text=True, errors="replace", timeout=_LONGEST_S, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"--format fbx: {command[0]} cannot be used ({error})") from error
    if ran.returncode or not result.is_file():
        said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
        raise InputError(
            f"--format fbx: {command[0]} failed ({' '.join(said[-1:])[-_SAID:] or ran.returncode})"
        )
    return result


def check_fbx(options: ExportOptions) -> None:
    """Raise InputError when there is no Blender."""
    find_blender(options.blender)
