"""Speed, memory, smoothness and accuracy on a folder of clips, each with every solver asked for.

A row is one clip with one solver. Clips that cannot be worked on are listed with the reason and
do not stop the others. Figures of two machines, or of a busy and a quiet one, do not compare.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hpsvid
from hpsvid import accuracy, metrics, pipeline, truth, video, video_writer, windows
from hpsvid.body import Body
from hpsvid.choices import SolverName
from hpsvid.errors import HpsvidError, InputError, NoPersonError, one_line
from hpsvid.ik.solver_niki import WINDOW_FRAMES
from hpsvid.render import ALPHA, Renderer
from hpsvid.types import Array, Clip, Motion, Person

Row = dict[str, Any]
"""Plain values by column; `None` where there is nothing to measure."""

NETWORKS = ("detect", "landmarks")
SEAM_S = WINDOW_FRAMES // 2 / windows.RATE_HZ  # the temporal solver's windows overlap by half
WARM_UP_FRAMES = 60
MIB = 2**20

# How much worse a figure may be than in the baseline before it counts as a regression: relative
# and absolute, the larger of both. Speed varies by a fifth on a shared machine.
HIGHER_IS_BETTER = {"fps": (0.25, 0.0), "people": (0.0, 0.0)}
LOWER_IS_BETTER = {
    "peak_mib": (0.1, 20.0),
    "jitter_m_s3": (0.05, 1.0),
    "acceleration_m_s2": (0.05, 0.2),
    "foot_slide_mm_s": (0.1, 5.0),
    "reprojection_px": (0.05, 0.2),
    "seam_ratio": (0.1, 0.05),
    "filled_percent": (0.1, 0.5),
    "mpjpe_mm": (0.0, 2.0),
    "pa_mpjpe_mm": (0.0, 2.0),
}


def bench(
    folder: Path,
    body: Body,
    options: pipeline.Options,
    solvers: Sequence[SolverName],
    renderer: Renderer | None,
) -> Iterator[Row]:
    """The rows of all clips in `folder`, one after the other; renderer None leaves overlays out.

    What a first call costs alone (compiling, filling caches) is spent before the clock starts.
    Raises InputError when there is no clip.
    """
    clips = video.clips_in(folder)
    truths = truths_in(folder, body)
    ways = [replace(options, solver=solver) for solver in solvers]
    warm = False
    for path in clips:
        known = next((one for one in truths if accuracy.belongs(path, one)), None)
        for way in ways:
            try:
                clip = video.probe(path)
                if not warm:
                    warm = _warm_up(clip, body, ways, renderer)
                yield measure(clip, known, body, way, renderer)
            except HpsvidError as error:
                yield {"clip": path.name, "solver": way.solver, "failed": one_line(error)}


def truths_in(folder: Path, body: Body) -> list[truth.Truth]:
    """Every truth that an npz of the folder holds."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with suppress(InputError):
            found += truth.read_truth(path, body)
    return found


def _warm_up(
    clip: Clip, body: Body, ways: Sequence[pipeline.Options], renderer: Renderer | None
) -> bool:
    """Everything once, on the clip's first frames; whether they showed a person."""
    with tempfile.TemporaryDirectory() as scratch, suppress(NoPersonError):
        short = excerpt(clip, WARM_UP_FRAMES, Path(scratch) / "short.mp4")
        for way in ways:
            measure(short, None, body, way, renderer)
        return True
    return False


def excerpt(clip: Clip, frames: int, path: Path) -> Clip:
    """The first `frames` frames of the clip as a file of their own."""
    shape = {"width": clip.width, "height": clip.height, "fps": clip.fps}
    left = frames
    with video_writer.VideoWriter(path, **shape) as writer:
        for chunk in video.read_frames(clip):
            for rgb, pts in zip(chunk.rgb[:left], chunk.pts_s[:left], strict=True):
                writer.write(rgb, float(pts))
            left -= min(left, len(chunk))
            if left == 0:
                break
    return video.probe(path)


