"""A page that puts solvers side by side: tables, curves and pictures in one HTML file.

Everything is inside the file (SVG, JPEG as data), so that it can be sent and opened anywhere.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import hpsvid
from hpsvid.body.model import Body
from hpsvid.common.geometry import image_of
from hpsvid.evaluation.errors import Errors, frames_shown
from hpsvid.evaluation.metrics import AUC_STEPS, MM, PCK_MM, mean, pck
from hpsvid.evaluation.noise_curves import Comparison, Score
from hpsvid.evaluation.page import bar_chart, colours_of, legend, line_chart, write_page
from hpsvid.evaluation.tables import COLUMNS, by_method, per_joint, summary
from hpsvid.evaluation.truth import POINT_NAMES, PointSet, Truth
from hpsvid.render import load_renderer
from hpsvid.render.overlay import Overlay
from hpsvid.types import Array, Frames, Motion
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames

SHOWN_CLIPS = 6  # clips with curves and pictures; the tables hold all
PICTURES = (1 / 6, 1 / 2, 5 / 6)  # of the time that is known, and the worst frame
PICTURE_PX = (220, 280)  # width, height
HIGHER_IS_BETTER = ("found_percent", "pck_percent", "auc_percent", "pa_pck_percent",
                    "pa_auc_percent")  # fmt: skip


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
    names += [one.method for some in measured for one in some.errors]
    colours = colours_of(names)
    parts = [f"<h1>hpsvid {html.escape(hpsvid.__version__)}: solvers side by side</h1>"]
    parts += [_comparison(comparison, colours) for comparison in comparisons]
    if measured:
        parts.append(_accuracy(measured, colours, body))
    write_page(path, "hpsvid: solvers side by side", parts)


def _comparison(found: Comparison, colours: Mapping[str, str]) -> str:
    """Solvers on windows of motion with noise, as NIKI's supplement D and its Table 2."""
    charts = []
    for title, scores in (
        ("The solver is told each joint's uncertainty", found.told),
        ("The solver is told 30 mm throughout", found.untold),
    ):
        curves = {
            name: [(x, y) for (n, x), s in scores.items() if n == name and x is not None
                   for y in [s.mpjpe]]
            for name in found.ms
        }  # fmt: skip
        charts.append(
            line_chart(
                {n: (np.array(c)[:, 0], np.array(c)[:, 1]) for n, c in curves.items()},
                colours, x="noise on every joint and axis, mm", y="MPJPE, mm", dots=True,
                caption=title,
            )
        )  # fmt: skip
    frames = np.arange(1, found.length - 1)
    charts.append(
        line_chart(
            {name: (frames, curve) for name, curve in found.acceleration.items()}, colours,
            x="frame", y="acceleration error, mm/frame²",
            caption="Over time, one window under occlusion (XOCC)",
        )
    )  # fmt: skip
    return (
        f"<h2>Noise and occlusion on motion capture</h2>"
        f'<p class="note">{found.windows} windows of {found.length} frames of held-back motion, '
        "seen with independent Gaussian errors, or under occlusion (XOCC: hidden joints 150 mm "
        "off, those in sight 20 mm). Errors over SMPL's 24 joints, the pelvises together.</p>"
        + legend({name: colours[name] for name in found.ms})
        + f'<div class="charts">{"".join(charts)}</div>'
        + _score_table("Uncertainty told: MPJPE mm (PA-MPJPE)", found.told, found.ms)
        + _score_table("30 mm throughout: MPJPE mm (PA-MPJPE)", found.untold, found.ms)
    )


def _score_table(
    title: str, scores: Mapping[tuple[str, float | None], Score], ms: Mapping[str, float]
) -> str:
    levels = list(dict.fromkeys(level for _, level in scores))
    heads = [f"{level:g} mm" for level in levels if level is not None]
    heads += ["XOCC", "XOCC accel mm/frame²"] if None in levels else []
    rows = []
    for name in ms:
        of = [scores[name, level] for level in levels]
        values = [s.mpjpe for s in of] + [s.acceleration for s in of[-1:] if None in levels]
        texts = [f"{s.mpjpe:.1f} ({s.pa_mpjpe:.1f})" for s in of]
        texts += [f"{v:.1f}" for v in values[len(of) :]]
        rows.append((name, [*values, ms[name]], [*texts, f"{ms[name]:.2f}"]))
    return _table([title, *heads, "ms a frame"], rows)


