"""2D keypoints of another program: the body is drawn onto them, depth comes from the picture.

COCO 17 (ViTPose, Detectron2), OpenPose 25, Halpe 26 (AlphaPose, RTMPose), MediaPipe 33.
"""

import json
from pathlib import Path

import numpy as np

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"

# stands in for OpenPose's own files, one a frame:
# {"people": [{"pose_keypoints_2d": [x, y, score, x, y, score, ...]}]}
truth = hpsvid.load(SAMPLES / "studio_walk.npz")
camera = hpsvid.ExportOptions(frame="camera")
(file,) = hpsvid.export(truth, "json", "out", options=camera, force=True)
points = np.array(json.loads(file.read_text())["people"][0]["keypoints"]["openpose25"])
first = int(truth.people[0].track.frame_index[0])
keypoints = [points[60 - first + n][None] for n in range(15)]  # (people, 25, 3) for each frame

motion = hpsvid.run(
    SAMPLES / "studio_walk.mp4",
    options=hpsvid.Options(start=2.0, end=2.5),
    people=hpsvid.People2D(keypoints=keypoints, layout="openpose25"),
)
(person,) = motion.people
print(f"joints lie {np.nanmean(person.reprojection_px):.1f} px from the keypoints on average")
