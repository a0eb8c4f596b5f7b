"""The closing summary of a run: people, frames, speed of each stage, files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsvid.motion.world import pitch_and_roll
from hpsvid.types import Motion, Person

if TYPE_CHECKING:
    from hpsvid.pipeline.stages import StageClock


# Mean distance of the drawn body from what was seen, as a share of the person's height: 5 cm and
# 10 cm of somebody who is 1.7 m tall.
GOOD_DISTANCE, POOR_DISTANCE = 0.03, 0.06
SEEN_WELL, SEEN_POORLY = 0.9, 0.5  # shares of a person's frames
SMALL_PX = 100  # of height; below, the landmark network's crop is enlarged to more than twice
_FOCAL = {
    "given": "focal length: {:.0f} px, as given",
    "metadata": "focal length: {:.0f} px, as the file states",
    "turning": "focal length: {:.0f} px, as the camera's turning tells",
    "guessed": "focal length: guessed, {:.0f} px; if it is wrong, distances are wrong by the same "
    "share (--focal PX, or film with a telephone, which states it)",
}


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
            "height_px": round(_height_px(person), 1),
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
        "fps": round(float(motion.clip.fps), 3),
        "people": people,
        "focal_px": round(float(motion.camera.K[0, 0]), 1),
        "focal_source": motion.camera.source,
        **_ground(motion),
        "quality": in_words(motion),
        "stages": stages,
        "files": [str(path) for path in files],
        **({"notes": notes} if notes else {}),
    }


def in_words(motion: Motion) -> list[str]:
    """How far the motion can be trusted, and what would make it better: a line each."""
    focal = _FOCAL[motion.camera.source].format(float(motion.camera.K[0, 0]))
    return [focal, *map(_person_in_words, motion.people)]


def _person_in_words(person: Person) -> str:
    seen, height = float(person.valid.mean()), _height_px(person)
    distance = (_mean(person.reprojection_px) or 0.0) / height
    advice = []
    if height < SMALL_PX:
        advice.append(f"only {height:.0f} px tall: film nearer, or in more pixels")
    if seen < SEEN_WELL:
        advice.append("poses between sightings are filled in, drawn fainter")
    if distance > GOOD_DISTANCE:
        advice.append("look at the overlay, where the body leaves the person")
    poor = seen < SEEN_POORLY or distance > POOR_DISTANCE
    grade = "poor" if poor else "fair" if advice else "good"
    facts = f"seen in {seen:.0%} of the frames, {distance:.1%} of the height off what was seen"
    return f"person {person.track.id}: {grade}; {'; '.join([facts, *advice])}"


def _height_px(person: Person) -> float:
    """The median of the longer side of the person's boxes, px; whoever lies is long, not tall."""
    boxes = person.track.boxes
    return max(1.0, float(np.median((boxes[:, 2:] - boxes[:, :2]).max(1))))


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
