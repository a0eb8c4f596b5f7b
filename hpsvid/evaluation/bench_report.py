"""What `hpsvid bench` says of its rows: totals, tables, a report to keep, and what became worse."""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import hpsvid
from hpsvid.errors import InputError
from hpsvid.evaluation.bench import Row
from hpsvid.evaluation.page import bar_chart, colours_of, legend, write_page

# How much worse a figure may be than in the baseline before it counts as a regression: relative
# and absolute, the larger of both. Speed varies by a fifth on a shared machine.
MAY_FALL = {"fps": (0.25, 0.0), "people": (0.0, 0.0), "found_percent": (0.0, 0.5)}
MAY_RISE = {
    "peak_mib": (0.1, 20.0),
    "jitter_m_s3": (0.05, 1.0),
    "acceleration_m_s2": (0.05, 0.2),
    "slower_foot_mm_s": (0.1, 5.0),
    "reprojection_px": (0.05, 0.2),
    "seam_ratio": (0.1, 0.05),
    "filled_percent": (0.1, 0.5),
    "mpjpe_mm": (0.0, 2.0),
    "pa_mpjpe_mm": (0.0, 2.0),
    "pve_mm": (0.0, 2.0),
    "foot_skate_mm_s": (0.1, 5.0),
}
COLUMNS = {  # -> heading
    "frames": "frames", "people": "people", "fps": "fps", "motion_fps": "without overlay",
    "networks_percent": "networks %", "peak_mib": "MiB", "jitter_m_s3": "jitter m/s³",
    "acceleration_m_s2": "accel m/s²", "slower_foot_mm_s": "slower foot mm/s",
    "reprojection_px": "reproj. px", "seam_ratio": "seam", "filled_percent": "filled %",
    "gaps": "gaps", "found_percent": "found %", "mpjpe_mm": "MPJPE mm",
    "pa_mpjpe_mm": "PA-MPJPE mm", "pve_mm": "PVE mm", "foot_skate_mm_s": "foot skate mm/s",
}  # fmt: skip


def totals(rows: Sequence[Row]) -> list[Row]:
    """A row for each solver over all its clips: fps over all frames, the rest by frames."""
    found = []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == solver and "failed" not in row]
        if not mine:
            continue
        frames = sum(row["frames"] for row in mine)
        seconds = sum(row["seconds"] for row in mine)
        total = {
            "clip": f"all {len(mine)}",
            "solver": solver,
            "frames": frames,
            "seconds": seconds,
            "fps": frames / seconds,
            "people": sum(row["people"] for row in mine),
            "gaps": sum(row["gaps"] for row in mine),
            "peak_mib": max(row["peak_mib"] for row in mine),
        }
        found.append(total | {name: _average(mine, name) for name in COLUMNS if name not in total})
    return found


def _average(rows: Sequence[Row], column: str) -> float | None:
    """Mean by frames over the rows that have the column; None where none has."""
    values = np.array([row.get(column) for row in rows], np.float64)  # None becomes NaN
    frames = np.array([row["frames"] for row in rows], np.float64)
    known = np.isfinite(values)
    return float(np.average(values[known], weights=frames[known])) if known.any() else None


def report(rows: Sequence[Row], settings: Row, unreadable: Sequence[str] = ()) -> Row:
    """Everything as one JSON-ready value; unreadable: a line on each truth that is damaged."""
    return {
        "hpsvid_version": hpsvid.__version__,
        "settings": settings,
        "rows": list(rows),
        "totals": totals(rows),
        "unreadable_truth": list(unreadable),
    }


