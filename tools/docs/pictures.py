"""Make the pictures of README and docs: `python -m tools.docs.pictures [--bpy PYTHON]`.

Everything in samples/pictures comes from samples/two_people.mp4 and the program itself: the
pipeline's result drawn over the clip and from other sides, knee angles as a curve, the .glb in
Blender (bpy) and the page of `hpsvid view` in Chromium ($CHROMIUM or on the PATH, playwright-core
in $NODE_PATH). Pictures whose program is missing are left as they are, and a line says so.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

import hpsvid
from hpsvid.formats.angles import joint_angles
from hpsvid.formats.figure import figures
from hpsvid.types import Array, Motion

ROOT = Path(__file__).resolve().parents[2]
CLIP, OUT = ROOT / "samples" / "two_people.mp4", ROOT / "samples" / "pictures"
WIDE, QUALITY = 1000, 80  # px and JPEG's
_BLENDER = """
import bpy, sys
glb, out, frame = sys.argv[-3], sys.argv[-2], int(sys.argv[-1])
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 30
bpy.ops.import_scene.gltf(filepath=glb)
scene.frame_set(frame)
bpy.context.view_layer.update()
bpy.ops.mesh.primitive_plane_add(size=30)
bpy.ops.object.light_add(type="SUN", rotation=(0.6, 0.3, 0.4))
bpy.context.object.data.energy = 3
world = scene.world = bpy.data.worlds.new("w")
world.color = (0.6, 0.65, 0.7)
bodies = [o for o in bpy.data.objects if o.type == "ARMATURE"]
places = [o.matrix_world @ o.pose.bones[0].head for o in bodies]
middle = sum(places, places[0] * 0) / len(places)
bpy.ops.object.camera_add(location=(middle.x + 3.5, middle.y - 4.5, 2.2))
camera = scene.camera = bpy.context.object
camera.rotation_euler = (middle - camera.location).to_track_quat("-Z", "Y").to_euler()
scene.render.engine = "CYCLES"
scene.cycles.samples, scene.cycles.device = 16, "CPU"
scene.render.resolution_x, scene.render.resolution_y = 960, 540
scene.render.filepath = out
bpy.ops.render.render(write_still=True)
"""


def save(name: str, rgb: Array) -> None:
    """Write a picture (H, W, 3) as a small JPEG."""
    high = round(rgb.shape[0] * WIDE / rgb.shape[1])
    small = cv2.resize(rgb, (WIDE, high), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(OUT / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def read(path: Path) -> Array:
    """A picture (H, W, 3) RGB."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def draw_views(motion: Motion, folder: Path) -> None:
    """overview.jpg and looks.jpg: views of a few frames."""
    both = hpsvid.DrawOptions(view="overlay,side", shadow=True, sheet=4)
    hpsvid.draw(motion, folder / "overview.png", options=both)
    save("overview.jpg", read(folder / "overview.png"))
    rows = []
    for look in (
        hpsvid.DrawOptions(view="overlay", labels="0:Ann,1:Ben", shadow=True, sheet=3),
        hpsvid.DrawOptions(view="skeleton", sheet=3),
        hpsvid.DrawOptions(view="mesh", look="confidence", sheet=3),
    ):
        path = folder / f"look{len(rows)}.png"
        hpsvid.draw(motion, path, options=look)
        sheet = read(path)  # two rows, of which the second is half empty
        rows.append(sheet[: len(sheet) // 2])
    save("looks.jpg", np.concatenate(rows))


def draw_knees(motion: Motion) -> None:
    """knees.svg: the knee angles of the first person."""
    (figure, *_) = figures(motion, hpsvid.load_body(), hpsvid.ExportOptions())
    angles = joint_angles(figure)
    times = figure.times_s
    top = 10 * np.ceil(max(angles[f"knee_angle_{side}"].max() for side in "lr") / 10)

    def curve(values: Sequence[float] | Array, colour: str) -> str:
        places = " ".join(
            f"{60 + 640 * (t - times[0]) / (times[-1] - times[0]):.1f},{220 - 200 * v / top:.1f}"
            for t, v in zip(times, values, strict=True)
        )
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'

    ticks = "".join(
        f'<text x="52" y="{224 - 200 * v / top:.0f}" text-anchor="end">{v:.0f}°</text>'
        f'<path d="M60 {220 - 200 * v / top:.1f}h640" stroke="#8884"/>'
        for v in np.arange(0, top + 1, 20)
    )
    seconds = "".join(
        f'<text x="{60 + 640 * (t - times[0]) / (times[-1] - times[0]):.0f}" y="240" '
        f'text-anchor="middle">{t:.0f} s</text>'
        for t in np.arange(np.ceil(times[0]), times[-1] + 1e-6)
    )
    (OUT / "knees.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 250" font-family="sans-serif" '
        f'font-size="12"><rect width="720" height="250" fill="#fff"/>{ticks}{seconds}'
        f"{curve(angles['knee_angle_l'], '#d55e00')}{curve(angles['knee_angle_r'], '#0072b2')}"
        '<text x="600" y="20" fill="#d55e00">left knee</text>'
        '<text x="600" y="36" fill="#0072b2">right knee</text></svg>\n',
        encoding="utf-8",
    )


def draw_blender(motion: Motion, bpy: Path, folder: Path) -> None:
    """blender.jpg: everybody's .glb as Blender shows it."""
    (glb,) = hpsvid.export(
        motion, "glb", folder / "all.glb", options=hpsvid.ExportOptions(together=True)
    )
    script = folder / "show.py"
    script.write_text(_BLENDER, encoding="utf-8")
    picture = folder / "blender.png"
    subprocess.run([bpy, script, glb, picture, "85"], check=True, capture_output=True)
    save("blender.jpg", read(picture))


def draw_viewer(result: Path, chromium: str, folder: Path) -> None:
    """viewer.jpg: the page of `hpsvid view`."""
    page = folder / "page.html"
    subprocess.run(["hpsvid", "view", result, "--video", CLIP, "--out", page, "-q"], check=True)
    subprocess.run(
        ["node", ROOT / "tests" / "viewer" / "drive.js", page, folder], check=True,
        capture_output=True, env={**os.environ, "CHROMIUM": chromium},
    )  # fmt: skip
    save("viewer.jpg", read(folder / "orbit.png"))


def main() -> None:
    """Make all of them."""
    parser = argparse.ArgumentParser(description="Make the pictures of README and docs.")
    parser.add_argument("--bpy", type=Path, help="a Python that has bpy")
    parser.add_argument("--result", type=Path, help="a result of the clip; else it is made")
    given = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    motion = hpsvid.load(given.result, clip=CLIP) if given.result else hpsvid.run(CLIP)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result = folder / "two_people.npz"
        hpsvid.save(motion, result)
        draw_views(motion, folder)
        draw_knees(motion)
        if given.bpy is None:
            print("blender.jpg: left as it is; --bpy names a Python that has bpy")
        else:
            draw_blender(motion, given.bpy, folder)
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        if chromium is None:
            print("viewer.jpg: left as it is; needs Chromium")
        else:
            draw_viewer(result, chromium, folder)


if __name__ == "__main__":
    main()
