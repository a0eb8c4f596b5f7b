"""Files for other programs as packages of other people read them."""

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE, JOINT
from hpsvid.errors import InputError
from hpsvid.formats import FORMATS, check_formats
from hpsvid.formats.fbx import find_blender
from hpsvid.formats.tables import COCO
from hpsvid.options import ExportOptions, FormatName
from hpsvid.types import Motion
from tests.factories import make_motion
from tools.tables.format_errors import READERS, largest_error

TENTH_MM = 1e-4
PACKAGES = {"usd-core": "pxr"}  # that are imported under another name


def written(name: FormatName, motion: Motion, body: Body, folder: Path, **options: object) -> Path:
    """The only, or first, file."""
    return FORMATS[name].write(motion, body, folder, "a", ExportOptions(**options))[0]  # pyright: ignore


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_joints_come_back_within_a_tenth_of_a_millimetre(
    body: Body, name: FormatName, reader: str
) -> None:
    pytest.importorskip(PACKAGES.get(reader, reader))
    if name == "c3d":
        pytest.importorskip("ezc3d")
    motion = make_motion(body, frames=7, fps=Fraction(30), seed=2)
    assert largest_error(motion, name, READERS[name, reader]) < TENTH_MM


def test_a_spreadsheet_has_a_row_a_frame(tmp_path: Path, body: Body) -> None:
    pandas = pytest.importorskip("pandas")
    motion = make_motion(body, frames=12, fps=Fraction(25))
    person = motion.people[0]
    contacts = np.linspace(0, 1, 48, dtype=np.float32).reshape(12, 4)
    walker = dataclasses.replace(person, contacts=contacts)
    motion = dataclasses.replace(motion, people=(walker, motion.people[1]))
    table = pandas.read_csv(written("csv", motion, body, tmp_path))
    assert table["frame"].tolist() == list(range(12))
    np.testing.assert_allclose(table["time_s"], np.arange(12) / 25)
    assert table["seen"].tolist() == person.valid.astype(int).tolist()
    np.testing.assert_allclose(table["left_ball_contact"], contacts[:, 1], atol=1e-5)
    steps = np.linalg.norm(person.joints[2:, 20] - person.joints[:-2, 20], axis=-1) * 25 / 2
    np.testing.assert_allclose(table["left_wrist_speed_m_s"][1:-1], steps, atol=1e-4)
    both = pandas.read_csv(written("csv", motion, body, tmp_path, together=True))
    assert both["person"].tolist() == [0] * 12 + [3] * 11
    assert both["frame"].tolist() == [*range(12), *range(1, 12)]


def test_keypoints_lie_on_the_picture_as_the_joints_do(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, frames=5)
    content = json.loads(written("json", motion, body, tmp_path).read_text())
    coco = json.loads(written("coco", motion, body, tmp_path).read_text())
    assert [len(p["times_s"]) for p in content["people"]] == [5, 4]
    rows = [a for a in coco["annotations"] if a["track_id"] == 0]
    assert coco["categories"][0]["keypoints"] == list(COCO) and len(rows) == 5
    person = motion.people[0]
    for row, annotation in enumerate(rows):
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        np.testing.assert_array_equal(points, content["people"][0]["keypoints"]["coco17"][row])
        for name in ("left_knee", "right_elbow"):
            joint = person.joints2d[row, JOINT[name]]
            x, y, flag = points[COCO.index(name)]
            assert flag == (2 if person.valid[row] else 1) or not (0 < joint[0] < 1280)
            if flag:
                assert np.hypot(*(joint - [x, y])) < 30  # px: the surface is not the joint
    body25 = np.array(content["people"][0]["keypoints"]["openpose25"])
    assert body25.shape == (5, 25, 3) and (body25[:, [20, 23]] == 0).all()  # no small toes


