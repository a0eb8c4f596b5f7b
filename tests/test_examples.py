"""The scripts in examples/ run as they stand and leave what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MADE = {  # what each leaves in the current folder, and says
    "01_video_to_motion": (["out/walk.npz"], "1 person in 15 frames"),
    "02_inside_a_result": ([], "person 1: frames"),
    "03_to_blender": (["out/two_people.glb", "out/two_people_person00.bvh"], "person01.bvh"),
    "04_knee_angles": (["out/knees.csv"], "knee l: "),
    "05_pictures": (["out/sheet.png"], "sheet.png"),
    "06_own_boxes": ([], "1 person, found by {'name': 'given'"),
    "07_own_keypoints": ([], "px from the keypoints"),
    "08_vertices": (["out/person00.obj", "out/person01.obj"], "(6939, 3)"),
    "09_own_body_and_device": (["out/studio_walk_person00.npz"], "body free_body"),
    "10_accuracy": ([], "MPJPE "),
    "11_textures": (
        ["out/walk_person00_texture.png", "out/textured.png", "out/studio_walk_person00.glb"],
        "person 0: texture of (1024, 1024, 3)",
    ),
}


def test_every_example_is_run_and_listed() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert scripts == set(MADE) and all(f"`{name}.py`" in listed for name in scripts)


@pytest.mark.parametrize("name", MADE)
def test_the_example_runs(name: str, tmp_path: Path) -> None:
    files, says = MADE[name]
    ran = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HPSVID_SMPL": ""}, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert says in ran.stdout, ran.stdout
    for file in files:
        assert (tmp_path / file).stat().st_size > 100
