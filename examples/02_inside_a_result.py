"""What a result holds. docs/keys.md describes all of it."""

import sys
from pathlib import Path

import numpy as np

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
motion = hpsvid.load(sys.argv[1] if len(sys.argv) > 1 else SAMPLES / "two_people.npz")

print(f"{motion.clip.path.name}: {len(motion.pts_s)} frames, {motion.pts_s[-1]:.2f} s")
for person in motion.people:
    joints = person.joints  # (frames, 29, 3) m, camera axes: x right, y down, z forward
    speed = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=1) * float(motion.clip.fps)
    print(
        f"person {person.track.id}: frames {person.track.frame_index[0]} to "
        f"{person.track.frame_index[-1]}, {joints[:, 0, 2].mean():.1f} m away, pelvis at "
        f"{speed.mean():.2f} m/s, rotations {person.body.rotmats.shape}"
    )
