"""What the fields of a record of options say of themselves, and how their values are checked.

A field's `Flag` says what the command line makes of it (`hpsvid.cli.shell.takes`). Nothing here
imports typer or anything heavy.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hpsvid.errors import InputError


def known_time(text: str) -> float:
    """Seconds from "90", "1:30" or "0:01:30.5". Raises InputError for anything else."""
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?)", text)
    if match is None:
        raise InputError(f"{text!r}: expected seconds or hh:mm:ss, such as 90 or 1:30.5")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def known_names(text: str) -> dict[int, str]:
    """Names by person from "0:Ann,1:Ben"; none from "ids". Raises InputError for anything else."""
    if text == "ids":
        return {}
    pairs = [part.partition(":") for part in text.split(",")]
    if not all(who.strip().isdecimal() and name.strip() for who, _, name in pairs):
        raise InputError(
            f"--labels {text}: expected ids, or each person's name, such as 0:Ann,1:Ben"
        )
    return {int(who): name.strip() for who, _, name in pairs}


def known_colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of "#1e90ff". Raises InputError for anything else."""
    match = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if match is None:
        raise InputError(f"--background {text}: expected a colour such as #1e90ff")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What the command line makes of a field, and the limits of its value."""

    help: str
    panel: str
    name: str | None = None  # None: the field's name, _ as -
    least: float | None = None
    most: float | None = None  # only with `least`
    parse: Callable[[str], Any] | None = None  # text -> value, where the type does not say it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One field of a record of options: its Python type, its default and its `Flag`."""

    name: str
    kind: Any
    default: Any
    flag: Flag

    @property
    def option(self) -> str:
        """How the command line spells it, such as --max-people."""
        return self.flag.name or "--" + self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Raise InputError when `value` is not one of the names, or outside the limits."""
        if get_origin(self.kind) is Literal and value not in get_args(self.kind):
            raise InputError(
                f"{self.option} {value!r}: expected one of {', '.join(get_args(self.kind))}"
            )
        if self.flag.least is None or value is None:
            return
        most = float("inf") if self.flag.most is None else self.flag.most
        if not self.flag.least <= value <= most:
            limits = f"{self.flag.least:g} to {most:g}"
            if self.flag.most is None:
                limits = f"at least {self.flag.least:g}"
            raise InputError(f"{self.option} {value}: expected {limits}")


@cache
def choices(record: type) -> tuple[Choice, ...]:
    """The fields of a record of options that carry a `Flag`, in their order."""
    hints = get_type_hints(record, include_extras=True)
    return tuple(_choice(field, *get_args(hints[field.name])) for field in fields(record))


def _choice(field: Field[Any], kind: Any, flag: Flag) -> Choice:
    assert field.default is not MISSING  # every option has a default
    return Choice(name=field.name, kind=kind, default=field.default, flag=flag)


class Checked:
    """Base of the records: refuses values that cannot be used, whoever makes the record."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for choice in choices(type(self)):
            choice.check(getattr(self, choice.name))
