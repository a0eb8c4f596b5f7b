"""What `hpsvid bench` measured, as one page with charts."""

import html
from collections.abc import Sequence
from pathlib import Path

from hpsvid.bench import Row
from hpsvid.bench_report import COLUMNS, cell, not_measured, totals
from hpsvid.charts import bar_chart, legend
from hpsvid.page import colours_of, write_page

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
    parts.append("<h2>All figures</h2>" + _table([*good, *totals(rows)]))
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


def _table(rows: Sequence[Row]) -> str:
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    heads = "".join(f"<th>{html.escape(COLUMNS[name])}</th>" for name in columns)
    lines = [f'<tr><th class="name">clip</th><th class="name">solver</th>{heads}</tr>']
    for row in rows:
        cells = "".join(f"<td>{cell(row.get(name))}</td>" for name in columns)
        names = "".join(f'<td class="name">{html.escape(row[n])}</td>' for n in ("clip", "solver"))
        lines.append(f"<tr>{names}{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'
