"""What `hpsvid bench` says of its rows: totals, tables, a report to keep, and what became worse."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import hpsvid
from hpsvid.bench import Row
from hpsvid.errors import InputError

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
