"""The closing summary of a run: people, frames, speed of each stage, files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hpsvid.types import Motion

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import StageClock


def summarise(motion: Motion, clock: "StageClock", files: list[Path]) -> dict[str, Any]:
    """Facts about a finished run as plain values (JSON-ready)."""
    people = [
        {
            "id": person.track.id,
            "first_frame": int(person.track.frame_index[0]),
            "frames": len(person.track),
            "frames_filled": int((~person.valid).sum()),
            "reprojection_px": _mean(person.reprojection_px),
        }
        for person in motion.people
    ]
    stages = {
        name: {
            "seconds": round(seconds, 3),
            "fps": round(clock.frames[name] / seconds, 1) if seconds > 0 else None,
        }
        for name, seconds in clock.seconds.items()
    }
    return {
        "input": str(motion.clip.path),
        "frames": len(motion.pts_s),
        "people": people,
        "focal_px": round(float(motion.camera.K[0, 0]), 1),
        "focal_source": motion.camera.source,
        "stages": stages,
        "files": [str(path) for path in files],
    }


def show(facts: dict[str, Any]) -> None:
    """Print the summary as tables on stderr."""
    console = Console(stderr=True)
    # escape: names such as "yt [dQw4w9].mp4" are not rich's markup
    people = Table(title=escape(f"{facts['input']}: {facts['frames']} frames"))
    for heading in ("person", "first frame", "frames", "filled", "reprojection px"):
        people.add_column(heading, justify="right")
    for row in facts["people"]:
        shown = "-" if row["reprojection_px"] is None else f"{row['reprojection_px']:.1f}"
        people.add_row(
            str(row["id"]),
            str(row["first_frame"]),
            str(row["frames"]),
            str(row["frames_filled"]),
            shown,
        )
    console.print(people)
    if facts["stages"]:
        stages = Table("stage", "seconds", "fps")
        for name, row in facts["stages"].items():
            stages.add_row(name, f"{row['seconds']:.1f}", f"{row['fps'] or 0:.1f}")
        console.print(stages)
    for path in facts["files"]:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def _mean(values: np.ndarray) -> float | None:
    seen = values[np.isfinite(values)]
    return round(float(seen.mean()), 2) if len(seen) else None
