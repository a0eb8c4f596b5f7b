"""The closing summary of a run: people, frames, speed of each stage, files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from hpsvid.common.tables import Column, Table
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
        **({"notes": list(motion.clip.notes)} if motion.clip.notes else {}),
    }


def show(facts: dict[str, Any]) -> None:
    """Print the summary as tables on stderr."""
    console = Console(stderr=True)
    keys = ("id", "first_frame", "frames", "frames_filled", "reprojection_px")
    people = Table(
        [Column("person"), Column("first frame"), Column("frames"), Column("filled"),
         Column("reprojection", unit="px", form="{:.1f}")],
        [[person[key] for key in keys] for person in facts["people"]],
        title=f"{facts['input']}: {facts['frames']} frames",
    )  # fmt: skip
    console.print(people.rich())
    if facts["stages"]:
        figures = (Column(name, form="{:.1f}") for name in ("seconds", "fps"))
        stages = Table(
            [Column("stage", align="left"), *figures],
            [(name, row["seconds"], row["fps"]) for name, row in facts["stages"].items()],
        )
        console.print(stages.rich())
    for note in facts.get("notes", ()):
        console.print(f"{facts['input']}: {note}", markup=False, highlight=False, soft_wrap=True)
    for path in facts["files"]:
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 2) if len(finite) else None
