"""A page that puts solvers side by side: tables, curves and pictures in one HTML file.

Everything is inside the file (SVG, JPEG as data), so that it can be sent and opened anywhere.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

import hpsvid
from hpsvid.body.model import Body
from hpsvid.common.geometry import image_of
from hpsvid.common.tables import Column, Table
from hpsvid.evaluation.errors import Errors, frames_shown
from hpsvid.evaluation.metrics import AUC_STEPS, MM, PCK_MM, mean, pck
from hpsvid.evaluation.noise_curves import Comparison, Score
from hpsvid.evaluation.page import bar_chart, colours_of, line_chart, write_page
from hpsvid.evaluation.tables import by_method, per_joint, summary_table
from hpsvid.evaluation.truth import POINT_NAMES, PointSet, Truth
from hpsvid.render import load_renderer
from hpsvid.render.overlay import Overlay
from hpsvid.types import Array, Frames, Motion
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames

SHOWN_CLIPS = 6  # clips with curves and pictures; the tables hold all
PICTURES = (1 / 6, 1 / 2, 5 / 6)  # of the time that is known, and the worst frame
PICTURE_PX = (220, 280)  # width, height
Key = tuple[str, float | None]  # solver, noise level in mm (None: XOCC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One motion beside its truth."""

    truth: Truth
    motion: Motion
    errors: list[Errors]


def write_report(
    path: Path, comparisons: Sequence[Comparison], measured: Sequence[Measured], body: Body
) -> None:
    """Write the page, whole or not at all. The same figures give the same bytes.

    comparisons: solvers on windows of motion; measured: motions of clips against their truth.
    """
    names = [name for comparison in comparisons for name in comparison.ms]
    names += [person.method for motion in measured for person in motion.errors]
    colours = colours_of(names)
    write_page(
        path, "report.html", title="hpsvid: solvers side by side", version=hpsvid.__version__,
        comparisons=[_comparison(comparison, colours) for comparison in comparisons],
        accuracy=_accuracy(measured, colours, body) if measured else None,
    )  # fmt: skip


def _comparison(comparison: Comparison, colours: Mapping[str, str]) -> dict[str, Any]:
    """Solvers on windows of motion with noise, as NIKI's supplement D and its Table 2."""
    charts = [
        line_chart(
            {name: _noise_curve(scores, name) for name in comparison.ms}, colours,
            x="noise on every joint and axis, mm", y="MPJPE, mm", dots=True, caption=caption,
        )
        for caption, scores in (
            ("The solver is given each joint's uncertainty", comparison.told),
            ("The solver is given 30 mm throughout", comparison.untold),
        )
    ]  # fmt: skip
    frames = np.arange(1, comparison.length - 1)
    charts.append(
        line_chart(
            {name: (frames, curve) for name, curve in comparison.acceleration.items()}, colours,
            x="frame", y="acceleration error, mm/frame²",
            caption="Over time, one window under occlusion (XOCC)",
        )
    )  # fmt: skip
    return {
        "windows": comparison.windows,
        "length": comparison.length,
        "colours": {name: colours[name] for name in comparison.ms},
        "charts": charts,
        "tables": [
            _score_table("Uncertainty given: MPJPE mm (PA-MPJPE)", comparison.told, comparison.ms),
            _score_table("30 mm throughout: MPJPE mm (PA-MPJPE)", comparison.untold, comparison.ms),
        ],
    }


def _noise_curve(scores: Mapping[Key, Score], name: str) -> tuple[Array, Array]:
    """Noise levels, mm, and one solver's MPJPE at each, mm."""
    levels = [level for of, level in scores if of == name and level is not None]
    return np.array(levels), np.array([scores[name, level].mpjpe for level in levels])


def _score_table(title: str, scores: Mapping[Key, Score], ms: Mapping[str, float]) -> Table:
    levels = list(dict.fromkeys(level for _, level in scores))
    names = ["XOCC" if level is None else f"{level:g} mm" for level in levels]
    columns = [Column(title, align="left")]
    columns += [Column(name, form="{:.1f} ({:.1f})", better="lower") for name in names]
    if None in levels:
        columns.append(Column("XOCC accel mm/frame²", form="{:.1f}", better="lower"))
    columns.append(Column("ms a frame", form="{:.2f}", better="lower"))
    rows: list[list[Any]] = []
    for name in ms:
        of = [scores[name, level] for level in levels]
        last = [of[levels.index(None)].acceleration] if None in levels else []
        rows.append([name, *((s.mpjpe, s.pa_mpjpe) for s in of), *last, ms[name]])
    return Table(columns, rows)


