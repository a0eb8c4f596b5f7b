"""Speed, memory, smoothness and accuracy on a folder of clips, each with every solver asked for.

A row is one clip with one solver. Clips that cannot be worked on are listed with the reason and
do not stop the others. Figures of two machines, or of a busy and a quiet one, do not compare.
`hpsvid.bench.report` makes tables of the rows and compares them with earlier ones.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.files import read_npz
from hpsvid.common.series import RATE_HZ, runs
from hpsvid.errors import HpsvidError, InputError, NoPersonError, reason
from hpsvid.evaluation.errors import compare
from hpsvid.evaluation.metrics import MM, acceleration_errors, jerk_sizes, mean
from hpsvid.evaluation.results import belongs
from hpsvid.evaluation.tables import WORLD_COLUMNS, summary
from hpsvid.evaluation.truth import FEET, TRUTH_KEYS, Truth, read_truth
from hpsvid.ik.networks import WINDOW_FRAMES
from hpsvid.ik.windows import shared_frames
from hpsvid.options import DrawOptions, Options, SolverName
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.pictures import write_pictures
from hpsvid.pipeline.stages import StageClock
from hpsvid.render import Renderer
from hpsvid.types import Array, Clip, Motion, Person
from hpsvid.video.probe import clips_in, open_clip, probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter

Row = dict[str, Any]
"""Plain values by column; `None` where there is nothing to measure."""

NETWORKS = ("detect", "landmarks")
SEAM_S = (WINDOW_FRAMES - shared_frames(WINDOW_FRAMES)) / RATE_HZ  # between two windows' starts
WARM_UP_FRAMES = 60
MIB = 2**20


def bench(
    folder: Path,
    truths: Sequence[Truth],
    body: Body,
    options: Options,
    solvers: Sequence[SolverName],
    renderer: Renderer | None,
) -> Iterator[Row]:
    """The rows of all clips in `folder`, one after the other; renderer None leaves overlays out.

    truths: of some of the clips. What a first call costs alone (compiling, filling caches) is
    spent before the clock starts. Raises InputError when there is no clip.
    """
    clips = clips_in(folder)
    ways = [replace(options, solver=solver) for solver in solvers]
    warm = False
    for path in clips:
        truth = next((truth for truth in truths if belongs(path, truth)), None)
        for way in ways:
            try:
                clip = open_clip(path, way)
                if not warm:
                    warm = _warm_up(clip, body, ways, renderer)
                yield measure(clip, truth, body, way, renderer)
            except (HpsvidError, OSError, MemoryError) as error:
                yield {"clip": path.name, "solver": way.solver, "failed": reason(error, path)}


def truths_in(folder: Path, body: Body) -> tuple[list[Truth], list[str]]:
    """Every truth in the folder's npz files, and a line on each of them that cannot be read.

    Other programs' files, and results of `hpsvid` itself, are no truth and passed over.
    """
    truths, unreadable = [], []
    for path in sorted(folder.glob("*.npz")):
        try:
            if read_npz(path, "truth", TRUTH_KEYS):
                truths += [truth for truth in read_truth(path, body) if truth.solver is None]
        except InputError as error:
            unreadable.append(f"{path.name}: {reason(error, path)}")
    return truths, unreadable


def _warm_up(clip: Clip, body: Body, ways: Sequence[Options], renderer: Renderer | None) -> bool:
    """Run every stage once, on the clip's first frames; returns whether they show a person."""
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
    with VideoWriter(path, **shape) as writer:
        for chunk in read_frames(clip):
            for rgb, pts in zip(chunk.rgb[:left], chunk.pts_s[:left], strict=True):
                writer.write(rgb, float(pts))
            left -= min(left, len(chunk))
            if left == 0:
                break
    return probe(path)


def measure(
    clip: Clip,
    truth: Truth | None,
    body: Body,
    options: Options,
    renderer: Renderer | None,
) -> Row:
    """One row: the clip with `options`, overlay included.

    cpu_s_frame: seconds of processor time, of this process, all its threads and the children that
    have ended (encoders), for each frame of the clip.
    """
    clock = StageClock()
    reset_peak()
    cpu = _cpu_s()
    start = time.perf_counter()
    motion = make_motion(clip, body, options, clock)
    motion_s = time.perf_counter() - start
    if renderer is not None:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "overlay.mp4"
            write_pictures(motion, body, out, renderer, DrawOptions(), clock)
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
        "cpu_s_frame": (_cpu_s() - cpu) / frames,
        "networks_percent": 100 * networks / motion_s,
        "peak_mib": peak_memory() / MIB,
        "stages": {
            name: {"seconds": seconds, "fps": clock.frames[name] / seconds if seconds else None}
            for name, seconds in clock.seconds.items()
        },
        **quality(motion),
        **({} if truth is None else _accuracy(motion, truth, body)),
    }


def _cpu_s() -> float:
    """Processor time, s, of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def quality(motion: Motion) -> Row:
    """Figures of a motion that need no truth; mean over people and frames.

    slower_foot_mm_s: speed of the slower foot, which stands in most frames of a person on the
    ground; it stands in for foot skate, which needs the truth to say which feet stand. Movement
    of the camera adds to it. seam_ratio: acceleration where two windows of the temporal solver
    meet over that elsewhere; 1 is no seam.
    """
    people = motion.people
    moving = [_movement(person, motion) for person in people]
    jerk, acceleration, at_seam, slower_foot = map(np.concatenate, zip(*moving, strict=True))
    reprojection = np.concatenate([person.reprojection_px for person in people])
    filled = np.concatenate([~person.valid for person in people])
    gaps = sum(len(runs(~person.valid)) for person in people)
    seam, inside = mean(acceleration[at_seam]), mean(acceleration[~at_seam])
    return {
        "people": len(people),
        "jitter_m_s3": _plain(mean(jerk)),
        "acceleration_m_s2": _plain(mean(acceleration) / MM),
        "slower_foot_mm_s": _plain(mean(slower_foot)),
        "reprojection_px": _plain(mean(reprojection)),
        "seam_ratio": _plain(seam / inside) if inside else None,
        "filled_percent": 100 * float(filled.mean()),
        "gaps": gaps,
    }


def _movement(person: Person, motion: Motion) -> tuple[Array, Array, Array, Array]:
    """One person's jerk, m/s^3; acceleration, mm/s^2, and whether it is at a seam; foot, mm/s."""
    fps, joints = float(motion.clip.fps), person.joints
    centred = joints - joints[:, :1]
    acceleration = acceleration_errors(centred, np.zeros_like(centred), fps).mean(1)
    times = motion.pts_s[person.track.frame_index]
    middle = times[1:-1] - times[0]  # a second difference lies amid its frames
    away = np.abs((middle + SEAM_S / 2) % SEAM_S - SEAM_S / 2)
    at_seam = (away <= 1.5 / min(fps, RATE_HZ)) & (middle > SEAM_S / 2)
    feet = np.diff(joints[:, FEET["joints"]], axis=0) * fps * MM
    slower_foot = np.linalg.norm(feet, axis=-1).min(1)
    return jerk_sizes(joints, fps).ravel(), acceleration, at_seam, slower_foot


def _accuracy(motion: Motion, truth: Truth, body: Body) -> Row:
    errors = summary(compare(motion, truth, body, clip=truth.name, method=""))
    wanted = ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "foot_skate_mm_s", "found_percent",
              "p95_speed_ratio", "jitter_ratio", *WORLD_COLUMNS)  # fmt: skip
    return {name: _plain(errors[name]) for name in wanted if name in errors}


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
