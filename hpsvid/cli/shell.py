"""What the commands share: their options, errors on one line, progress bars."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from hpsvid.errors import HpsvidError, InputError, one_line
from hpsvid.options import BackboneName, LifterName, SolverName, WeightsName

InputArg = Annotated[Path, typer.Argument(help="Video, picture or folder of pictures.")]
DetectorOpt = Annotated[
    str, typer.Option(help="'embedded', or an ultralytics YOLO: a name or a .pt/.onnx file.")
]
BackboneOpt = Annotated[
    BackboneName, typer.Option(help="What looks at a person; hybrik: the authors', imported.")
]
WeightsOpt = Annotated[
    WeightsName, typer.Option(help="The solver's: ours, or the authors' (imported).")
]
IkOpt = Annotated[SolverName, typer.Option("--ik", help="Solver that turns joints into a body.")]
LifterOpt = Annotated[LifterName, typer.Option(help="What turns landmarks into joints.")]
FastOpt = Annotated[bool, typer.Option("--fast", help="Half the looks at people: faster, rougher.")]
FocalOpt = Annotated[
    float | None, typer.Option(help="Focal length in pixels; guessed when not given.", min=1)
]
PersonOpt = Annotated[
    int | None, typer.Option(help="Only this person (the id that the summary shows).", min=0)
]
MaxPeopleOpt = Annotated[
    int | None, typer.Option(help="At most so many people, the most prominent first.", min=1)
]
SmplOpt = Annotated[
    Path | None, typer.Option(help="Your own SMPL file or folder (default: $HPSVID_SMPL).")
]
ThreadsOpt = Annotated[int | None, typer.Option(help="Threads for networks and drawing.", min=1)]
QuietOpt = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]


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


def stem_of(path: Path) -> str:
    """What files made from `path` are called; "." and ".." take their folder's own name."""
    return path.stem if path.stem.strip(".") else path.resolve().name


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors raised on purpose, or by the machine, into one line on stderr and exit code 1."""
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
        if not isinstance(error.__cause__ or error, KeyboardInterrupt):
            raise
        print("hpsvid: interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None


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
        from hpsvid.pipeline.summary import show

        show(facts)


def refuse_idle_choices(context: typer.Context, backbone: str, person: int | None) -> None:
    """Options of `run` and `export` that others make idle."""
    if backbone == "hybrik":
        refuse_idle(context, "with --backbone hybrik, which sees joints itself", "lifter")
    if person is not None:
        refuse_idle(context, "with --person, who is one", "max_people")
