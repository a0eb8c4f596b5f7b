"""What people look like: a texture each, worn by the bodies of a picture and of a .glb."""

import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
result, clip = sys.argv[1:3] if len(sys.argv) > 2 else (
    SAMPLES / "studio_walk.npz", SAMPLES / "studio_walk.mp4"
)  # fmt: skip
motion = hpsvid.load(result, clip=clip)  # where the clip is now

hpsvid.save(motion, "out/walk.npz")
motion = hpsvid.texture(motion, result="out/walk.npz")  # also as out/walk_person00_texture.png
for person in motion.people:
    assert person.texture is not None
    print(f"person {person.track.id}: texture of {person.texture.rgb.shape}")

hpsvid.draw(
    motion, "out/textured.png",
    options=hpsvid.DrawOptions(look="textured", view="overlay,orbit", sheet=4),
)  # fmt: skip
files = hpsvid.export(motion, "glb", "out", options=hpsvid.ExportOptions(look="textured"))
print(files)