def measure(
    clip: Clip,
    known: truth.Truth | None,
    body: Body,
    options: pipeline.Options,
    renderer: Renderer | None,
) -> Row:
    """One row: the clip with `options`, overlay and all."""
    clock = pipeline.StageClock()
    reset_peak()
    start = time.perf_counter()
    motion = pipeline.make_motion(clip, body, options, clock, _silent)
    motion_s = time.perf_counter() - start
    if renderer is not None:
        with tempfile.TemporaryDirectory() as scratch:
            pipeline.render_overlay(
                motion, body, Path(scratch) / "overlay.mp4",
                renderer=renderer, alpha=ALPHA, clock=clock, progress=_silent,
            )  # fmt: skip
    wall = time.perf_counter() - start
    frames = len(motion.pts_s)
    networks = sum(clock.seconds[name] for name in NETWORKS)
    return {
        "clip": clip.path.name,
        "solver": options.solver,
        "frames": frames,
        "seconds": wall,
        "fps": frames / wall,
        "motion_fps": frames / motion_s,
        "networks_percent": 100 * networks / motion_s,
        "peak_mib": peak_memory() / MIB,
        "stages": {
            name: {"seconds": seconds, "fps": clock.frames[name] / seconds if seconds else None}
            for name, seconds in clock.seconds.items()
        },
        **quality(motion),
        **({} if known is None else _accuracy(motion, known, body)),
    }


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def quality(motion: Motion) -> Row:
    """What can be said of a motion without knowing the truth; mean over people and frames.

    foot_slide_mm_s: speed of the slower foot, which stands in most frames of somebody on the
    ground; of a moving camera it holds that movement. seam_ratio: acceleration where two windows
    of the temporal solver meet over that elsewhere; 1 is no seam.
    """
    people = motion.people
    moving = [_movement(person, motion) for person in people]
    jerk, acceleration, at_seam, slower_foot = map(np.concatenate, zip(*moving, strict=True))
    reprojection = np.concatenate([person.reprojection_px for person in people])
    filled = np.concatenate([~person.valid for person in people])
    gaps = sum(len(truth.runs(~person.valid)) for person in people)
    seam, inside = metrics.mean(acceleration[at_seam]), metrics.mean(acceleration[~at_seam])
    return {
        "people": len(people),
        "jitter_m_s3": _plain(metrics.mean(jerk)),
        "acceleration_m_s2": _plain(metrics.mean(acceleration) / metrics.MM),
        "foot_slide_mm_s": _plain(metrics.mean(slower_foot)),
        "reprojection_px": _plain(metrics.mean(reprojection)),
        "seam_ratio": _plain(seam / inside) if inside else None,
        "filled_percent": 100 * float(filled.mean()),
        "gaps": gaps,
    }


def _movement(person: Person, motion: Motion) -> tuple[Array, Array, Array, Array]:
    """One person's jerk, m/s^3; acceleration, mm/s^2, and whether it is at a seam; foot, mm/s."""
    fps, joints = float(motion.clip.fps), person.joints
    centred = joints - joints[:, :1]
    acceleration = metrics.acceleration_errors(centred, np.zeros_like(centred), fps).mean(1)
    times = motion.pts_s[person.track.frame_index]
    middle = times[1:-1] - times[0]  # a second difference lies amid its frames
    away = np.abs((middle + SEAM_S / 2) % SEAM_S - SEAM_S / 2)
    at_seam = (away <= 1.5 / min(fps, windows.RATE_HZ)) & (middle > SEAM_S / 2)
    feet = np.diff(joints[:, truth.FEET["joints"]], axis=0) * fps * metrics.MM
    slower_foot = np.linalg.norm(feet, axis=-1).min(1)
    return metrics.jerk_sizes(joints, fps).ravel(), acceleration, at_seam, slower_foot


def _accuracy(motion: Motion, known: truth.Truth, body: Body) -> Row:
    errors = accuracy.compare(motion, known, body, clip=known.name, method="")
    found = accuracy.summary(errors)
    wanted = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "foot_skate_mm_s", "found_percent")
    return {name: _plain(found[name]) for name in wanted}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def reset_peak() -> None:
    """Let the kernel forget this process's peak memory; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """Most memory that the process held, bytes: since `reset_peak`, off Linux since its start."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def totals(rows: Sequence[Row]) -> list[Row]:
    """A row for each solver over all its clips: fps over all frames, the rest by frames."""
    found = []
    for solver in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == solver and "failed" not in row]
        if not mine:
            continue
        frames = np.array([row["frames"] for row in mine], np.float64)

        def average(column: str, mine: list[Row] = mine, frames: Array = frames) -> float | None:
            values = np.array([row.get(column) for row in mine], np.float64)  # None becomes NaN
            known = np.isfinite(values)
            return float(np.average(values[known], weights=frames[known])) if known.any() else None

        seconds = sum(row["seconds"] for row in mine)
        total = {
            "clip": f"all {len(mine)}",
            "solver": solver,
            "frames": int(frames.sum()),
            "seconds": seconds,
            "fps": float(frames.sum()) / seconds,
            "people": sum(row["people"] for row in mine),
            "gaps": sum(row["gaps"] for row in mine),
            "peak_mib": max(row["peak_mib"] for row in mine),
        }
        names = ("motion_fps", "networks_percent", *LOWER_IS_BETTER)
        found.append(total | {n: average(n) for n in names if n not in total})
    return found