def _accuracy(
    measured: Sequence[Measured], colours: Mapping[str, str], body: Body
) -> dict[str, Any]:
    """Motions of clips against their truth."""
    everyone = [person for motion in measured for person in motion.errors]
    methods = by_method(everyone)
    limits = np.linspace(0, PCK_MM, AUC_STEPS)
    charts = []
    for caption, field in (("Roots together", "joint"), ("After alignment", "aligned")):
        curves = {}
        for name, people in methods.items():
            values = np.concatenate([getattr(person, field).ravel() for person in people])
            curves[name] = (limits, np.array([100 * pck(values, x) for x in limits]))
        charts.append(
            line_chart(curves, colours, x="threshold, mm", y="points within it, %", caption=caption)
        )
    point_sets: dict[PointSet, None] = dict.fromkeys(person.points for person in everyone)
    joints = []
    for points in point_sets:
        of = by_method([person for person in everyone if person.points == points])
        bars = {n: [v["mpjpe_mm"] for v in per_joint(group).values()] for n, group in of.items()}
        joints.append(bar_chart(bars, POINT_NAMES[points], colours, y="MPJPE, mm"))
    clips: dict[str, list[Measured]] = {}
    for motion in measured:
        clips.setdefault(motion.errors[0].clip, []).append(motion)
    sections = []
    for i, (clip, motions) in enumerate(clips.items()):
        rows = {
            f"{e.method}, person {e.person_id}" if len(motion.truth.people) > 1 else e.method: [e]
            for motion in motions
            for e in motion.errors
        }
        repeated = len(rows) == len(methods) and len(clips) == 1  # it is the table above
        shown = i < SHOWN_CLIPS
        sections.append({
            "name": clip,
            "table": None if repeated else summary_table(rows),
            "charts": _over_time(motions, colours) if shown else [],
            "pictures": _pictures(motions, body) if shown else None,
        })  # fmt: skip
    return {
        "colours": {name: colours[name] for name in methods},
        "table": summary_table(methods, "All clips"),
        "charts": charts,
        "joints": joints,
        "clips": sections,
        "shown": SHOWN_CLIPS if len(clips) > SHOWN_CLIPS else None,
    }


def _over_time(motions: Sequence[Measured], colours: Mapping[str, str]) -> list[Markup]:
    """Error and acceleration error of each method over one clip, mean over people and points."""
    charts = []
    for field, y, unit in (
        ("joint", "MPJPE, mm", 1.0),
        ("acceleration", "acceleration error, m/s²", 1 / MM),
    ):
        curves = {}
        for measured in motions:
            for method, errors in by_method(measured.errors).items():
                frames = np.unique(np.concatenate([e.frame_index for e in errors]))
                values = np.full((len(errors), len(frames)), np.nan)
                for row, e in zip(values, errors, strict=True):
                    row[np.searchsorted(frames, e.frame_index)] = [
                        mean(points) for points in getattr(e, field)
                    ]
                curve = np.array([mean(column) for column in values.T])
                curves[method] = (frames / errors[0].fps, unit * curve)
        charts.append(line_chart(curves, colours, x="time, s", y=y))
    return charts


def _pictures(motions: Sequence[Measured], body: Body) -> dict[str, Any] | None:
    """A few frames of the clip, as it is and with each method's overlay.

    Headings and rows of JPEGs (base64 text) by name; None when the clip or the truth is not there.
    """
    first = motions[0]
    clips = [measured.motion.clip.path for measured in motions] + [first.truth.clip]
    path = next((clip for clip in clips if clip is not None and clip.exists()), None)
    person = max(first.errors, key=lambda e: int(e.known.sum()))
    rows = np.flatnonzero(person.known)
    if path is None or len(rows) == 0:
        return None
    chosen = {int(rows[int(share * len(rows))]): "" for share in PICTURES}
    per_frame = np.array([mean(row) for row in person.joint])
    if np.isfinite(per_frame).any():
        chosen[int(np.nanargmax(per_frame))] = f", worst of {person.method}"
    index = [int(person.frame_index[row]) for row in chosen]
    frames = _frames(path, set(index))
    if set(index) - set(frames):
        return None
    points = next(p.points for p in first.truth.people if p.id == person.person_id)
    boxes = {i: _around(points[row], first.truth.K) for i, row in zip(index, chosen, strict=True)}
    remarks = zip(index, chosen.values(), strict=True)
    drawn = [("clip", [_jpeg(frames[i], boxes[i]) for i in index])]
    for measured in motions:
        overlay = Overlay(measured.motion, body, load_renderer("auto"))
        places = frames_shown(measured.motion, first.truth)
        jpegs = []
        for i in index:  # at -1, where the motion has no such frame, nobody is drawn
            (picture,) = overlay.draw(
                Frames(rgb=frames[i][None], index=places[i : i + 1], pts_s=np.zeros(1))
            )
            jpegs.append(_jpeg(picture, boxes[i]))
        drawn.append((measured.errors[0].method, jpegs))
    return {
        "heads": [f"{i / person.fps:.1f} s{remark}" for i, remark in remarks],
        "rows": drawn,
        "size": PICTURE_PX,
    }


def _frames(path: Path, wanted: set[int]) -> dict[int, Array]:
    """These frames of a clip by index."""
    pictures = {}
    for frames in read_frames(probe(path)):
        for rgb, index in zip(frames.rgb, frames.index, strict=True):
            if int(index) in wanted:
                pictures[int(index)] = rgb.copy()
        if len(pictures) == len(wanted):
            break
    return pictures


def _around(points: Array, K: Array) -> Array:
    """The part (4,) px of the picture about a person's points (P, 3) m, shaped for the page."""
    image = image_of(points[np.isfinite(points).all(1)], K)
    low, high = image.min(0), image.max(0)
    wide, tall = PICTURE_PX
    height = 1.5 * max(high[1] - low[1], (high[0] - low[0]) * tall / wide)
    half = np.array([height * wide / tall, height]) / 2
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half])


def _jpeg(rgb: Array, box: Array) -> str:
    """The part of a picture in `box` (4,) px as a JPEG, base64."""
    wide, tall = PICTURE_PX
    scale = wide / (box[2] - box[0])
    to_page = np.array([[scale, 0, -scale * box[0]], [0, scale, -scale * box[1]]])
    part = cv2.warpAffine(
        rgb, to_page, (wide, tall), flags=cv2.INTER_AREA, borderValue=(230, 230, 230)
    )
    _, data = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR))
    return base64.b64encode(data.tobytes()).decode()
