"""hpsvid bench: every clip has its row, totals and regressions say what they claim."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from hpsvid.bench.clips import MIB, bench, quality, truths_in
from hpsvid.bench.report import (
    changed_settings,
    markdown,
    read_report,
    regressions,
    report,
    totals,
    write_bench_page,
)
from hpsvid.errors import InputError
from hpsvid.formats.npz import write_motion
from hpsvid.options import Options
from hpsvid.render import load_renderer
from hpsvid.types import Provenance
from tests.factories import SAMPLES, make_motion, write_walk


def row(clip="a.mp4", solver="niki", **values):
    usual = {
        "frames": 100, "seconds": 10.0, "fps": 10.0, "motion_fps": 12.0, "people": 1,
        "networks_percent": 70.0, "peak_mib": 600.0, "jitter_m_s3": 50.0, "gaps": 0, "stages": {},
        "acceleration_m_s2": 3.0, "slower_foot_mm_s": 100.0, "reprojection_px": 4.0,
        "seam_ratio": 1.0, "filled_percent": 0.0,
    }  # fmt: skip
    return {"clip": clip, "solver": solver, **usual, **values}


def test_quality_of_a_motion_at_rest_and_of_one_that_trembles(body):
    motion = make_motion(body, people=1, frames=80)
    person = motion.people[0]
    still = replace(
        person,
        joints=np.repeat(person.joints[:1], len(person.track), 0),
        valid=np.ones(len(person.track), bool),
    )
    calm = quality(replace(motion, people=(still,)))
    assert calm["jitter_m_s3"] == calm["acceleration_m_s2"] == calm["slower_foot_mm_s"] == 0
    assert (calm["filled_percent"], calm["gaps"], calm["people"]) == (0, 0, 1)
    assert calm["seam_ratio"] is None
    rng = np.random.default_rng(0)
    tremble = still.joints + rng.normal(0, 0.01, still.joints.shape).astype(np.float32)
    shaky = quality(replace(motion, people=(replace(still, joints=tremble),)))
    fps = float(motion.clip.fps)
    # third differences of white noise: variance 1 + 9 + 9 + 1; mean norm of a 3D normal 1.596 sd
    assert shaky["jitter_m_s3"] == pytest.approx(0.01 * np.sqrt(20) * 1.596 * fps**3, rel=0.05)
    assert shaky["seam_ratio"] == pytest.approx(1, abs=0.2)


def test_a_jump_where_windows_meet_shows_as_a_seam(body):
    motion = make_motion(body, people=1, frames=120)
    person = motion.people[0]
    joints = np.repeat(person.joints[:1], len(person.track), 0)
    rng = np.random.default_rng(0)
    joints = joints + rng.normal(0, 0.001, joints.shape).astype(np.float32)
    for seam in (32, 64, 96):
        joints[seam:, 5:] += 0.02
    found = quality(replace(motion, people=(replace(person, joints=joints),)))
    assert found["seam_ratio"] > 2


def test_totals_weigh_clips_by_their_frames():
    rows = [
        row(),
        row("b.mp4", frames=300, seconds=10.0, jitter_m_s3=90.0, people=2, mpjpe_mm=80.0),
        {"clip": "broken.mp4", "solver": "niki", "failed": "no video"},
        row(solver="hybrik"),
    ]
    both, other = totals(rows)
    assert (both["clip"], both["solver"], both["frames"], both["people"]) == (
        "all 2",
        "niki",
        400,
        3,
    )
    assert both["fps"] == 20 and both["jitter_m_s3"] == 80 and both["mpjpe_mm"] == 80
    assert other["solver"] == "hybrik"
    shown = markdown(rows, ["a.npz: damaged"])
    assert "a.npz: damaged" in shown
    assert shown.count("broken.mp4") == 1 and "MPJPE" in shown and "PA-MPJPE" not in shown


def test_regressions_are_named_and_noise_is_not(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report([row(), row("b.mp4")], {})))
    before = read_report(path)
    assert regressions([row(fps=8.0, peak_mib=610.0, jitter_m_s3=51.0)], before) == []
    worse = regressions(
        [
            row(fps=5.0, jitter_m_s3=60.0, people=0),
            {"clip": "b.mp4", "solver": "niki", "failed": "no person"},
            row("new.mp4", fps=1.0),
        ],
        before,
    )
    assert [line.split(": ")[1].split(" ")[0] for line in worse] == [
        "fps", "people", "jitter_m_s3", "failed",
    ]  # fmt: skip


def test_settings_that_differ_from_the_baselines_are_named(tmp_path):
    path = tmp_path / "old.json"
    then = {"fast": False, "lifter": "geometric", "gone": 1}
    path.write_text(json.dumps(report([row()], then)))
    now = {"fast": True, "lifter": "geometric", "threads": 2}
    before = read_report(path)
    assert changed_settings(now, before) == ["settings differ: fast was false, is true"]
    path.write_text(json.dumps({"rows": []}))
    assert changed_settings(now, read_report(path)) == []


def test_what_is_not_measured_any_more_is_a_regression_and_an_old_failure_is_none():
    before = report(
        [row(mpjpe_mm=80.0), {"clip": "b.mp4", "solver": "niki", "failed": "no person"}], {}
    )
    (worse,) = regressions([row(), row("b.mp4", fps=1.0)], before)
    assert "mpjpe_mm 80 -> not measured" in worse


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three copies of a few frames of a sample."""
    folder = tmp_path_factory.mktemp("clips")
    write_walk(folder / "a.mp4", 8)
    for name in ("b.mp4", "c.mp4"):
        shutil.copy(folder / "a.mp4", folder / name)
    return folder


