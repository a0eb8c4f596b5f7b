"""Speed of the main jobs, stage by stage, on a clip repeated to a useful length.

    python -m tools.benchmark [CLIP] [--frames 150]

Times `export` and `run`, each with the heavy and the `--fast` network, on the first frames of
the clip: frames a second in all, and each stage's share of the wall time. Nothing is written
that stays. One warm-up run compiles the renderer and fills the caches.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from hpsvid import pipeline, video, video_writer
from hpsvid.render import ALPHA, load_renderer
from hpsvid.types import Clip

DEFAULT = Path(__file__).resolve().parents[1] / "samples" / "studio_walk.mp4"
WARM_UP_FRAMES = 90  # the sample's person is surely seen by then


def excerpt(clip: Clip, frames: int, path: Path) -> Clip:
    """The first `frames` frames of the clip as a file of their own."""
    left = frames
    with video_writer.VideoWriter(
        path, width=clip.width, height=clip.height, fps=clip.fps
    ) as writer:
        for chunk in video.read_frames(clip):
            for rgb, pts in zip(chunk.rgb[:left], chunk.pts_s[:left], strict=True):
                writer.write(rgb, float(pts))
            left -= min(left, len(chunk))
            if left == 0:
                break
    return video.probe(path)


def measure(clip: Clip, options: pipeline.Options, *, overlay: bool) -> str:
    """Time one job from its start, the models' loading included; a line of its stages' shares."""
    clock = pipeline.StageClock()

    def silent(stage: str, done: int, total: int | None) -> None:
        pass

    start = time.perf_counter()
    body = pipeline.load_chosen_body(None)
    motion = pipeline.make_motion(clip, body, options, clock, silent)
    if overlay:
        with tempfile.TemporaryDirectory() as folder:
            pipeline.render_overlay(
                motion,
                body,
                Path(folder) / "overlay.mp4",
                renderer=load_renderer("auto"),
                alpha=ALPHA,
                clock=clock,
                progress=silent,
            )
    wall = time.perf_counter() - start
    job = ("run" if overlay else "export") + (" --fast" if options.fast else "")
    shares = "  ".join(
        f"{name} {100 * seconds / wall:.0f}%"
        for name, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])
    )
    return f"{job:14s} {len(motion.pts_s) / wall:5.1f} fps   {shares}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed of the main jobs, stage by stage.")
    parser.add_argument("clip", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = video.probe(given.clip)
        options = pipeline.Options(max_people=1, threads=given.threads)
        clip = excerpt(source, given.frames, Path(folder) / "clip.mp4")
        short = excerpt(source, WARM_UP_FRAMES, Path(folder) / "short.mp4")
        measure(short, options, overlay=True)
        print(f"{clip.width}x{clip.height}, {given.frames} frames, one person")
        for overlay in (False, True):
            for fast in (False, True):
                print(measure(clip, replace(options, fast=fast), overlay=overlay), flush=True)


if __name__ == "__main__":
    main()
