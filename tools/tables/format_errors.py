"""How exactly other programs read hpsvid's files back: the table of docs/formats.md.

    python -m tools.tables.format_errors RESULT.npz [RESULT.npz ...] [--bpy PYTHON]
        [--opensim PYTHON]

Each result is written in every format, read by a program or package of somebody else, and the
joints compared with the result's own: the largest distance over all people, frames and joints.
Needs the dev extras; Blender's rows need a Python that has bpy, OpenSim's one that has opensim. Of
a .mot it is the pelvis's place that is compared: the rest are angles.
"""

import argparse
import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.skeleton import SMPL
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.tables import Column, Table
from hpsvid.formats import FORMATS
from hpsvid.formats.npz import read_motion
from hpsvid.formats.opensim import MARKERS
from hpsvid.formats.rig import bone_names
from hpsvid.options import ExportOptions, FormatName
from hpsvid.types import Array, Motion

_Z_TO_Y_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_CAMERA_TO_Y_UP = np.diag([1.0, -1, -1])
_JOINTS = SMPL.n_rotations
_BLENDER = """
import json, sys, bpy
path, fps, rows = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = max(1, round(fps))
scene.render.fps_base = scene.render.fps / fps
kind = path.rpartition(".")[2]
first = 0
if kind == "glb":
    bpy.ops.import_scene.gltf(filepath=path)
elif kind == "bvh":
    bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01)
    first = 1
elif kind == "fbx":
    bpy.ops.import_scene.fbx(filepath=path)
    first = 1
else:
    bpy.ops.wm.usd_import(filepath=path)
seen = []
for frame in range(first, first + rows):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    (rig,) = (o for o in bpy.data.objects if o.type == "ARMATURE")
    world = rig.evaluated_get(graph)
    seen.append({bone.name: list(world.matrix_world @ bone.head) for bone in world.pose.bones})
print("seen " + json.dumps(seen))
"""


_OPENSIM = """
import json, sys, opensim
path = sys.argv[1]
if path.endswith(".trc"):
    table = opensim.TimeSeriesTableVec3(path)
    labels = list(table.getColumnLabels())
    rows = [[[row[i][k] for k in range(3)] for i in range(len(labels))]
            for row in map(table.getRowAtIndex, range(table.getNumRows()))]
else:
    table = opensim.TimeSeriesTable(path)
    columns = [table.getDependentColumn("pelvis_t" + axis) for axis in "xyz"]
    rows = [[[column[n] for column in columns]] for n in range(table.getNumRows())]
print("seen " + json.dumps(rows))
"""


def by_opensim(python: str, path: Path, fps: float, rows: int) -> Array:
    """Joints (T, 24, 3) m of a .trc, or the pelvis (T, 1, 3) m of a .mot, as OpenSim reads them."""
    ran = subprocess.run(
        [python, "-c", _OPENSIM, str(path)], capture_output=True, check=True, text=True
    )
    places = np.array(json.loads(ran.stdout.split("seen ")[1].splitlines()[0]))
    return places[:, -_JOINTS:]


def by_blender(python: str, path: Path, fps: float, rows: int) -> Array:
    """World joints (T, 24, 3) m, y up, as Blender places the heads of the bones."""
    ran = subprocess.run(
        [python, "-c", _BLENDER, str(path), repr(fps), str(rows)], capture_output=True, check=True,
        text=True,
    )  # fmt: skip
    seen = json.loads(ran.stdout.split("seen ")[1].splitlines()[0])
    places = [[row[name] for name in bone_names("smpl")[:_JOINTS]] for row in seen]
    return np.array(places) @ _Z_TO_Y_UP.T


def by_usd(path: Path, fps: float, rows: int) -> Array:
    """World joints (T, 24, 3) m of a .usdc or .usdz, by Pixar's own skeleton query, y up."""
    from pxr import Usd, UsdGeom, UsdSkel  # pyright: ignore[reportAttributeAccessIssue]

    pxr: Any = (Usd, UsdGeom, UsdSkel)
    usd, geometry, skel = pxr
    stage = usd.Stage.Open(str(path))
    (prim,) = (prim for prim in stage.Traverse() if prim.IsA(skel.Skeleton))
    query = skel.Cache().GetSkelQuery(skel.Skeleton(prim))
    places = []
    for row in range(rows):
        matrices = np.array(query.ComputeJointSkelTransforms(usd.TimeCode(row)))
        places.append(matrices[:_JOINTS, 3, :3])
    joints = np.array(places) * geometry.GetStageMetersPerUnit(stage)
    return joints if geometry.GetStageUpAxis(stage) == "Y" else joints @ _Z_TO_Y_UP.T