def report(rows: Sequence[Row], settings: Row) -> Row:
    """Everything as one JSON-ready value."""
    return {
        "hpsvid_version": hpsvid.__version__,
        "settings": settings,
        "rows": list(rows),
        "totals": totals(rows),
    }


def read_report(path: Path) -> Row:
    """What `report` made, from a file; InputError when it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for row in found["rows"]:
            hash((row["clip"], row["solver"]))
            for column in HIGHER_IS_BETTER | LOWER_IS_BETTER:
                if row.get(column) is not None:
                    math.isfinite(row[column])  # TypeError of what is no number
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a bench report (--json)") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no report of `hpsvid bench --json` ({error})") from error
    return found


def regressions(rows: Sequence[Row], baseline: Row) -> list[str]:
    """What is worse than in the baseline by more than the tolerance, a line each.

    Clips and solvers that the baseline does not have are passed over; one that failed now and did
    not then is a regression.
    """
    before = {(row["clip"], row["solver"]): row for row in baseline["rows"]}
    found = []
    for row in rows:
        old = before.get((row["clip"], row["solver"]))
        if old is None or "failed" in old:
            continue
        name = f"{row['clip']}, {row['solver']}"
        if "failed" in row:
            found.append(f"{name}: failed now: {row['failed']}")
            continue
        for column, (relative, absolute) in (HIGHER_IS_BETTER | LOWER_IS_BETTER).items():
            then, now = old.get(column), row.get(column)
            if then is None or now is None:
                continue
            worse = then - now if column in HIGHER_IS_BETTER else now - then
            if worse > max(relative * abs(then), absolute):
                found.append(f"{name}: {column} {then:.4g} -> {now:.4g}")
    return found


def line(row: Row) -> str:
    """A row in a few words, for somebody who waits."""
    if "failed" in row:
        return f"{row['clip']}: {row['failed']}"
    return f"{row['clip']}, {row['solver']}: {row['frames']} frames at {row['fps']:.1f} fps"


COLUMNS = {
    "frames": "frames", "people": "people", "fps": "fps", "motion_fps": "without overlay",
    "networks_percent": "networks %", "peak_mib": "MiB", "jitter_m_s3": "jitter m/s³",
    "acceleration_m_s2": "accel m/s²", "foot_slide_mm_s": "foot slide mm/s",
    "reprojection_px": "reproj. px", "seam_ratio": "seam", "filled_percent": "filled %",
    "gaps": "gaps", "mpjpe_mm": "MPJPE mm", "pa_mpjpe_mm": "PA-MPJPE mm",
}  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, columns without any value left out, failures listed below."""
    good = [row for row in rows if "failed" not in row]
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in good)]
    lines = [
        "| clip | solver | " + " | ".join(COLUMNS[name] for name in columns) + " |",
        "|---|---" + "|---:" * len(columns) + "|",
    ]
    for row in good:
        cells = [row["clip"], row["solver"], *(cell(row.get(name)) for name in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    failed = [f"{row['clip']}: {row['failed']}" for row in rows if "failed" in row]
    return "\n".join([*lines, *(["", "Not measured:", *dict.fromkeys(failed)] if failed else [])])


def stage_table(rows: Sequence[Row]) -> str:
    """Frames a second of each stage, as Markdown; a stage that ran beside others is not extra."""
    good = [row for row in rows if "failed" not in row]
    names = list(dict.fromkeys(name for row in good for name in row["stages"]))
    lines = [
        "| fps | solver | " + " | ".join(names) + " |",
        "|---|---" + "|---:" * len(names) + "|",
    ]
    for row in good:
        cells = [cell(row["stages"].get(name, {}).get("fps")) for name in names]
        lines.append(f"| {row['clip']} | {row['solver']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(value: float | int | None) -> str:
    """A figure with three digits that count, as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
