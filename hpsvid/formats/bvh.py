"""Biovision hierarchy files (.bvh), one a person: y up, centimetres, rest pose = T-pose.

People stand on the floor, y = 0, the camera looking along -z. In the camera's frame the world is
the camera's, turned by half a circle about x, and the camera is taken as level: where it was
pitched or rolled, the figure leans by that angle. A file starts with its person's first frame: BVH
has no key for an offset in time. Blender takes a unit for a metre, so import with
`global_scale=0.01`.
"""

from pathlib import Path

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.files import written_whole
from hpsvid.formats.euler import euler_zxy
from hpsvid.formats.figure import figures
from hpsvid.formats.rig import RIGS
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion

_CM_PER_M = 100
# R = Rz Rx Ry, the order of Biovision's own files
_ROTATION_CHANNELS = "Zrotation Xrotation Yrotation"


def write_bvh(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.bvh` for each person at the clip's rate or `options.fps`.

    Bones have the lengths of the person's own betas; joints are named after `options.rig`. With
    `options.rest_frame` a frame in the rest pose comes first.
    """
    paths = []
    for figure in figures(motion, body, options):
        hierarchy, order = _hierarchy(figure.rest * _CM_PER_M, RIGS[options.rig])
        angles, places = np.rad2deg(euler_zxy(figure.rotmats))[:, order], figure.pelvis
        if options.rest_frame:
            angles = np.concatenate([np.zeros_like(angles[:1]), angles])
            places = np.concatenate([places[:1], places])
        values = np.concatenate([places * _CM_PER_M, angles.reshape(len(angles), -1)], 1)
        row = " ".join(["%.5f"] * values.shape[1])
        # adding 0 turns a rounded -0 into 0
        frames = [row % tuple(v) for v in (values.round(5) + 0.0).tolist()]
        head = [*hierarchy, "MOTION", f"Frames: {len(frames)}", f"Frame Time: {1 / figure.fps:.9f}"]
        path = out_dir / f"{stem}_person{figure.id:02d}.bvh"
        with written_whole(path) as stream:
            stream.write(("\n".join([*head, *frames]) + "\n").encode("ascii"))
        paths.append(path)
    return paths


def _hierarchy(rest_cm: Array, names: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """The HIERARCHY section's lines, and the joints in the order of its channels.

    rest_cm: (29, 3). The root's offset is zero, because programs disagree whether its position
    channels replace the offset or add to it. The five leaves become End Sites.
    """
    lines, order = ["HIERARCHY"], []

    def add(joint: int, depth: int) -> None:
        offset = rest_cm[joint] - rest_cm[SMPL.parents[joint]] if depth else np.zeros(3)
        pad = "\t" * depth
        kind = "ROOT" if depth == 0 else "JOINT"
        lines.append(
            f"{pad}{kind} {names[joint]}" if joint < SMPL.n_rotations else f"{pad}End Site"
        )
        lines.append(f"{pad}{{")
        lines.append(f"{pad}\tOFFSET " + " ".join(f"{value:.5f}" for value in offset.tolist()))
        if joint < SMPL.n_rotations:
            order.append(joint)
            position = "" if depth else "Xposition Yposition Zposition "
            count = 3 if depth else 6
            lines.append(f"{pad}\tCHANNELS {count} {position}{_ROTATION_CHANNELS}")
        for child in (child for child, parent in enumerate(SMPL.parents) if parent == joint):
            add(child, depth + 1)
        lines.append(f"{pad}}}")

    add(0, 0)
    return lines, order
