"""hpsvid tracks, trim, smooth, edit: a result changed; each writes a new one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsvid.cli.shell import ForceOpt, SmplOpt, one_line_errors
from hpsvid.errors import InputError
from hpsvid.flags import known_time
from hpsvid.options import OUTPUT

if TYPE_CHECKING:
    from hpsvid.types import Motion

tracks_app = typer.Typer(help="List the people of a result; keep, drop, split, merge, rename them.",
                         no_args_is_help=True)  # fmt: skip
edit_app = typer.Typer(help="Mend poses of a result by hand.", no_args_is_help=True)

ResultArg = Annotated[Path, typer.Argument(help="A result .npz.")]
IdsArg = Annotated[str, typer.Argument(help="Numbers of people, such as 0 or 0,3.")]
OutOpt = Annotated[
    Path,
    typer.Option("--out", "-o", help="The new result (.npz).", rich_help_panel=OUTPUT),
]


def _time(text: Any) -> Any:
    try:
        return known_time(text) if isinstance(text, str) else text
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


@tracks_app.command("list")
def listing(result: ResultArg) -> None:
    """Who is in a result, from when to when."""
    with one_line_errors():
        from hpsvid.common.tables import Column, Table
        from hpsvid.formats.npz import read_motion

        motion = read_motion(result)
        rows = []
        for person in motion.people:
            at = motion.pts_s[person.track.frame_index]
            filled = int((~person.valid).sum())
            rows.append([person.track.id, at[0], at[-1], len(at), filled])
        times = (Column(name, unit="s", form="{:.2f}") for name in ("from", "to"))
        columns = [Column("person"), *times, Column("frames"), Column("filled")]
        typer.echo(Table(columns, rows).markdown())


@tracks_app.command()
def keep(result: ResultArg, people: IdsArg, out: OutOpt, force: ForceOpt = False) -> None:
    """A result with only these people."""
    _edit(result, out, lambda motion, edit: edit.keep(motion, _ids(people)), force=force)


@tracks_app.command()
def drop(result: ResultArg, people: IdsArg, out: OutOpt, force: ForceOpt = False) -> None:
    """A result without these people."""
    _edit(result, out, lambda motion, edit: edit.drop(motion, _ids(people)), force=force)


@tracks_app.command()
def rename(
    result: ResultArg,
    old: Annotated[int, typer.Argument(help="The person's number.")],
    new: Annotated[int, typer.Argument(help="The number to have instead.")],
    out: OutOpt,
    force: ForceOpt = False,
) -> None:
    """A result in which a person has another number."""
    _edit(result, out, lambda motion, edit: edit.rename(motion, old, new), force=force)


@tracks_app.command()
def split(
    result: ResultArg,
    person: Annotated[int, typer.Argument(help="The person's number.")],
    at: Annotated[Any, typer.Option(help="Seconds or hh:mm:ss.", parser=_time, metavar="TIME")],
    out: OutOpt,
    force: ForceOpt = False,
) -> None:
    """A result in which a person is two from a time on: when a track changed over."""
    _edit(result, out, lambda motion, edit: edit.split(motion, person, at), force=force)


@tracks_app.command()
def merge(
    result: ResultArg,
    first: Annotated[int, typer.Argument(help="A person's number, which stays.")],
    second: Annotated[int, typer.Argument(help="The number of the one who is the same.")],
    out: OutOpt,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
) -> None:
    """A result in which two people, one after the other, are one: a track lost and found."""
    _repose(
        result, out, smpl, lambda motion, edit, body: edit.merge(motion, first, second, body),
        force=force,
    )  # fmt: skip


def smooth(
    result: ResultArg,
    out: OutOpt,
    strength: Annotated[
        float, typer.Option(help="1: rotations at 6 Hz, the way 4.5, distance 1; 2: half of that.")
    ] = 2.0,
    person: Annotated[int | None, typer.Option(help="Only this person.")] = None,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
) -> None:
    """A calmer result: rotations and way smoothed once more, without delay."""
    _repose(
        result, out, smpl, lambda motion, edit, body: edit.smooth(motion, strength, body, person),
        force=force,
    )  # fmt: skip


@edit_app.command()
def pin(
    result: ResultArg,
    person: Annotated[int, typer.Option(help="The person's number.")],
    joint: Annotated[str, typer.Option(help="left_ankle, right_wrist, ...")],
    frames: Annotated[
        str, typer.Option(help="Frames of the clip, from the first until before the last: 120:140.")
    ],
    out: OutOpt,
    smpl: SmplOpt = None,
    force: ForceOpt = False,
) -> None:
    """A result in which a hand or foot rests at one place for some frames."""
    with one_line_errors():
        match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", frames)
        if match is None or int(match[1]) >= int(match[2]):
            raise InputError(f"--frames {frames}: expected two numbers of frames, such as 120:140")
        window = int(match[1]), int(match[2])
        _repose(
            result, out, smpl,
            lambda motion, edit, body: edit.pin(motion, person, joint, window, body), force=force,
        )  # fmt: skip


def trim(
    result: ResultArg,
    out: OutOpt,
    start: Annotated[
        Any, typer.Option(help="Seconds or hh:mm:ss.", parser=_time, metavar="TIME")
    ] = None,
    end: Annotated[
        Any, typer.Option(help="End before this time.", parser=_time, metavar="TIME")
    ] = None,
    force: ForceOpt = False,
) -> None:
    """A result with only what happens between two times of the clip."""
    _edit(result, out, lambda motion, edit: edit.trim(motion, start, end), force=force)


def _ids(text: str) -> set[int]:
    try:
        return {int(part) for part in text.split(",")}
    except ValueError as error:
        raise InputError(f"{text!r}: expected numbers of people, such as 0 or 0,3") from error


def _edit(
    result: Path, out: Path, change: Callable[["Motion", Any], "Motion"], *, force: bool
) -> None:
    """Read a result, change it, write another."""
    with one_line_errors():
        import hpsvid
        from hpsvid import edit

        if out.exists() and result.exists() and out.samefile(result):
            raise InputError(f"{out}: is the input itself; give another place with --out")
        hpsvid.save(change(hpsvid.load(result), edit), out, force=force)


def _repose(
    result: Path, out: Path, smpl: Path | None,
    change: Callable[["Motion", Any, Any], "Motion"], *, force: bool,
) -> None:  # fmt: skip
    """As `_edit`, with the body that the result was made with."""
    with one_line_errors():
        from hpsvid.body.smpl import load_chosen_body
        from hpsvid.edit import check_body

        body = load_chosen_body(smpl)

        def changed(motion: "Motion", edit: Any) -> "Motion":
            check_body(motion, body)
            return change(motion, edit, body)

        _edit(result, out, changed, force=force)
