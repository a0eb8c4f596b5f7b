"""OpenSim's text files: markers (.trc) and joint angles (.mot); y up, metres, degrees.

Markers are the 33 landmarks on the surface of the body, by BlazePose's names, and the centres of
SMPL's joints, which no camera of a laboratory sees, as `..._centre`. Time starts with the
person's first frame, or with the clip's under --pad-to-clip.
"""

from pathlib import Path

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, SMPL
from hpsvid.common.files import written_whole
from hpsvid.formats.angles import joint_angles
from hpsvid.formats.figure import Figure, figures
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion

MARKERS = (*BLAZEPOSE.names, *(f"{name}_centre" for name in SMPL.rotation_names))


def markers(figure: Figure, body: Body) -> Array:
    """Places (T, 57, 3) of MARKERS in the file's axes and unit."""
    centres = figure.posed[0][:, : SMPL.n_rotations]
    return np.concatenate([figure.landmarks(body), centres], 1)


def write_trc(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.trc` for each person."""
    paths = []
    for figure in figures(motion, body, options):
        path = out_dir / f"{stem}_person{figure.id:02d}.trc"
        points = markers(figure, body)
        rows = len(points)
        rate = f"{figure.fps:.6f}"
        facts = (rate, rate, rows, len(MARKERS), "m", rate, 1, rows)
        head = (
            f"PathFileType\t4\t(X/Y/Z)\t{path.name} by hpsvid",
            "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\t"
            "OrigDataStartFrame\tOrigNumFrames",
            "\t".join(map(str, facts)),
            "Frame#\tTime\t" + "\t\t\t".join(MARKERS) + "\t\t",
            "\t\t" + "\t".join(f"{a}{n}" for n in range(1, len(MARKERS) + 1) for a in "XYZ"),
            "",
        )
        values = _text_rows(points.reshape(rows, -1))
        lines = (f"{n + 1}\t{n / figure.fps:.6f}\t{row}" for n, row in enumerate(values))
        _write(path, [*head, *lines])
        paths.append(path)
    return paths


def write_mot(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.mot` for each person: place of the pelvis in m, angles in degrees."""
    paths = []
    for figure in figures(motion, body, options):
        path = out_dir / f"{stem}_person{figure.id:02d}.mot"
        places = zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), figure.pelvis.T, strict=True)
        columns = joint_angles(figure) | dict(places)
        rows = _text_rows(np.stack(list(columns.values()), 1))
        head = (
            f"{path.stem} by hpsvid",
            "version=1",
            f"nRows={len(rows)}",
            f"nColumns={len(columns) + 1}",
            "inDegrees=yes",
            "endheader",
            "\t".join(("time", *columns)),
        )
        lines = (f"{n / figure.fps:.6f}\t{row}" for n, row in enumerate(rows))
        _write(path, [*head, *lines])
        paths.append(path)
    return paths


def _text_rows(values: Array) -> list[str]:
    """Rows (T, C) as text with tabs; -0 as 0."""
    form = "\t".join(["%.6f"] * values.shape[1])
    return [form % tuple(row) for row in (values.round(6) + 0.0).tolist()]


def _write(path: Path, lines: list[str]) -> None:
    with written_whole(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())
