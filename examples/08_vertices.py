"""The surface of one frame as .obj files, a file a person, y up."""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
motion = hpsvid.load(sys.argv[1] if len(sys.argv) > 1 else SAMPLES / "two_people.npz")

faces = hpsvid.load_body().faces + 1  # .obj counts from 1
Path("out").mkdir(exist_ok=True)
for person_id, vertices in hpsvid.vertices(motion, 70).items():
    lines = [f"v {x:.5f} {-y:.5f} {-z:.5f}" for x, y, z in vertices]  # camera axes: y points down
    lines += [f"f {a} {b} {c}" for a, b, c in faces]
    path = Path(f"out/person{person_id:02d}.obj")
    path.write_text("\n".join(lines) + "\n")
    print(path, vertices.shape)
