"""What the commands share: their options, errors on one line, progress bars."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from hpsvid.errors import HpsvidError, InputError, ending, one_line
from hpsvid.flags import Choice, choices
from hpsvid.options import OUTPUT, FormatName, Options, known_formats

if TYPE_CHECKING:
    from hpsvid.types import Motion

InputArg = Annotated[Path, typer.Argument(help="Video, picture or folder of pictures.")]
QuietOpt = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT),
]
JsonOpt = Annotated[
    bool,
    typer.Option("--json", help="Print the summary as JSON on stdout.", rich_help_panel=OUTPUT),
]
ForceOpt = Annotated[
    bool,
    typer.Option(
        "--force", help="Overwrite files that hpsvid did not write.", rich_help_panel=OUTPUT
    ),
]
ResumeOpt = Annotated[
    bool,
    typer.Option(
        help="Go on where a run of the same command was ended, and keep what that takes beside "
        "the output (.NAME.hpsvid) until it is there.",
        rich_help_panel=OUTPUT,
    ),
]
ClipOpt = Annotated[
    Path | None,
    typer.Option("--video", help="The clip, when it is no longer where the result says."),
]
SmplOpt = Annotated[
    Path | None,
    typer.Option("--smpl", help="Your own SMPL file or folder (default: $HPSVID_SMPL)."),
]
Command = Callable[..., None]


class Commands(TyperGroup):
    """Who names a clip and no command is told of `run`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As click does; ends with the advice where the name looks like a file."""
        name = args[0]
        if self.get_command(ctx, name) is None and Path(name).suffix:
            ctx.fail(f"No such command '{name}'. For a clip's people as a video: hpsvid run {name}")
        return super().resolve_command(ctx, args)


def takes(
    record: type, only: Collection[str] | None = None, **defaults: Any
) -> Callable[[Command], Command]:
    """Give a command the options that a record's fields describe (`hpsvid.flags.Flag`).

    The command has one parameter of the type `record`; on the command line there is an option for
    each field in its place. only: names of the fields that are offered (None: all), the others
    keep their defaults. defaults: values by name that this command has in place of the record's.
    """
    offered = [choice for choice in choices(record) if only is None or choice.name in only]
    assert only is None or len(offered) == len(only), f"{record.__name__}: no such field in {only}"

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        place = next(n for n, p in signature.parameters.items() if p.annotation is record)

        @functools.wraps(command)
        def with_record(**given: Any) -> None:
            with one_line_errors():
                values = {choice.name: given.pop(choice.name) for choice in offered}
                given[place] = record(**{**defaults, **values})
            command(**given)

        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            if name == place:
                parameters += [_as_parameter(choice, defaults) for choice in offered]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        with_record.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore
        with_record.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_record

    return decorate


def _as_parameter(choice: Choice, defaults: dict[str, Any]) -> inspect.Parameter:
    """A field of a record as the parameter that typer makes an option of."""
    flag = choice.flag
    kind: dict[str, Any] = {"min": flag.least, "max": flag.most, "case_sensitive": False}
    if flag.parse is not None:
        kind = {"parser": _parser(flag.parse), "metavar": "TIME"}
    option = typer.Option(choice.option, help=flag.help, rich_help_panel=flag.panel, **kind)
    return inspect.Parameter(
        choice.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[choice.kind, option],
        default=defaults.get(choice.name, choice.default),
    )  # fmt: skip


def _parser(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """`parse`, whose InputError is a usage error; values that are none of text pass."""

    def parsed(text: Any) -> Any:
        try:
            return parse(text) if isinstance(text, str) else text
        except InputError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


def formats_in(text: str) -> tuple[FormatName, ...]:
    """The formats in `text`, in upper or lower case; a usage error when one is not known."""
    try:
        return known_formats(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def names_in(text: str, known: Any, option: str) -> list[Any]:
    """The names in `text`, each once; InputError when one is not of the Literal."""
    names = list(dict.fromkeys(text.split(",")))
    unknown = sorted(set(names) - set(get_args(known)))
    if unknown:
        listed = ", ".join(get_args(known))
        raise InputError(f"{option} {', '.join(unknown)}: unknown; known are {listed}")
    return names


def refuse_idle(context: typer.Context, why: str, *names: str) -> None:
    """Raise InputError when the user gave one of these options, which do nothing here.

    why: what it is about the other arguments that makes them do nothing. names: of the command's
    parameters.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise InputError(f"{parameter.opts[0]}: has no effect {why}; leave it out")


def with_old_spelling(context: typer.Context, options: Options, *, small: bool | None) -> Options:
    """The options with what --network was called before: small (--fast), or not (--heavy).

    None: it was not given. Raises InputError when --network says another size.
    """
    if small is None:
        return options
    size = "small" if small else "large"
    source = context.get_parameter_source("network")
    if source is not None and source.name == "COMMANDLINE" and options.network != size:
        old = "--fast" if small else "--heavy"
        raise InputError(
            f"{old}: means --network {size}, and --network {options.network} was given"
        )
    return replace(options, network=size)


def bounded(options: Options, *, quiet: bool) -> Options:
    """The options with no more threads than this machine has cores to use; a line says so."""
    from hpsvid.common.threads import thread_count

    if options.threads is None or options.threads == thread_count(options.threads):
        return options
    most = thread_count(None)
    if not quiet:
        print(f"hpsvid: --threads {options.threads}: {most} cores to use here, so {most} threads",
              file=sys.stderr)  # fmt: skip
    return replace(options, threads=most)


