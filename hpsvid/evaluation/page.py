"""One HTML file that can be sent and opened anywhere: its head, and charts as SVG inside it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from hpsvid.common.files import written_whole
from hpsvid.common.templating import render
from hpsvid.types import Array

TEMPLATES = "hpsvid.evaluation"
# Okabe and Ito, "Color universal design", 2008, in an order that stays apart on white
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#555555")

WIDTH, HEIGHT = 520, 270  # px of a chart of curves
BAR_WIDTH, BAR_HEIGHT = 1120, 320  # px of a chart of bars
# px around the axes; the labels of bars are slanted and need more below
MARGIN = {"left": 52, "right": 12, "top": 12, "bottom": 40}
BAR_BOTTOM = 90


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in their order; they come again after the seventh."""
    return dict(zip(dict.fromkeys(names), cycle(COLOURS), strict=False))


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page from a template, whole or not at all. The same values give the same bytes."""
    page = render(TEMPLATES, template, **values)
    with written_whole(path) as stream:
        stream.write(page.encode())


def line_chart(
    curves: Mapping[str, tuple[Array, Array]],
    colours: Mapping[str, str],
    *,
    x: str,
    y: str,
    dots: bool = False,
    caption: str = "",
) -> Markup:
    """Curves (x, y) by name on common axes, as SVG; a gap where y is NaN."""
    xs = np.concatenate([curve[0] for curve in curves.values()])
    top = _ceiling(np.concatenate([curve[1] for curve in curves.values()]))
    floor = HEIGHT - MARGIN["bottom"]
    across = _scale(xs.min(), xs.max(), MARGIN["left"], WIDTH - MARGIN["right"])
    up = _scale(0, top, floor, MARGIN["top"])
    places = [
        {"x": across(a), "y": up(v), "colour": colours[name], "tip": f"{name}: {v:.1f} at {a:g}"}
        for name, curve in curves.items()
        for a, v in zip(*curve, strict=True)
        if math.isfinite(v)
    ]
    return render(
        TEMPLATES, "chart.html", width=WIDTH, height=HEIGHT, floor=floor, margin=MARGIN, x=x, y=y,
        caption=caption, dots=places if dots else [], bars=[], labels=[],
        across_ticks=[(across(v), f"{v:g}") for v in ticks(xs.min(), xs.max())],
        up_ticks=[(up(v), f"{v:g}") for v in ticks(0, top)],
        lines=[{"colour": colours[name], "path": _path(curve, across, up)}
               for name, curve in curves.items()],
    )  # fmt: skip


def _path(curve: tuple[Array, Array], across: "Scale", up: "Scale") -> str:
    """SVG's drawing commands of a curve; the pen is lifted over what is not known."""
    path, pen = "", "M"
    for a, v in zip(*curve, strict=True):
        if math.isfinite(v):
            path += f"{pen}{across(a)},{up(v)}"
        pen = "L" if math.isfinite(v) else "M"
    return path


def bar_chart(
    bars: Mapping[str, Sequence[float]], labels: Sequence[str], colours: Mapping[str, str], y: str
) -> Markup:
    """Bars side by side for each label, as SVG."""
    top = _ceiling(np.concatenate([np.asarray(values) for values in bars.values()]))
    floor = BAR_HEIGHT - BAR_BOTTOM
    up = _scale(0, top, floor, MARGIN["top"])
    step = (BAR_WIDTH - MARGIN["left"] - MARGIN["right"]) / len(labels)
    width = 0.8 * step / len(bars)
    drawn = [
        {"x": round(MARGIN["left"] + (i + 0.1) * step + j * width, 1), "y": up(values[i]),
         "width": round(width, 1), "height": round(floor - up(values[i]), 1),
         "colour": colours[name], "tip": f"{name}, {label}: {values[i]:.1f}"}
        for i, label in enumerate(labels)
        for j, (name, values) in enumerate(bars.items())
        if math.isfinite(values[i])
    ]  # fmt: skip
    return render(
        TEMPLATES, "chart.html", width=BAR_WIDTH, height=BAR_HEIGHT, floor=floor, margin=MARGIN,
        x="", y=y, caption="", dots=[], bars=drawn, across_ticks=[], lines=[],
        up_ticks=[(up(v), f"{v:g}") for v in ticks(0, top)],
        labels=[(round(MARGIN["left"] + (i + 0.5) * step, 1), label.replace("_", " "))
                for i, label in enumerate(labels)],
    )  # fmt: skip


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
    finite = values[np.isfinite(values)]
    return max(float(finite.max()) * 1.05 if len(finite) else 1.0, 1e-6)


Scale = Callable[[float], float]


def _scale(least: float, most: float, start: float, end: float) -> Scale:
    """A linear map of [least, most] onto pixels from `start` to `end`, to a tenth of a pixel."""
    spread = float(most - least) or 1.0
    return lambda value: round(start + (float(value) - least) / spread * (end - start), 1)