def read_report(path: Path) -> Row:
    """What `report` made, from a file; InputError when it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for row in found["rows"]:
            hash((row["clip"], row["solver"]))
            for column in MAY_FALL | MAY_RISE:
                if row.get(column) is not None:
                    math.isfinite(row[column])  # TypeError of what is no number
        found["settings"] = dict(found.get("settings", {}))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a bench report (--json)") from error
    except (LookupError, ArithmeticError, RecursionError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no report of `hpsvid bench --json` ({error})") from error
    return found


def regressions(rows: Sequence[Row], baseline: Row) -> list[str]:
    """What is worse than in the baseline by more than the tolerance, a line each.

    Clips and solvers that the baseline does not have, or that failed there, are passed over; what
    was measured then and is not now is a regression.
    """
    before = {(row["clip"], row["solver"]): row for row in baseline["rows"]}
    found = []
    for row in rows:
        old = before.get((row["clip"], row["solver"]))
        if old is None or "failed" in old:
            continue
        name = f"{row['clip']}, {row['solver']}"
        if "failed" in row:
            found.append(f"{name}: failed now: {row['failed']}")
            continue
        for column, (relative, absolute) in (MAY_FALL | MAY_RISE).items():
            then, now = old.get(column), row.get(column)
            if then is None:
                continue
            if now is None:
                found.append(f"{name}: {column} {then:.4g} -> not measured")
                continue
            worse = then - now if column in MAY_FALL else now - then
            if worse > max(relative * abs(then), absolute):
                found.append(f"{name}: {column} {then:.4g} -> {now:.4g}")
    return found


def changed_settings(settings: Row, baseline: Row) -> list[str]:
    """What was set otherwise for the baseline, a line each; figures then differ for that alone.

    What either report does not name, as one of another version, is passed over.
    """
    before = baseline["settings"]
    return [
        f"settings differ: {name} was {json.dumps(before[name])}, is {json.dumps(now)}"
        for name, now in settings.items()
        if name in before and before[name] != now
    ]


def line(row: Row) -> str:
    """A row in a few words, for somebody who waits."""
    if "failed" in row:
        return f"{row['clip']}: {row['failed']}"
    return f"{row['clip']}, {row['solver']}: {row['frames']} frames at {row['fps']:.1f} fps"


def markdown(rows: Sequence[Row], unreadable: Sequence[str] = ()) -> str:
    """Everything as Markdown; unreadable: a line on each truth that is damaged."""
    good = [row for row in rows if "failed" not in row]
    parts = [_table([*good, *totals(rows)]), _stage_table(good)] if good else []
    if lines := not_measured(rows, unreadable):
        parts.append("\n- ".join(["Not measured:", *lines]))
    return "\n\n".join(parts)


def not_measured(rows: Sequence[Row], unreadable: Sequence[str]) -> list[str]:
    """Clips that failed and truths that cannot be read, each with the reason, once."""
    failed = (f"{row['clip']}: {row['failed']}" for row in rows if "failed" in row)
    return [*dict.fromkeys(failed), *unreadable]


def _table(good: Sequence[Row]) -> str:
    """Columns without any value are left out."""
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in good)]
    lines = [
        "| clip | solver | " + " | ".join(COLUMNS[name] for name in columns) + " |",
        "|---|---" + "|---:" * len(columns) + "|",
    ]
    for row in good:
        cells = [row["clip"], row["solver"], *(cell(row.get(name)) for name in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _stage_table(good: Sequence[Row]) -> str:
    """Frames a second of each stage; a stage that ran beside others is not extra."""
    names = list(dict.fromkeys(name for row in good for name in row["stages"]))
    lines = [
        "| fps | solver | " + " | ".join(names) + " |",
        "|---|---" + "|---:" * len(names) + "|",
    ]
    for row in good:
        cells = [cell(row["stages"].get(name, {}).get("fps")) for name in names]
        lines.append(f"| {row['clip']} | {row['solver']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(value: float | int | None) -> str:
    """A figure with three digits that count, as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


CHARTS = {
    "fps": "frames a second, overlay and all",
    "jitter_m_s3": "jitter, m/s³",
    "acceleration_m_s2": "acceleration, m/s²",
    "slower_foot_mm_s": "slower foot, mm/s",
    "reprojection_px": "reprojection error, px",
    "peak_mib": "peak memory, MiB",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "mpjpe_mm": "MPJPE, mm",
}


def write_bench_page(
    path: Path, rows: Sequence[Row], worse: Sequence[str] | None, unreadable: Sequence[str] = ()
) -> None:
    """Write the page, whole or not at all.

    worse: regressions; None where no baseline was given. unreadable: a line on each truth that is
    damaged.
    """
    good = [row for row in rows if "failed" not in row]
    clips = list(dict.fromkeys(row["clip"] for row in good))
    colours = colours_of(row["solver"] for row in good)
    found = {(row["clip"], row["solver"]): row for row in good}
    parts = ["<h1>hpsvid bench</h1>", legend(colours)]
    if worse is not None:
        parts.append("<h2>Worse than the baseline</h2>" + _list(worse or ["nothing"]))
    parts.append("<h2>All figures</h2>" + _html_table([*good, *totals(rows)]))
    if lines := not_measured(rows, unreadable):
        parts.append("<h2>Not measured</h2>" + _list(lines))
    if good:
        parts.append("<h2>Time of each stage</h2>" + _stages(good, colours))
        for column, title in CHARTS.items():
            bars = {
                solver: [_number(found.get((clip, solver), {}).get(column)) for clip in clips]
                for solver in colours
            }
            if any(value == value for values in bars.values() for value in values):
                parts.append(f"<h2>{title}</h2>" + bar_chart(bars, clips, colours, title))
    write_page(path, "hpsvid bench", parts)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _stages(good: Sequence[Row], colours: dict[str, str]) -> str:
    """Milliseconds a frame of the clip over all clips; a stage may run beside another."""
    names = list(dict.fromkeys(name for row in good for name in row["stages"]))
    bars = {}
    for solver in colours:
        mine = [row for row in good if row["solver"] == solver]
        frames = sum(row["frames"] for row in mine)
        bars[solver] = [
            1e3 * sum(row["stages"].get(name, {"seconds": 0})["seconds"] for row in mine) / frames
            for name in names
        ]
    return bar_chart(bars, names, colours, "ms a frame")


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _html_table(rows: Sequence[Row]) -> str:
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    heads = "".join(f"<th>{html.escape(COLUMNS[name])}</th>" for name in columns)
    lines = [f'<tr><th class="name">clip</th><th class="name">solver</th>{heads}</tr>']
    for row in rows:
        cells = "".join(f"<td>{cell(row.get(name))}</td>" for name in columns)
        names = "".join(f'<td class="name">{html.escape(row[n])}</td>' for n in ("clip", "solver"))
        lines.append(f"<tr>{names}{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'