def by_bvhio(path: Path, fps: float, rows: int) -> Array:
    """World joints (T, 24, 3) m of a .bvh."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import of glm is on its way out
        import bvhio

        root = bvhio.readAsHierarchy(str(path))
    places: dict[str, list[list[float]]] = {}
    for frame in range(rows):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            places.setdefault(joint.Name, []).append(list(joint.PositionWorld))
    return np.stack([places[name] for name in bone_names("smpl")[:_JOINTS]], 1) / 100


def by_pybvh(path: Path, fps: float, rows: int) -> Array:
    """World joints (T, 24, 3) m of a .bvh."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pybvh

        skeleton = pybvh.read_bvh_file(path)
    names = [node.name for node in skeleton.nodes]
    kept = [names.index(name) for name in bone_names("smpl")[:_JOINTS]]
    return np.asarray(skeleton.node_positions())[:, kept] / 100


def by_pandas(path: Path, fps: float, rows: int) -> Array:
    """Joints (T, 24, 3) m of a .csv or .trc."""
    import pandas

    if path.suffix == ".csv":
        table = pandas.read_csv(path)
        names = [f"{name}_{axis}_m" for name in SMPL.rotation_names for axis in "xyz"]
        return table[names].to_numpy().reshape(rows, _JOINTS, 3)
    table = pandas.read_csv(path, sep="\t", skiprows=6, header=None)
    points = table.iloc[:, 2:].to_numpy().reshape(rows, len(MARKERS), 3)
    return points[:, -_JOINTS:]


def by_json(path: Path, fps: float, rows: int) -> Array:
    """Joints (T, 24, 3) m of a .json of one person."""
    (person,) = json.loads(path.read_text())["people"]
    return np.array(person["joints"])[:, :_JOINTS]


def by_c3d(path: Path, fps: float, rows: int) -> Array:
    """Joints (T, 24, 3) m, y up, of a .c3d."""
    import c3d

    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no analog data
        reader = c3d.Reader(stream)
        assert abs(reader.point_rate - fps) < 1e-3
        points = np.array([points[:, :3] for _, points, _ in reader.read_frames()])
    return points[:, -_JOINTS:] / 1000 @ _Z_TO_Y_UP.T


READERS: dict[tuple[FormatName, str], Callable[[Path, float, int], Array]] = {
    ("bvh", "bvhio"): by_bvhio,
    ("bvh", "pybvh"): by_pybvh,
    ("usd", "usd-core"): by_usd,
    ("usdz", "usd-core"): by_usd,
    ("csv", "pandas"): by_pandas,
    ("trc", "pandas"): by_pandas,
    ("json", "json"): by_json,
    ("c3d", "c3d"): by_c3d,
}


def largest_error(
    motion: Motion, name: FormatName, read: Callable[[Path, float, int], Array],
    options: ExportOptions | None = None,
) -> float:  # fmt: skip
    """Largest distance, m, of a joint read back to the motion's own, over all of its people."""
    from dataclasses import replace

    body, worst = load_chosen_body(None), 0.0
    for person in motion.people:
        alone = replace(motion, people=(person,))
        with tempfile.TemporaryDirectory() as folder:
            (path,) = FORMATS[name].write(
                alone, body, Path(folder), "a", options or ExportOptions()
            )
            found = read(path, float(motion.clip.fps), len(person.track))
        expected = person.joints[:, : found.shape[1]] @ _CAMERA_TO_Y_UP
        worst = max(worst, float(np.linalg.norm(found - expected, axis=-1).max()))
    return worst


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--bpy", help="a Python that has bpy")
    parser.add_argument("--opensim", help="a Python that has opensim")
    given = parser.parse_args()
    readers = dict(READERS)
    options = ExportOptions(blender=Path(given.bpy) if given.bpy else None)
    if given.bpy:
        for name in ("glb", "bvh", "fbx", "usd"):
            readers[name, "bpy"] = lambda path, fps, rows: by_blender(given.bpy, path, fps, rows)
    if given.opensim:
        for name in ("trc", "mot"):
            readers[name, "OpenSim"] = lambda path, fps, rows: by_opensim(
                given.opensim, path, fps, rows
            )
    motions = [read_motion(path) for path in given.results]
    rows = [
        [name, reader, *(1000 * largest_error(m, name, read, options) for m in motions)]
        for (name, reader), read in readers.items()
    ]
    columns = [Column(path.stem, unit="mm", form="{:.4f}") for path in given.results]
    print(Table([Column("format", align="left"), Column("reader", align="left"), *columns],
                rows).markdown())  # fmt: skip


if __name__ == "__main__":
    main()
