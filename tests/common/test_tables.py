"""One table for Markdown, HTML and the terminal."""

import io
import re

import pytest
from rich.console import Console

from hpsvid.common.tables import Column, Table, three_digits

NAME = Column("clip", align="left")


def test_markdown_writes_units_forms_and_what_is_missing() -> None:
    table = Table(
        [NAME, Column("error", unit="mm", form="{:.1f} ({:.0f})"), Column("fps", form="{:.2f}")],
        [
            ["a|b\n.mp4", (1.25, 3.6), None],
            ["c.mp4", "", float("nan")],
            ["d.mp4", (float("nan"), None), 3],
        ],
        title="Errors:",
    )
    assert table.markdown().splitlines() == [
        "Errors:", "", "| clip | error mm | fps |", "|---|---:|---:|",
        r"| a\|b .mp4 | 1.2 (4) | - |", "| c.mp4 |  | - |", "| d.mp4 | - | 3.00 |",
    ]  # fmt: skip


def test_html_escapes_text_and_marks_the_best_of_each_contest() -> None:
    columns = [
        NAME, Column("low", form="{:.1f}", better="lower"),
        Column("high", form="{:.1f}", better="higher"), Column("equal", better="lower"),
        Column("truth", grey=True),
    ]  # fmt: skip
    rows = [["<b>", (1.0,), 1.0, 5, 9], ["b", (1.04,), 2.0, 5, 8], ["c", (2.0,), None, 5, 7]]
    html = Table(columns, rows).html()
    assert "&lt;b&gt;" in html and "<b>" not in html
    # 1.0 and 1.04 read alike, so both are the best
    assert re.findall(r'class="best">([^<]*)', html) == ["1.0", "1.0", "2.0"]
    assert re.findall(r'class="truth">([^<]*)', html) == ["9", "8", "7"]


def test_the_terminal_shows_brackets_as_they_are() -> None:
    table = Table(
        [NAME, Column("state", align="left", colours={"ok": "green"})], [["[red]x[/].mp4", "ok"]],
        title="[bold]a[/]",
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system="standard")
    console.print(table.rich())
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "[red]x[/].mp4" in printed and "[bold]a[/]" in printed
    assert "\x1b[32mok" in printed


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 values for 2 columns"):
        Table([NAME, NAME], [["a", "b", "c"]])


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (0.123456, "0.123"), (1234.5, "1234"), (99.96, "100")]
)
def test_three_digits_count(value: float, text: str) -> None:
    assert three_digits(value) == text
