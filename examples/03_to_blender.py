"""Files for Blender: skinned bodies (.glb), and skeletons alone (.bvh; import with scale 0.01)."""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
motion = hpsvid.load(sys.argv[1] if len(sys.argv) > 1 else SAMPLES / "two_people.npz")

everybody = hpsvid.ExportOptions(together=True)
print(*hpsvid.export(motion, "glb", "out", options=everybody), sep="\n")
# the names that Blender's Rigify gives bones; mixamo, ue5, vrm and others are there, too
print(
    *hpsvid.export(motion, "bvh", "out", options=hpsvid.ExportOptions(rig="rigify")),
    sep="\n",
)
