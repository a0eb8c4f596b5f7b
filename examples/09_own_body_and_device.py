"""Your own SMPL file in place of the free body, and the device that the networks run on.

python 09_own_body_and_device.py SMPL_NEUTRAL.pkl cuda
"""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
smpl = Path(sys.argv[1]) if len(sys.argv) > 1 else None  # None: $HPSVID_SMPL, or the free body
device = sys.argv[2] if len(sys.argv) > 2 else "cpu"  # or cuda, cuda:1; auto takes CUDA if it can

options = hpsvid.Options(smpl=smpl, device=device, start=2.0, end=2.5)
motion = hpsvid.run(SAMPLES / "studio_walk.mp4", options=options)
body = hpsvid.load_body(smpl)  # for whatever is made of this motion
print(f"body {body.name}: {len(body.template)} vertices")
print(*hpsvid.export(motion, "amass", "out", body=body), sep="\n")