def test_opensim_files_say_what_they_hold(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=6, fps=Fraction(50))
    head = written("trc", motion, body, tmp_path).read_text().splitlines()
    assert head[2].split("\t")[:5] == ["50.000000", "50.000000", "6", "57", "m"]
    names = [name for name in head[3].split("\t") if name]
    assert names[2:35] == list(BLAZEPOSE.names) and len(names) == 2 + 57
    assert len(head[4].split("\t")) == len(head[6].split("\t")) == 2 + 3 * 57
    text = written("mot", motion, body, tmp_path).read_text().splitlines()
    columns = text[6].split("\t")
    assert text[2:4] == ["nRows=6", f"nColumns={len(columns)}"] and text[5] == "endheader"
    rows = np.array([line.split("\t") for line in text[7:]], float)
    np.testing.assert_allclose(rows[:, 0], np.arange(6) / 50, atol=1e-6)
    pelvis = rows[:, [columns.index(f"pelvis_t{axis}") for axis in "xyz"]]
    np.testing.assert_allclose(pelvis, motion.people[0].joints[:, 0] * [1, -1, -1], atol=1e-5)


def test_opensim_reads_both(tmp_path: Path, body: Body) -> None:
    opensim = pytest.importorskip("opensim")
    motion = make_motion(body, people=1, frames=6)
    markers = opensim.TimeSeriesTableVec3(str(written("trc", motion, body, tmp_path)))
    angles = opensim.TimeSeriesTable(str(written("mot", motion, body, tmp_path)))
    assert (markers.getNumRows(), angles.getNumRows()) == (6, 6)


def test_a_stage_of_everyone_has_all_of_them(tmp_path: Path, body: Body) -> None:
    pxr = pytest.importorskip("pxr.Usd")
    motion = make_motion(body, frames=6)
    stage = pxr.Stage.Open(str(written("usd", motion, body, tmp_path, together=True, up_axis="z")))
    names = [prim.GetName() for prim in stage.GetDefaultPrim().GetChildren()]
    assert names == ["person00", "person03", "camera"]
    assert stage.GetFramesPerSecond() == pytest.approx(30000 / 1001)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.usdc"]


def test_what_is_not_installed_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, module, says in (
        ("c3d", "ezc3d", r"pip install 'hpsvid\[c3d\]'"),
        ("usdz", "pxr", r"pip install 'hpsvid\[usd\]'"),
        ("fbx", "bpy", "needs Blender, which is not found"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match=says):
            check_formats(["bvh", name], ExportOptions())
    with pytest.raises(InputError, match="no such program"):
        find_blender(tmp_path / "blender")


def test_blender_that_fails_is_one_line_and_no_file(tmp_path: Path, body: Body) -> None:
    failing = tmp_path / "blender"
    failing.write_text("#!/bin/sh\necho first\necho 'no GPU here' >&2\nexit 3\n")
    failing.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match=r"blender failed \(no GPU here\)"):
        written("fbx", make_motion(body, 1), body, out, blender=failing)
    assert list(out.iterdir()) == []


def test_a_rest_frame_comes_first(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=4)
    usual = written("bvh", motion, body, tmp_path).read_text()
    rest = written("bvh", motion, body, tmp_path, rest_frame=True).read_text()
    rows = rest.split("Frame Time:")[1].splitlines()[1:]
    assert "Frames: 5" in rest and rows[1:] == usual.split("Frame Time:")[1].splitlines()[1:]
    first = np.array(rows[0].split(), float)
    assert (first[3:] == 0).all() and rows[0].split()[:3] == rows[1].split()[:3]


def test_robots_and_smplx_tools_find_the_keys_that_they_read(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1, frames=4)
    with np.load(written("amass", motion, body, tmp_path), allow_pickle=False) as data:
        assert data["pose_body"].shape == (4, 63) and data["root_orient"].shape == (4, 3)
        np.testing.assert_array_equal(data["poses"][:, 3:66], data["pose_body"])
        assert float(data["mocap_frame_rate"]) == pytest.approx(30000 / 1001)
        assert str(data["gender"]) == "neutral"


@pytest.mark.timeout(600)
def test_blender_makes_an_fbx_that_blender_reads(body: Body) -> None:
    from tools.tables.format_errors import by_blender

    try:
        command = find_blender(None)
    except InputError:
        pytest.skip("needs bpy in this Python, or blender")
    if subprocess.run(
        [sys.executable, "-c", "import bpy"], check=False, capture_output=True
    ).returncode:
        pytest.skip(f"needs bpy in this Python; {command[0]} is no Python")
    motion = make_motion(body, 1, frames=4, fps=Fraction(30))
    error = largest_error(motion, "fbx", lambda p, fps, n: by_blender(sys.executable, p, fps, n))
    assert error < TENTH_MM
