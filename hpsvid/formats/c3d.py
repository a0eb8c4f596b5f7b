"""C3D (.c3d) of motion laboratories: markers in millimetres, z up; needs the extra `c3d` (ezc3d).

The markers are those of the .trc (`hpsvid.formats.opensim`). C3D has no word for a marker that is
held or filled but its residual: -1 stands for a point that nobody measured, as for frames that
--pad-to-clip adds.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.files import staged_apart
from hpsvid.errors import InputError
from hpsvid.formats.figure import figures
from hpsvid.formats.opensim import MARKERS, markers
from hpsvid.options import ExportOptions
from hpsvid.types import Motion

_MM_PER_M = 1000
_MOST_FRAMES = 65_535  # of the format's 16-bit frame numbers


def write_c3d(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.c3d` for each person.

    Raises InputError when ezc3d is missing or there are more frames than C3D can count.
    """
    ezc3d = _library()
    paths = []
    for figure in figures(motion, body, options, "z"):
        path = out_dir / f"{stem}_person{figure.id:02d}.c3d"
        points = markers(figure, body) * _MM_PER_M
        if len(points) > _MOST_FRAMES:
            raise InputError(
                f"{path.name}: {len(points)} frames, C3D counts to {_MOST_FRAMES}; choose a lower "
                "--fps, or trim the motion"
            )
        content = ezc3d.c3d()
        content["parameters"]["POINT"]["RATE"]["value"] = [figure.fps]
        content["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
        content["parameters"]["POINT"]["LABELS"]["value"] = MARKERS
        content["parameters"]["POINT"]["DESCRIPTIONS"]["value"] = MARKERS
        content.add_parameter("MANUFACTURER", "COMPANY", ["hpsvid"])
        content["data"]["points"] = np.concatenate(
            [points.transpose(2, 1, 0), np.ones((1, len(MARKERS), len(points)))]
        )
        residuals = np.where(figure.present, 0.0, -1.0)
        content["data"]["meta_points"]["residuals"] = np.tile(residuals, (1, len(MARKERS), 1))
        with staged_apart(path) as inside:
            content.write(str(inside))
        paths.append(path)
    return paths


def check_c3d(options: ExportOptions) -> None:
    """Raise InputError when ezc3d is missing."""
    _library()


def _library() -> Any:
    try:
        import ezc3d
    except ImportError as error:
        raise InputError(
            "--format c3d needs the package ezc3d, which is not installed; "
            "pip install 'hpsvid[c3d]'"
        ) from error
    return ezc3d
