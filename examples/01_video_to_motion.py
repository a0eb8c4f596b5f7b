"""A clip becomes a motion: everybody found, followed and fitted with a body."""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
clip = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES / "studio_walk.mp4"


def show(stage: str, done: int, total: int | None) -> None:
    """How far it is."""
    print(f"\r{stage}: {done} of {total or '?'} frames", end="", flush=True)


# half a second of the clip, one person; without options all of it and everybody
options = hpsvid.Options(start=2.0, end=2.5, max_people=1)
motion = hpsvid.run(clip, options=options, progress=show)
hpsvid.save(motion, "out/walk.npz")
print(f"\n{len(motion.people)} person in {len(motion.pts_s)} frames: out/walk.npz")
