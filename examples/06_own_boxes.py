"""Boxes of a detector of your own: a list over the frames, or a dictionary of some frames."""

from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"

# your detector's boxes x0 y0 x1 y1 in pixels (and a score, if it has one), here the truth's
(walker,) = hpsvid.load(SAMPLES / "studio_walk.npz").people
boxes = {
    frame: walker.track.boxes[frame - walker.track.frame_index[0]][None]
    for frame in range(60, 75, 2)  # every second frame is enough
}
options = hpsvid.Options(start=2.0, end=2.5)  # frames count from the part's first, frame 60
part = {frame - 60: rows for frame, rows in boxes.items()}
motion = hpsvid.run(
    SAMPLES / "studio_walk.mp4", options=options, people=hpsvid.People2D(boxes=part)
)
print(f"{len(motion.people)} person, found by {motion.provenance.detector}")
