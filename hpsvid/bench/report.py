"""What `hpsvid bench` says of its rows: totals, tables, a report to keep, and what became worse."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from markupsafe import Markup

import hpsvid
from hpsvid.bench.clips import Row
from hpsvid.common.files import read_json
from hpsvid.common.tables import Column, Table, three_digits
from hpsvid.errors import InputError, one_line
from hpsvid.evaluation.page import bar_chart, colours_of, write_page
from hpsvid.evaluation.tables import WORLD_COLUMNS

# How much worse a figure may be than in the baseline before it counts as a regression: relative
# and absolute, the larger of both. Speed varies by a fifth on a shared machine.
MAY_FALL = {
    "fps": (0.25, 0.0),
    "people": (0.0, 0.0),
    "found_percent": (0.0, 0.5),
    "p95_speed_ratio": (0.0, 0.03),
}
MAY_RISE = {
    "peak_mib": (0.1, 20.0),
    "cpu_s_frame": (0.15, 0.0),
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
    "wa_mpjpe_mm": (0.05, 5.0),
    "rte_percent": (0.1, 0.5),
    "up_deg": (0.1, 0.5),
    "floor_mm": (0.1, 5.0),
    "contact_skate_mm_s": (0.1, 5.0),
}


def _figure(heading: str, unit: str = "") -> Column:
    return Column(heading, unit=unit, form=three_digits)


COLUMNS = {
    "frames": _figure("frames"),
    "people": _figure("people"),
    "fps": _figure("fps"),
    "motion_fps": _figure("without overlay"),
    "cpu_s_frame": _figure("CPU", "s/frame"),
    "networks_percent": _figure("networks", "%"),
    "peak_mib": _figure("memory", "MiB"),
    "jitter_m_s3": _figure("jitter", "m/s³"),
    "acceleration_m_s2": _figure("accel", "m/s²"),
    "slower_foot_mm_s": _figure("slower foot", "mm/s"),
    "reprojection_px": _figure("reproj.", "px"),
    "seam_ratio": _figure("seam"),
    "filled_percent": _figure("filled", "%"),
    "gaps": _figure("gaps"),
    "found_percent": _figure("found", "%"),
    "mpjpe_mm": _figure("MPJPE", "mm"),
    "pa_mpjpe_mm": _figure("PA-MPJPE", "mm"),
    "pve_mm": _figure("PVE", "mm"),
    "foot_skate_mm_s": _figure("foot skate", "mm/s"),
    "p95_speed_ratio": _figure("p95 speed", "of truth's"),
    "jitter_ratio": _figure("jitter", "of truth's"),
    **{key: replace(column, form=three_digits) for key, column in WORLD_COLUMNS.items()},
}
NAMES = (Column("clip", align="left"), Column("solver", align="left"))


def totals(rows: Sequence[Row]) -> list[Row]:
    """A row for each solver over all its clips: fps over all frames, the rest by frames."""
    sums = []
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
        sums.append(total | {name: _average(mine, name) for name in COLUMNS if name not in total})
    return sums


def _average(rows: Sequence[Row], column: str) -> float | None:
    """Mean by frames over the rows that have the column; None where none has."""
    values = np.array([row.get(column) for row in rows], np.float64)  # None becomes NaN
    frames = np.array([row["frames"] for row in rows], np.float64)
    finite = np.isfinite(values)
    return float(np.average(values[finite], weights=frames[finite])) if finite.any() else None


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
    """What `report` made, from a file; InputError when it is no report."""
    try:
        earlier = read_json(path)
        for row in earlier["rows"]:
            hash((row["clip"], row["solver"]))
            for column in MAY_FALL | MAY_RISE:
                if row.get(column) is not None:
                    row[column] = float(row[column])  # TypeError of what is no number
        earlier["settings"] = dict(earlier.get("settings", {}))
    except InputError as error:
        raise InputError(f"{one_line(error)}; expected a bench report (--json)") from error
    except Exception as error:  # values of any kind may stand where others should
        raise InputError(
            f"{path}: no report of `hpsvid bench --json` ({one_line(error)[:200]})"
        ) from error
    return earlier


def regressions(rows: Sequence[Row], baseline: Row) -> list[str]:
    """What is worse than in the baseline by more than the tolerance, a line each.

    Clips and solvers that the baseline does not have, or that failed there, are passed over; what
    was measured then and is not now is a regression.
    """
    before = {(row["clip"], row["solver"]): row for row in baseline["rows"]}
    worse = []
    for row in rows:
        old = before.get((row["clip"], row["solver"]))
        if old is None or "failed" in old:
            continue
        name = f"{row['clip']}, {row['solver']}"
        if "failed" in row:
            worse.append(f"{name}: failed now: {row['failed']}")
            continue
        for column, (relative, absolute) in (MAY_FALL | MAY_RISE).items():
            then, now = old.get(column), row.get(column)
            if then is None:
                continue
            if now is None:
                worse.append(f"{name}: {column} {then:.4g} -> not measured")
                continue
            loss = then - now if column in MAY_FALL else now - then
            if loss > max(relative * abs(then), absolute):
                worse.append(f"{name}: {column} {then:.4g} -> {now:.4g}")
    return worse


def changed_settings(settings: Row, baseline: Row) -> list[str]:
    """What was set otherwise for the baseline, a line each; figures then differ for that alone.

    What either report does not name, as a report of another version, is passed over.
    """
    before = baseline["settings"]
    return [
        f"settings differ: {name} was {json.dumps(before[name])}, is {json.dumps(now)}"
        for name, now in settings.items()
        if name in before and before[name] != now
    ]


def line(row: Row) -> str:
    """A row in a few words, for the terminal while the next one is measured."""
    if "failed" in row:
        return f"{row['clip']}: {row['failed']}"
    return f"{row['clip']}, {row['solver']}: {row['frames']} frames at {row['fps']:.1f} fps"


def markdown(rows: Sequence[Row], unreadable: Sequence[str] = ()) -> str:
    """Everything as Markdown; unreadable: a line on each truth that is damaged."""
    good = [row for row in rows if "failed" not in row]
    parts = [figures(rows).markdown(), _stage_table(good).markdown()] if good else []
    if lines := not_measured(rows, unreadable):
        parts.append("\n- ".join(["Not measured:", *lines]))
    return "\n\n".join(parts)


def not_measured(rows: Sequence[Row], unreadable: Sequence[str]) -> list[str]:
    """Clips that failed and truths that cannot be read, each with the reason, once."""
    failed = (f"{row['clip']}: {row['failed']}" for row in rows if "failed" in row)
    return [*dict.fromkeys(failed), *unreadable]


def figures(rows: Sequence[Row]) -> Table:
    """Every figure of the rows that were measured, and the totals; columns without any left out."""
    shown = [row for row in rows if "failed" not in row] + totals(rows)
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in shown)]
    return Table(
        [*NAMES, *(COLUMNS[key] for key in keys)],
        [[row.get(key) for key in ("clip", "solver", *keys)] for row in shown],
    )


def _stage_table(good: Sequence[Row]) -> Table:
    """Frames a second of each stage; a stage that ran beside others is not extra."""
    stages = list(dict.fromkeys(stage for row in good for stage in row["stages"]))
    return Table(
        [Column("fps", align="left"), NAMES[1], *map(_figure, stages)],
        [
            [row["clip"], row["solver"],
             *(row["stages"].get(stage, {}).get("fps") for stage in stages)]
            for row in good
        ],
    )  # fmt: skip


CHARTS = {
    "fps": "frames a second, overlay and all",
    "jitter_m_s3": "jitter, m/s³",
    "acceleration_m_s2": "acceleration, m/s²",
    "slower_foot_mm_s": "slower foot, mm/s",
    "reprojection_px": "reprojection error, px",
    "peak_mib": "peak memory, MiB",
    "cpu_s_frame": "processor time, s a frame",
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
    measured = {(row["clip"], row["solver"]): row for row in good}
    charts = {"Time of each stage": _stages(good, colours)} if good else {}
    for column, title in CHARTS.items():
        bars = {
            solver: [_number(measured.get((clip, solver), {}).get(column)) for clip in clips]
            for solver in colours
        }
        if any(value == value for values in bars.values() for value in values):
            charts[title] = bar_chart(bars, clips, colours, title)
    write_page(
        path, "bench.html", title="hpsvid bench", colours=colours,
        worse=worse, figures=figures(rows), not_measured=not_measured(rows, unreadable),
        charts=charts,
    )  # fmt: skip


def _stages(good: Sequence[Row], colours: dict[str, str]) -> Markup:
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
