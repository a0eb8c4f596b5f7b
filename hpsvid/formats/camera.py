"""The clip's camera, for every file that holds it; alone as Nuke's .chan and as JSON.

A camera of computer graphics: x right, y up, it looks along its own -z. Before the camera
(`--frame camera`) it stands at the origin, level; in the world it is where it was.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.files import written_whole
from hpsvid.common.series import interpolate, interpolate_rotations
from hpsvid.errors import InputError
from hpsvid.formats.euler import euler_zxy
from hpsvid.formats.figure import CAMERA_TO_Y_UP, WORLD_AXES, world_of
from hpsvid.formats.rig import even_times
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion

CHAN_FIRST = 1  # Nuke's number of a movie's first frame
CHAN_DECIMALS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraPath:
    """Where the camera is in a file's axes and unit: point = turn @ camera point + place."""

    times_s: Array  # (T,) on the clip's clock
    turns: Array  # (T, 3, 3)
    places: Array  # (T, 3)


def camera_path(motion: Motion, options: ExportOptions, span_s: tuple[float, float]) -> CameraPath:
    """The camera at the clip's frames within a span of time; one row where it never moves.

    Raises InputError when the world is asked for and not known.
    """
    slack = 1e-6  # s: of sums of frame times
    kept = np.flatnonzero((motion.pts_s >= span_s[0]) & (motion.pts_s <= span_s[1] + slack))
    kept = kept if len(kept) else np.array([0])
    turns, places = np.tile(np.eye(3), (len(kept), 1, 1)), np.zeros((len(kept), 3))
    if options.frame == "world":
        world = world_of(motion)
        turns, places = world.R[kept] @ CAMERA_TO_Y_UP, world.t[kept] * options.scale
    if not (np.ptp(turns, axis=0).any() or np.ptp(places, axis=0).any()):
        kept, turns, places = kept[:1], turns[:1], places[:1]
    axes = WORLD_AXES[options.up_axis or "y"]
    return CameraPath(times_s=motion.pts_s[kept], turns=axes @ turns, places=places @ axes.T)


def fields_of_view(motion: Motion) -> tuple[float, float]:
    """The angles that the picture takes in across and upright, rad, its middle the view's."""
    clip, K = motion.clip, motion.camera.K
    across, upright = np.arctan2([clip.width / 2, clip.height / 2], [K[0, 0], K[1, 1]])
    return 2 * float(across), 2 * float(upright)


def write_chan(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM.chan`: frame, place, rotation in degrees (order ZXY), upright field of view.

    A row a frame from the clip's first to its last at one rate; the first has number 1, as Nuke
    and Blender count a movie's. Raises InputError for people in place, or as `camera_path`.
    """
    path, _ = _even_path(motion, options)
    # R = Ry Rx Rz: about z first, then x, then y, as Nuke's cameras turn unless they are told
    z, x, y = np.rad2deg(-euler_zxy(path.turns.mT)).T
    fov = np.full(len(z), np.rad2deg(fields_of_view(motion)[1]))
    rows = np.column_stack([path.places, x, y, z, fov])
    text = "".join(
        "\t".join([str(CHAN_FIRST + n), *(f"{value:.{CHAN_DECIMALS}f}" for value in row)]) + "\n"
        for n, row in enumerate(rows)
    )
    return [_written(out_dir / f"{stem}.chan", text)]


def write_camera(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM.camera.json`: the lens in pixels and, for each frame, the camera's matrix.

    Rows and errors are those of `write_chan`.
    """
    path, fps = _even_path(motion, options)
    clip, K = motion.clip, motion.camera.K
    across, upright = np.rad2deg(fields_of_view(motion)).tolist()
    matrices = np.tile(np.eye(4), (len(path.turns), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = path.turns, path.places
    content: dict[str, Any] = {
        "made_by": "hpsvid", "clip": clip.path.name, "width": clip.width, "height": clip.height,
        "fx_px": K[0, 0], "fy_px": K[1, 1], "cx_px": K[0, 2], "cy_px": K[1, 2],
        "fov_x_deg": across, "fov_y_deg": upright, "focal_source": motion.camera.source,
        "fps": fps, "frame": options.frame or "camera", "up_axis": options.up_axis or "y",
        "matrix": "camera to world, row by row; the camera looks along its -z, its y is up",
        "frames": [
            {"frame": n, "time_s": round(time, 6), "matrix": matrix.round(8).tolist()}
            for n, (time, matrix) in enumerate(zip(path.times_s.tolist(), matrices, strict=True))
        ],
    }  # fmt: skip
    return [_written(out_dir / f"{stem}.camera.json", json.dumps(content, separators=(",", ":")))]


def _even_path(motion: Motion, options: ExportOptions) -> tuple[CameraPath, float]:
    """The camera over the whole clip at one rate, and that rate, Hz."""
    if options.frame == "in-place":
        raise InputError("--frame in-place: people on the spot have no camera; leave it out")
    times = motion.pts_s
    path = camera_path(motion, options, (float(times[0]), float(times[-1])))
    grid, fps = even_times(motion, times, options.fps, times)
    if len(path.times_s) == 1:
        turns, places = np.tile(path.turns, (len(grid), 1, 1)), np.tile(path.places, (len(grid), 1))
    else:
        turns = interpolate_rotations(grid, path.times_s, path.turns[:, None])[:, 0]
        places = interpolate(grid, path.times_s, path.places)
    return CameraPath(times_s=grid, turns=turns, places=places), fps


def _written(path: Path, text: str) -> Path:
    with written_whole(path) as stream:
        stream.write(text.encode())
    return path
