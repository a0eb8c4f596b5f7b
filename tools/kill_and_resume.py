"""Kill a command at random moments, give it again, and compare its files with undisturbed ones.

    python -m tools.kill_and_resume CLIP --moments 20 [--ways run,export,jobs,ray] [-- --fast ...]

Each way is first run undisturbed; then, for each moment, a run in an empty folder is ended by
SIGKILL after a random share of that time (its process alone, as by `kill -9 PID`), and the same
command is given again until it ends by itself. Every second time the second run is killed, too.
The outputs must have the same bytes and nothing else may lie beside them. Where most of a clip is
stored the second run is quicker, which the table shows. `jobs` does the folder of CLIP and its copy
with two workers. The resume store writes every STORE_S seconds here, so that short clips have one.

`ray` (only where it is named) does the same folder on a Ray node of this machine, one clip at a
time. There the worker is killed and not the command, which goes on by itself with another worker;
its store writes as usual (every 5 s), and its moments are shares of the time of one clip's work.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from hpsvid.common.tables import Column, Table

STORE_S = 0.5
LONGEST_S = 1800.0


def command_of(way: str, clip: Path, out: Path, options: Sequence[str]) -> list[str]:
    """The command line that does `clip` in this way; all its outputs go into the folder `out`."""
    arguments = {
        "run": ["run", clip, "--out", out / f"{clip.stem}.mp4"],
        "export": ["export", clip, "--out", out, "--format", "npz"],
        "jobs": ["run", clip.parent, "--out", out, "--jobs", "2"],
        "ray": [
            "run", clip.parent, "--out", out, "--engine", "ray", "--address", "auto",
            "--threads", "1",
        ],
    }[way]  # fmt: skip
    return [*map(str, arguments), "-q", *options]


def contents(folder: Path) -> dict[str, str]:
    """sha256 of all files below a folder; of receipts, which tell the time, the name alone."""
    return {
        path.relative_to(folder).as_posix(): ""
        if path.suffix == ".json"
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def start(command: Sequence[str]) -> BaseProcess:
    """Start the command in a process of its own; a fork, which need not import torch again."""
    process = get_context("fork").Process(target=_perform, args=(command,))
    process.start()
    return process


def _perform(command: Sequence[str]) -> None:
    from hpsvid.cli import main as hpsvid_main

    sys.argv = ["hpsvid", *command]
    hpsvid_main()


def finish(command: Sequence[str]) -> float:
    """Run to the end; s. Raises RuntimeError unless it succeeds."""
    begun = time.monotonic()
    process = start(command)
    process.join(LONGEST_S)
    if process.exitcode != 0:
        raise RuntimeError(f"exit code {process.exitcode} of hpsvid {' '.join(command)}")
    return time.monotonic() - begun


def kill_after(command: Sequence[str], seconds: float) -> bool:
    """Start it and kill it then (SIGKILL); False when it was done before."""
    process = start(command)
    process.join(seconds)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed


def lose_workers(
    command: Sequence[str], out: Path, moments_s: Sequence[float]
) -> tuple[int, str, float]:
    """Run to the end while each moment kills the Ray worker: kills, what was stored, s in all."""
    begun = time.monotonic()
    process = start(command)
    kills, kept = 0, "nothing"
    for moment in moments_s:
        while not (workers := ray_workers()) and process.is_alive():
            time.sleep(0.05)
        process.join(moment)  # of the work of this worker
        for pid in ray_workers() & workers:
            os.kill(pid, signal.SIGKILL)
            kills, kept = kills + 1, stored(out)
    process.join(LONGEST_S)
    if process.exitcode != 0:
        raise RuntimeError(f"exit code {process.exitcode} of hpsvid {' '.join(command)}")
    return kills, kept, time.monotonic() - begun


def ray_workers() -> set[int]:
    """The processes of this machine that do a clip for Ray, which titles them so."""
    found = set()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if line.read_bytes().startswith(b"ray::work"):
                found.add(int(line.parent.name))
    return found


@contextmanager
def ray_node() -> Iterator[None]:
    """A Ray node on this machine with room for one clip at a time, found as "auto"."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    here, there = Pipe()
    # in a process of its own: what is forked after ray was imported does not get beyond it
    node = get_context("fork").Process(target=_serve_node, args=(there,))
    node.start()
    try:
        if not here.poll(LONGEST_S / 6):
            raise RuntimeError("no Ray node within 5 minutes")
        os.environ["RAY_ADDRESS"] = here.recv()
        yield
    finally:
        here.send("end")
        node.join()


def _serve_node(told: Connection) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    told.send(cluster.address)
    told.recv()
    cluster.shutdown()


def stored(out: Path) -> str:
    """What the stores in the folder hold, such as "looks 3, tracks 1"."""
    kinds = [path.stem.split("_")[0] for path in sorted(out.glob(".*.hpsvid/*.npz"))]
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds)) or "nothing"


def trial(
    way: str, clip: Path, wanted: dict[str, str], moments_s: Sequence[float], options: Sequence[str]
) -> tuple[int, str, float, list[str]]:
    """Kill at the moments, one a run, then finish.

    Returns the kills, what was stored, s of the last run, and the files that are not the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = command_of(way, clip, out, options)
        if way == "ray":
            kills, kept, seconds = lose_workers(command, out, moments_s)
        else:
            kills = sum(kill_after(command, moment) for moment in moments_s)
            kept = stored(out)
            seconds = finish(command)
        found = contents(out)
        names = sorted(wanted.keys() | found.keys())
        other = [name for name in names if wanted.get(name) != found.get(name)]
        return kills, kept, seconds, other


def examine(
    way: str, clip: Path, moments: int, rng: random.Random, options: Sequence[str]
) -> Table:
    """One row for each random moment."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        undisturbed_s = finish(command_of(way, clip, out, options))
        wanted = contents(out)
    for number in range(moments):
        shares = [rng.random() for _ in range(1 + number % 2)]
        kills, kept, seconds, other = trial(
            way, clip, wanted, [share * undisturbed_s for share in shares], options
        )
        killed_at = " and ".join(f"{share:.0%}" for share in shares)
        rows.append(
            (way, killed_at, kills, kept, seconds / undisturbed_s, " ".join(other) or "yes")
        )
        print(rows[-1], file=sys.stderr, flush=True)
    columns = [
        Column("way", align="left"), Column("killed at"), Column("kills"),
        Column("stored then", align="left"), Column("last run / undisturbed", form="{:.2f}"),
        Column("same bytes"),
    ]  # fmt: skip
    return Table(columns, rows)


def main() -> int:
    """The command line; 1 when any result differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--ways", default="run,export,jobs")
    parser.add_argument("--seed", type=int, default=0)
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    asked, options = parser.parse_args(given[:end]), given[end + 1 :]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a", "b"):
            shutil.copy2(asked.clip, Path(folder) / f"{name}{asked.clip.suffix}")
        clip = Path(folder) / f"a{asked.clip.suffix}"
        rng = random.Random(asked.seed)
        for way in asked.ways.split(","):
            with ray_node() if way == "ray" else nullcontext():
                table = examine(way, clip, asked.moments, rng, options)
            failed |= any(row[-1] != "yes" for row in table.rows)
            print(table.markdown())
    return int(failed)


if __name__ in ("__main__", "__mp_main__"):  # the latter: workers of `jobs`
    import hpsvid.pipeline.make  # noqa: F401 (so that no fork imports it again)
    from hpsvid.pipeline import store

    store.EVERY_S = STORE_S

if __name__ == "__main__":
    sys.exit(main())
