"""One HTML file that can be sent and opened anywhere: style, head and colours of our pages."""

import html
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path

from hpsvid.common.files import written_whole

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