def _table(
    heads: Sequence[str],
    rows: Iterable[tuple[str, Sequence[float], Sequence[str]]],
    higher: Sequence[bool] | None = None,
    grey: Sequence[bool] | None = None,
) -> str:
    """A table whose best value of each column is bold; `grey` columns are no contest."""
    rows = list(rows)
    columns = np.round([values for _, values, _ in rows], 1)
    best = []
    for i, column in enumerate(columns.T):
        known = column[np.isfinite(column)]
        contest = len(np.unique(known)) > 1 and not (grey and grey[i])
        best.append(math.nan if not contest else max(known) if higher and higher[i] else min(known))
    lines = [_cells("th", heads, ["name"] + [""] * (len(heads) - 1))]
    for (name, _, texts), values in zip(rows, columns, strict=True):
        kinds = [
            "best" if value == top else "truth" if grey and grey[i] else ""
            for i, (value, top) in enumerate(zip(values, best, strict=True))
        ]
        lines.append(_cells("td", [name, *texts], ["name", *kinds]))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cells(tag: str, texts: Sequence[str], kinds: Sequence[str]) -> str:
    cells = (
        f'<{tag} class="{kind}">{html.escape(text)}</{tag}>' if kind
        else f"<{tag}>{html.escape(text)}</{tag}>"
        for text, kind in zip(texts, kinds, strict=True)
    )  # fmt: skip
    return f"<tr>{''.join(cells)}</tr>"


def _accuracy(measured: Sequence[Measured], colours: Mapping[str, str], body: Body) -> str:
    """Motions of clips against their truth."""
    errors = [one for some in measured for one in some.errors]
    methods = by_method(errors)
    parts = [
        "<h2>Motions against the truth</h2>",
        "<p class=\"note\">Points: SMPL's 24 joints, or twelve on the limbs' surface where the "
        "truth was triangulated. MPJPE and PVE with the roots together, PA- after the best "
        "similarity of each frame. PCK: share of points within 150 mm; AUC: its mean over 0 to "
        "150 mm. Jitter: third derivative. Foot skate: speed of feet that truly stand. Collision: "
        "share of the mesh's triangles that cross a part of the body more than two joints away."
        "</p>",
        legend({name: colours[name] for name in methods}),
        _summary_table("All clips", {name: some for name, some in methods.items()}),
        '<div class="charts">',
    ]
    limits = np.linspace(0, PCK_MM, AUC_STEPS)
    for title, field in (("Roots together", "joint"), ("After alignment", "aligned")):
        curves = {}
        for name, some in methods.items():
            values = np.concatenate([getattr(one, field).ravel() for one in some])
            curves[name] = (limits, np.array([100 * pck(values, x) for x in limits]))
        parts.append(
            line_chart(curves, colours, x="threshold, mm", y="points within it, %", caption=title)
        )
    parts.append("</div>")
    point_sets: dict[PointSet, None] = dict.fromkeys(one.points for one in errors)
    for points in point_sets:
        of = by_method([one for one in errors if one.points == points])
        parts.append(
            bar_chart(
                {n: [v["mpjpe_mm"] for v in per_joint(some).values()] for n, some in of.items()},
                POINT_NAMES[points], colours, y="MPJPE, mm",
            )
        )  # fmt: skip
    clips: dict[str, list[Measured]] = {}
    for one in measured:
        clips.setdefault(one.errors[0].clip, []).append(one)
    for i, (clip, some) in enumerate(clips.items()):
        parts.append(f"<h3>{html.escape(clip)}</h3>")
        rows = {
            f"{e.method}, person {e.person}" if len(one.truth.people) > 1 else e.method: [e]
            for one in some
            for e in one.errors
        }
        if len(rows) > len(methods) or len(clips) > 1:  # else it is the table above
            parts.append(_summary_table("", rows))
        if i < SHOWN_CLIPS:
            parts += [_over_time(some, colours), _pictures(some, body)]
    if len(clips) > SHOWN_CLIPS:
        parts.append(f'<p class="note">Curves and pictures: the first {SHOWN_CLIPS} clips.</p>')
    return "\n".join(parts)


def _summary_table(title: str, groups: Mapping[str, Sequence[Errors]]) -> str:
    found = {name: summary(some) for name, some in groups.items()}
    rows = [
        (name, list(values.values()),
         [f"{v:.1f}" if math.isfinite(v) else "–" for v in values.values()])
        for name, values in found.items()
    ]  # fmt: skip
    return _table(
        [title, *(heading.strip() for heading in COLUMNS.values())],
        rows,
        higher=[name in HIGHER_IS_BETTER for name in COLUMNS],
        grey=[name.startswith("true_") for name in COLUMNS],
    )


