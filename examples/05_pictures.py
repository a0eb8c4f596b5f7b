"""Pictures of a motion; no network runs for them."""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
result, clip = sys.argv[1:3] if len(sys.argv) > 2 else (
    SAMPLES / "two_people.npz", SAMPLES / "two_people.mp4"
)  # fmt: skip
motion = hpsvid.load(result, clip=clip)  # where the clip is now

sheet = hpsvid.DrawOptions(view="overlay,orbit", labels="0:Ann,1:Ben", sheet=4)
hpsvid.draw(motion, "out/sheet.png", options=sheet)
print("out/sheet.png")
# for a video: hpsvid.draw(motion, "out/side.mp4", options=hpsvid.DrawOptions(view="side"))
# for compositing, PNG files with alpha: a folder as `out`, and
# hpsvid.DrawOptions(view="mesh", background="transparent")
