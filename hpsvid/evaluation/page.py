"""One HTML file that can be sent and opened anywhere: style, head and colours of our pages."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from hpsvid.common.files import written_whole
from hpsvid.types import Array

# Okabe and Ito, "Color universal design", 2008, in an order that stays apart on white
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#555555")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1150px;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
h3 { margin-bottom: .3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: 13px; margin: .8rem 0; }
th, td { padding: 3px 8px; text-align: right; border-bottom: 1px solid #eee; }
td { white-space: nowrap; }
th { color: #555; font-weight: 600; vertical-align: bottom; } td.name, th.name { text-align: left; }
td.best { font-weight: 700; } td.truth { color: #888; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; }
figcaption { font-size: 13px; font-weight: 600; margin: .5rem 0 0 3.2rem; }
.legend span { display: inline-block; margin-right: 1.2rem; font-size: 13px; }
.legend i { display: inline-block; width: 14px; height: 4px; margin-right: 5px;
  vertical-align: middle; }
.pictures td, .pictures th { border: 0; padding: 2px; text-align: center; font-size: 12px; }
.pictures th.name { text-align: right; padding-right: 8px; vertical-align: middle; }
.pictures img { display: block; }
svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #555; }
p.note { color: #555; font-size: 13px; max-width: 75ch; }
"""


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in their order; they come again after the seventh."""
    return dict(zip(dict.fromkeys(names), cycle(COLOURS), strict=False))


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write a page of these elements, whole or not at all. The same parts give the same bytes."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
    with written_whole(path) as stream:
        stream.write(page.encode())


WIDTH, HEIGHT = 520, 270  # px of a chart
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40  # px around its axes


def legend(colours: Mapping[str, str]) -> str:
    """Names beside their colours."""
    spans = (
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in colours.items()
    )
    return f'<p class="legend">{"".join(spans)}</p>'


def line_chart(
    curves: Mapping[str, tuple[Array, Array]],
    colours: Mapping[str, str],
    *,
    x: str,
    y: str,
    dots: bool = False,
    caption: str = "",
) -> str:
    """Curves (x, y) by name on common axes, as SVG; a gap where y is NaN."""
    xs = np.concatenate([curve[0] for curve in curves.values()])
    ys = np.concatenate([curve[1] for curve in curves.values()])
    across = _scale(xs.min(), xs.max(), LEFT, WIDTH - RIGHT)
    top = _ceiling(ys)
    up = _scale(0, top, HEIGHT - BOTTOM, TOP)
    lines = [_axes(ticks(xs.min(), xs.max()), across, ticks(0, top), up, x, y)]
    for name, (at, values) in curves.items():
        path, pen = "", "M"
        for a, v in zip(at, values, strict=True):
            if math.isfinite(v):
                path += f"{pen}{across(a):.1f},{up(v):.1f}"
            pen = "L" if math.isfinite(v) else "M"  # lifted over what is not known
        lines.append(
            f'<path d="{path}" fill="none" stroke="{colours[name]}" stroke-width="1.6" '
            'stroke-linejoin="round"/>'
        )
        if dots:
            lines += [
                f'<circle cx="{across(a):.1f}" cy="{up(v):.1f}" r="3" fill="{colours[name]}">'
                f"<title>{html.escape(name)}: {v:.1f} at {a:g}</title></circle>"
                for a, v in zip(at, values, strict=True)
                if math.isfinite(v)
            ]
    return _figure("".join(lines), WIDTH, HEIGHT, caption)


def bar_chart(
    bars: Mapping[str, Sequence[float]], labels: Sequence[str], colours: Mapping[str, str], y: str
) -> str:
    """Bars side by side for each label, as SVG."""
    width, bottom = 1120, 90
    height = HEIGHT + bottom - BOTTOM
    top = _ceiling(np.concatenate([np.asarray(values) for values in bars.values()]))
    up = _scale(0, top, height - bottom, TOP)
    step = (width - LEFT - RIGHT) / len(labels)
    bar = 0.8 * step / len(bars)
    lines = [_axes([], float, ticks(0, top), up, "", y, width=width, height=height, bottom=bottom)]
    for i, label in enumerate(labels):
        x0 = LEFT + i * step
        for j, (name, values) in enumerate(bars.items()):
            if math.isfinite(values[i]):
                lines.append(
                    f'<rect x="{x0 + 0.1 * step + j * bar:.1f}" y="{up(values[i]):.1f}" '
                    f'width="{bar:.1f}" height="{height - bottom - up(values[i]):.1f}" '
                    f'fill="{colours[name]}"><title>{html.escape(name)}, {html.escape(label)}: '
                    f"{values[i]:.1f}</title></rect>"
                )
        middle = x0 + step / 2
        lines.append(
            f'<text x="{middle:.1f}" y="{height - bottom + 12}" text-anchor="end" '
            f'transform="rotate(-40 {middle:.1f} {height - bottom + 12})">'
            f"{html.escape(label.replace('_', ' '))}</text>"
        )
    return _figure("".join(lines), width, height, "")


def ticks(least: float, most: float) -> list[float]:
    """About five round numbers from `least` to `most`."""
    spread = most - least
    if not spread > 0:
        return [least]
    rough = spread / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n >= rough * 0.999)
    first = math.ceil(least / step - 1e-9)
    return [n * step for n in range(first, math.floor(most / step + 1e-9) + 1)]


def _ceiling(values: Array) -> float:
    known = values[np.isfinite(values)]
    return max(float(known.max()) * 1.05 if len(known) else 1.0, 1e-6)


def _scale(least: float, most: float, start: float, end: float) -> Callable[[float], float]:
    """A linear map of [least, most] onto pixels from `start` to `end`."""
    spread = float(most - least) or 1.0
    return lambda value: start + (float(value) - least) / spread * (end - start)


def _axes(
    across: Sequence[float],
    to_x: Callable[[float], float],
    upwards: Sequence[float],
    to_y: Callable[[float], float],
    x: str,
    y: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    bottom: int = BOTTOM,
) -> str:
    floor = height - bottom
    lines = []
    for value in upwards:
        at = to_y(value)
        lines.append(
            f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>'
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in across:
        lines.append(
            f'<text x="{to_x(value):.1f}" y="{floor + 16}" text-anchor="middle">{value:g}</text>'
        )
    middle = (TOP + floor) / 2
    lines.append(
        f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{floor}" y2="{floor}" stroke="#888"/>'
        f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 6}" text-anchor="middle">{x}</text>'
        f'<text x="13" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 13 {middle})">{y}</text>'
    )
    return "".join(lines)


def _figure(inner: str, width: int, height: int, caption: str) -> str:
    above = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure>{above}<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img">{inner}</svg></figure>'
    )
