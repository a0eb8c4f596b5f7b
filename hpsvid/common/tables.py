"""A table of figures, and its outputs: Markdown, HTML and the terminal's (rich)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.table import Table as RichTable

ABSENT = "-"  # what a cell without a value shows


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table is headed and written.

    form: a template of str.format, which a tuple's values fill one after the other, or a function
    that writes a value. Text is shown as it is, None and NaN as `ABSENT`, whatever the form.
    """

    heading: str
    _: KW_ONLY
    unit: str = ""
    form: str | Callable[[Any], str] = "{}"
    align: Literal["left", "right"] = "right"
    better: Literal["lower", "higher"] | None = None  # the best value is bold in HTML
    grey: bool = False  # HTML: a figure to compare with, such as the truth's own
    colours: Mapping[str, str] = field(default_factory=dict)  # terminal: text -> colour

    @property
    def title(self) -> str:
        """Heading and unit."""
        return f"{self.heading} {self.unit}".strip()

    def text(self, value: Any) -> str:
        """One cell's text."""
        if isinstance(value, str):
            return value
        if all(part is None or part != part for part in _parts(value)):
            return ABSENT
        return self.form(value) if callable(self.form) else self.form.format(*_parts(value))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values under their columns, with a title that may be empty."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]  # a value for each column
    _: KW_ONLY
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table: {len(row)} values for {len(self.columns)} columns")

    def texts(self) -> list[list[str]]:
        """Every cell's text, by row."""
        return [
            [column.text(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """A Markdown table, below its title."""
        heads = [column.title for column in self.columns]
        rule = "|" + "".join("---|" if c.align == "left" else "---:|" for c in self.columns)
        lines = [_line(heads), rule, *map(_line, self.texts())]
        return "\n".join([self.title, "", *lines] if self.title else lines)

    def html(self) -> "Markup":
        """A `table` element in a block that scrolls; `style.css` of the pages knows its classes."""
        from hpsvid.common.templating import render

        best = [self._best(i) for i in range(len(self.columns))]
        rows = [
            [(text, self._kind(column, value, top))
             for column, value, text, top in zip(self.columns, row, texts, best, strict=True)]
            for row, texts in zip(self.rows, self.texts(), strict=True)
        ]  # fmt: skip
        return render(
            "hpsvid.common", "table.html", title=self.title, columns=self.columns, rows=rows
        )

    def rich(self) -> "RichTable":
        """A table for rich's console; no text in it is taken for markup."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=Text(self.title) if self.title else None)
        for column in self.columns:
            table.add_column(Text(column.title), justify=column.align, overflow="fold")
        for texts in self.texts():
            cells = zip(self.columns, texts, strict=True)
            table.add_row(*(Text(text, column.colours.get(text, "")) for column, text in cells))
        return table

    def _best(self, i: int) -> float | None:
        """The best value of a column to a tenth; None where all are equal or it is no contest."""
        better = self.columns[i].better
        ranked = (_number(row[i]) for row in self.rows) if better else ()
        numbers = {number for number in ranked if number is not None}
        if len(numbers) < 2:
            return None
        return min(numbers) if better == "lower" else max(numbers)

    @staticmethod
    def _kind(column: Column, value: Any, best: float | None) -> str:
        if column.align == "left":
            return "name"
        if best is not None and _number(value) == best:
            return "best"
        return "truth" if column.grey else ""


def three_digits(value: float) -> str:
    """A figure with three digits that count; whole numbers and those of 100 and more in full."""
    return f"{value:.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def _number(value: Any) -> float | None:
    """The number that ranks a cell, rounded to a tenth: a tuple's first; None without a number."""
    first = _parts(value)[0]
    return None if first is None or math.isnan(first) else round(float(first), 1)


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(c.split()).replace("|", r"\|") for c in cells) + " |"