def stem_of(path: Path) -> str:
    """What files made from `path` are called: without the suffix, a folder (2024.05.17) whole."""
    whole = path.is_dir() or not path.stem.strip(".")
    return path.resolve().name if whole else path.stem


@contextmanager
def one_line_errors(*, resumes: bool = False) -> Iterator[None]:
    """Turn errors raised on purpose, or by the machine, into one line on stderr and exit code 1.

    An interrupt, or another signal that asks for the end, gives one line and 128 + its number.
    resumes: whether the same command goes on where this one was ended.
    """
    try:
        yield
    except HpsvidError as error:
        print(f"hpsvid: {one_line(error)}", file=sys.stderr)
        raise typer.Exit(1) from error
    except BrokenPipeError:  # who reads our output has had enough; typer ends quietly
        raise
    except OSError as error:  # a name too long, a folder that may not be entered, a full disk
        print(f"hpsvid: {one_line(error)}", file=sys.stderr)
        raise typer.Exit(1) from error
    except MemoryError as error:
        print(f"hpsvid: not enough memory ({error}); try a smaller input", file=sys.stderr)
        raise typer.Exit(1) from error
    except (KeyboardInterrupt, ImportError) as error:
        # Ctrl-C while a C++ extension starts comes out as an ImportError
        cause = error.__cause__ or error
        if not isinstance(cause, KeyboardInterrupt):
            raise
        what, code = ending(cause)
        then = "; the same command goes on from there" if resumes else ""
        print(f"hpsvid: {what}; nothing was written{then}", file=sys.stderr)
        raise typer.Exit(code) from None


@contextmanager
def progress_bars(*, shown: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar a pass, with frames a second and the time left; nothing when not `shown`."""
    if not shown:
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        Remaining(),
    )
    bars = Progress(*columns, console=Console(stderr=True))
    known: dict[str, Any] = {}
    begun: dict[str, int] = {}  # frames done when a bar's clock started: its first chunk

    def update(stage: str, done: int, total: int | None) -> None:
        bars.start()  # only now: an input that is refused at once shows no bar
        if stage not in known:
            known[stage], begun[stage] = bars.add_task(stage, total=total, rate=""), done
        task = bars.tasks[bars.task_ids.index(known[stage])]
        since = done - begun[stage]
        rate = f"{since / task.elapsed:.1f} fps" if since and task.elapsed else ""
        bars.update(known[stage], completed=done, rate=rate)

    try:
        yield update
        for task in bars.tasks:  # a container may announce another count than it holds
            bars.update(task.id, total=task.completed)
    finally:
        if known:
            bars.stop()


def show_facts(facts: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Print the summary of a run, as JSON on stdout or as tables on stderr."""
    if as_json:
        print(json.dumps(facts, indent=2))
    elif not quiet:
        _show(facts)


def refuse_idle_choices(context: typer.Context, options: Options) -> None:
    """Options of `run` and `export` that others make idle."""
    if not options.lifts:
        why = f"with --backbone {options.backbone}, which sees joints itself"
        refuse_idle(context, why, "lifter")
        if options.backbone == "dense":
            refuse_idle(context, "with --backbone dense, which has one size", "network")
    elif options.small_network:
        refuse_idle(context, "with --network small, which geometry lifts", "lifter")
    if options.person is not None:
        refuse_idle(context, "with --person, who is one", "max_people")


def _show(facts: dict[str, Any]) -> None:
    """Print the summary as tables on stderr."""
    from rich.console import Console

    from hpsvid.common.tables import Column, Table

    console = Console(stderr=True)
    keys = ("id", "first_frame", "frames", "frames_filled", "reprojection_px")
    people = Table(
        [Column("person"), Column("first frame"), Column("frames"), Column("filled"),
         Column("reprojection", unit="px", form="{:.1f}")],
        [[person[key] for key in keys] for person in facts["people"]],
        title=f"{facts['input']}: {facts['frames']} frames, {facts['fps']:g} fps",
    )  # fmt: skip
    console.print(people.rich())
    if facts["stages"]:
        figures = (Column(name, form="{:.1f}") for name in ("seconds", "fps"))
        stages = Table(
            [Column("stage", align="left"), *figures],
            [(name, row["seconds"], row["fps"]) for name, row in facts["stages"].items()],
        )
        console.print(stages.rich())
    for line in facts["quality"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if ground := facts.get("ground"):
        pitch = round(ground["camera_pitch_deg"])
        console.print(
            f"ground: camera looks {'up' if pitch < 0 else 'down'} by {abs(pitch)} and is turned "
            f"by {ground['camera_roll_deg']:.0f} degrees, within {ground['up_sigma_deg']:.0f} "
            f"(from {ground['made_from']})", markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    for note in facts.get("notes", ()):
        console.print(f"{facts['input']}: {note}", markup=False, highlight=False, soft_wrap=True)
    for path in facts["files"]:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def with_clip(motion: "Motion", result: Path, video: Path | None) -> "Motion":
    """The motion with its clip as it lies on this machine.

    It is `video`, or else a file of the clip's name beside the result, or where the result says.
    What was imported without a video has plain pictures.
    Raises InputError when there is none, it cannot be read, or its pictures have another size.
    """
    from hpsvid.video.probe import with_clip_at

    if video is None and not motion.provenance.other.get("imported", {}).get("video", True):
        return replace(motion, clip=replace(motion.clip, blank=True, frame_count=len(motion.pts_s)))
    beside = result.with_name(motion.clip.path.name)
    path = video or (beside if beside.exists() else motion.clip.path)
    if not path.exists():
        raise InputError(
            f"{path}: the clip of this result is not there; say where it is with --video"
        )
    return with_clip_at(motion, path)