def _over_time(some: Sequence[Measured], colours: Mapping[str, str]) -> str:
    """Error and acceleration error of each method over one clip, mean over people and points."""
    charts = []
    for field, y, unit in (
        ("joint", "MPJPE, mm", 1.0),
        ("acceleration", "acceleration error, m/s²", 1 / MM),
    ):
        curves = {}
        for one in some:
            for method, errors in by_method(one.errors).items():
                frames = np.unique(np.concatenate([e.frame_index for e in errors]))
                values = np.full((len(errors), len(frames)), np.nan)
                for row, e in zip(values, errors, strict=True):
                    row[np.searchsorted(frames, e.frame_index)] = [
                        mean(points) for points in getattr(e, field)
                    ]
                curve = np.array([mean(column) for column in values.T])
                curves[method] = (frames / errors[0].fps, unit * curve)
        charts.append(line_chart(curves, colours, x="time, s", y=y))
    return f'<div class="charts">{"".join(charts)}</div>'


def _pictures(some: Sequence[Measured], body: Body) -> str:
    """A few frames of the clip, as it is and as each method sees it; "" when it is not there."""
    first = some[0]
    clips = [one.motion.clip.path for one in some] + [first.truth.clip]
    path = next((clip for clip in clips if clip is not None and clip.exists()), None)
    person = max(first.errors, key=lambda e: int(e.known.sum()))
    rows = np.flatnonzero(person.known)
    if path is None or len(rows) == 0:
        return ""
    chosen = {int(rows[int(share * len(rows))]): "" for share in PICTURES}
    per_frame = np.array([mean(row) for row in person.joint])
    if np.isfinite(per_frame).any():
        chosen[int(np.nanargmax(per_frame))] = f", worst of {person.method}"
    index = [int(person.frame_index[row]) for row in chosen]
    frames = _frames(path, set(index))
    if set(index) - set(frames):
        return ""
    points = next(p.points for p in first.truth.people if p.id == person.person)
    boxes = {i: _around(points[row], first.truth.K) for i, row in zip(index, chosen, strict=True)}
    heads = (
        f"{i / person.fps:.1f} s{html.escape(remark)}"
        for i, remark in zip(index, chosen.values(), strict=True)
    )
    lines = [_picture_row("", heads, "th")]
    lines.append(_picture_row("clip", [_jpeg(frames[i], boxes[i]) for i in index]))
    for one in some:
        overlay = Overlay(one.motion, body, load_renderer("auto"))
        places = frames_shown(one.motion, first.truth)
        drawn = []
        for i in index:  # at -1, where the motion has no such frame, nobody is drawn
            (picture,) = overlay.draw(
                Frames(rgb=frames[i][None], index=places[i : i + 1], pts_s=np.zeros(1))
            )
            drawn.append(_jpeg(picture, boxes[i]))
        lines.append(_picture_row(one.errors[0].method, drawn))
    return f'<div class="wide"><table class="pictures">{"".join(lines)}</table></div>'


def _picture_row(name: str, cells: Iterable[str], tag: str = "td") -> str:
    inner = "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)
    return f'<tr><th class="name">{html.escape(name)}</th>{inner}</tr>'


def _frames(path: Path, wanted: set[int]) -> dict[int, Array]:
    """These frames of a clip by index."""
    found = {}
    for frames in read_frames(probe(path)):
        for rgb, index in zip(frames.rgb, frames.index, strict=True):
            if int(index) in wanted:
                found[int(index)] = rgb.copy()
        if len(found) == len(wanted):
            break
    return found


def _around(points: Array, K: Array) -> Array:
    """The part (4,) px of the picture about a person's points (P, 3) m, shaped for the page."""
    known = points[np.isfinite(points).all(1)]
    image = image_of(known, K)
    low, high = image.min(0), image.max(0)
    wide, tall = PICTURE_PX
    height = 1.5 * max(high[1] - low[1], (high[0] - low[0]) * tall / wide)
    half = np.array([height * wide / tall, height]) / 2
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half])


def _jpeg(rgb: Array, box: Array) -> str:
    """The part of a picture in `box` (4,) px, as an element of the page."""
    wide, tall = PICTURE_PX
    scale = wide / (box[2] - box[0])
    to_page = np.array([[scale, 0, -scale * box[0]], [0, scale, -scale * box[1]]])
    part = cv2.warpAffine(
        rgb, to_page, (wide, tall), flags=cv2.INTER_AREA, borderValue=(230, 230, 230)
    )
    _, data = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR))
    encoded = base64.b64encode(data.tobytes()).decode()
    return f'<img width="{wide}" height="{tall}" alt="" src="data:image/jpeg;base64,{encoded}">'
