"""The closing summary of a run: people, frames, speed of each stage, files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsvid.motion.world import pitch_and_roll
from hpsvid.types import Motion

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import StageClock


def summarise(
    motion: Motion, clock: "StageClock", files: list[Path], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Facts about a finished run as plain values (JSON-ready); notes: besides the clip's."""
    notes = [*motion.clip.notes, *notes]
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
        **_ground(motion),
        "stages": stages,
        "files": [str(path) for path in files],
        **({"notes": notes} if notes else {}),
    }


def _ground(motion: Motion) -> dict[str, Any]:
    """What is known of the ground, if anything."""
    if motion.world is None:
        return {}
    pitch, roll = (round(float(np.rad2deg(a)), 1) for a in pitch_and_roll(motion.world.up))
    return {
        "ground": {
            "camera_pitch_deg": pitch,
            "camera_roll_deg": roll,
            "up_sigma_deg": round(motion.world.up_sigma_deg, 1),
            "made_from": motion.world.made_from,
        }
    }


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 2) if len(finite) else None