def test_what_the_machine_refuses_costs_that_clip_alone(clips, body, tmp_path, monkeypatch):
    options = Options(fast=True, threads=1)
    rows = bench(clips, [], body, options, ["hybrik"], load_renderer("auto"))
    found = [next(rows)]
    with monkeypatch.context() as here:
        here.setattr(tempfile, "tempdir", str(tmp_path / "gone"))  # overlays have no place
        found.append(next(rows))
    found += rows
    assert [row["clip"] for row in found] == ["a.mp4", "b.mp4", "c.mp4"]
    assert ["failed" in row for row in found] == [False, True, False]
    assert found[1]["failed"].endswith("No such file or directory")
    assert 0.001 < found[0]["cpu_s_frame"] < 60
    assert "\n- b.mp4: " in markdown(found)


def test_a_damaged_truth_is_named_and_results_of_our_own_are_none(body, tmp_path):
    shutil.copy(SAMPLES / "studio_walk.npz", tmp_path)
    motion = make_motion(body, people=1, frames=8)
    provenance = Provenance(solver="niki", detector={"name": "nanodet"})
    write_motion(replace(motion, provenance=provenance), tmp_path / "ours.npz")
    np.savez(tmp_path / "amass.npz", poses=np.zeros((3, 156)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "ours.npz").read_bytes()[:200])
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "points.npz", joints3d_m=np.zeros((3, 12, 3)))
    truths, unreadable = truths_in(tmp_path, body)
    assert [truth.name for truth in truths] == ["studio_walk"]
    assert [line.split(":")[0] for line in unreadable] == ["cut.npz", "empty.npz", "points.npz"]
    assert str(tmp_path) not in " ".join(unreadable)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", '{"rows": [], "settings": [1]}', '{"rows": [1]}', '{"a": 1}',
        '{"rows": [{"clip": "a.mp4", "solver": "niki", "fps": "fast"}]}',
        '{"rows": [{"clip": "a.mp4", "solver": "niki", "fps": 1%s}]}' % ("0" * 400),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_baseline_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no report"):
        read_report(path)
    with pytest.raises(InputError, match="No such file"):
        read_report(tmp_path / "none.json")


def test_peak_memory_is_this_runs_own():
    """In a process of its own: what other tests left in memory would be used again."""
    code = (
        "import numpy as np\n"
        "from hpsvid.bench.clips import peak_memory, reset_peak\n"
        "peaks = [peak_memory()]\n"
        "for size in (200, 0, 100):\n"
        "    reset_peak()\n"
        "    block = np.ones(size << 20, np.uint8)\n"
        "    peaks.append(peak_memory())\n"
        "    del block\n"
        "print(*peaks)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    base, high, low, middle = (int(peak) / MIB for peak in told.stdout.split())
    assert high == pytest.approx(base + 200, abs=20)
    assert low == pytest.approx(base, abs=20)
    assert middle == pytest.approx(base + 100, abs=20)


def test_page_holds_every_figure_and_failure(tmp_path):
    path = tmp_path / "bench.html"
    rows = [
        row(stages={"detect": {"seconds": 2.0, "fps": 50.0}}),
        row(solver="hybrik", fps=11.5, stages={"solve": {"seconds": 0.1, "fps": 1000.0}}),
        {"clip": "<b>.mp4", "solver": "niki", "failed": "no video"},
    ]
    write_bench_page(path, rows, ["a.mp4, niki: fps 20 -> 10"])
    page = path.read_text()
    for text in ("all 1", "11.5", "&lt;b&gt;.mp4: no video", "fps 20 -&gt; 10", "a frame"):
        assert text in page, text
    assert "<b>.mp4" not in page and "PA-MPJPE" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    write_bench_page(tmp_path / "again.html", rows, ["a.mp4, niki: fps 20 -> 10"])
    assert (tmp_path / "again.html").read_text() == page
