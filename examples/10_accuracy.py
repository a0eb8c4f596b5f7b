"""How far a motion is from the truth: mean joint error with the pelves together, in mm.

`hpsvid eval TRUTH.npz --motion RESULT.npz` measures this and much more.
"""

from pathlib import Path

import numpy as np

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
(true,) = hpsvid.load(SAMPLES / "studio_walk.npz").people
options = hpsvid.Options(start=2.0, end=2.5)
(found,) = hpsvid.run(SAMPLES / "studio_walk.mp4", options=options).people

frames = found.track.frame_index + 60  # of the part that begins at 2 s, frame 60 of the clip
rows = frames - true.track.frame_index[0]
joints, truth = (
    found.joints[:, :24],
    true.joints[rows, :24],
)  # SMPL's own
error = np.linalg.norm((joints - joints[:, :1]) - (truth - truth[:, :1]), axis=-1)
print(f"MPJPE {1000 * error.mean():.0f} mm over {len(frames)} frames")
