"""The page of `hpsvid view`: what it holds, and how it behaves in a browser without a network."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hpsvid.body.model import Body
from hpsvid.cli import app
from hpsvid.formats.npz import read_motion, write_motion
from tests.factories import SAMPLES, make_motion

RESULT = SAMPLES / "two_people.npz"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["view", *map(str, arguments)])


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text("utf-8")
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    truth = read_motion(RESULT)  # of which nothing is in doubt
    people = [
        replace(p, sigma=p.sigma + np.float32(0.03), evidence_error=p.sigma + np.float32(0.1))
        for p in truth.people
    ]
    write_motion(replace(truth, people=tuple(people)), folder / RESULT.name)
    path, clip = folder / "page.html", RESULT.with_suffix(".mp4")
    ran = call(folder / RESULT.name, "--video", clip, "--out", path, "-q")
    assert ran.exit_code == 0, ran.output
    return path


def test_the_page_holds_everything_and_asks_for_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", text.split("<script")[0])
    data = data_of(page)
    assert base64.b64decode(data["glb"])[:4] == b"glTF"
    assert base64.b64decode(data["video"])[4:8] == b"ftyp"
    assert [person["id"] for person in data["people"]] == [0, 1]
    assert [len(person["speeds"]) for person in data["people"]] == [156, 107]
    names = {file["name"] for file in data["files"]}
    assert names == {
        f"two_people_person0{n}.{kind}" for n in (0, 1) for kind in ("glb", "bvh", "csv")
    }
    for file in data["files"]:
        if file["name"].endswith("person00.bvh"):
            assert gzip.decompress(base64.b64decode(file["content"])).startswith(b"HIERARCHY")


def test_a_page_of_hpsvid_is_overwritten_and_no_other(page: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    for _ in range(2):
        assert call(RESULT, "--out", again, "--no-video", "-q").exit_code == 0
    assert data_of(again)["video"] is None
    again.write_text("<!doctype html>\nmy own")
    ran = call(RESULT, "--out", again, "--no-video")
    assert ran.exit_code == 1 and "not written by hpsvid" in ran.stderr
    assert again.read_text() == "<!doctype html>\nmy own"


def test_names_that_look_like_html_stay_text(tmp_path: Path, body: Body) -> None:
    import dataclasses

    motion = make_motion(body, 1, frames=3)
    evil = dataclasses.replace(motion.clip, path=Path("a</script><b>.mp4"))
    write_motion(dataclasses.replace(motion, clip=evil), tmp_path / "a.npz")
    ran = call(tmp_path / "a.npz", "--out", tmp_path / "a.html", "--no-video", "-q")
    assert ran.exit_code == 0, ran.output
    assert "</script><b>" not in (tmp_path / "a.html").read_text("utf-8")
    assert data_of(tmp_path / "a.html")["clip"] == "a</script><b>.mp4".rpartition("/")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "{tmp}/a.htm"), "expected .html"),
        (("--no-video", "--video", "a.mp4"), "--video has no effect with --no-video"),
        (("--out", "{tmp}/a.html", "--video", "{tmp}/none.mp4"), "say where it is with --video"),
        (("--out", "{tmp}/a.html", "--video", str(SAMPLES / "studio_walk.mp4")), "frames"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    ran = call(RESULT, *(argument.format(tmp=tmp_path) for argument in arguments), "-q")
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1 and says in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(600)
def test_a_browser_plays_and_scrubs_it_offline_without_a_complaint(page: Path) -> None:
    """Needs Chromium ($CHROMIUM or on the PATH) and npm's playwright-core in $NODE_PATH."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    node = ["node", "-e", "require.resolve('playwright-core')"]
    if chromium is None or subprocess.run(node, capture_output=True, check=False).returncode:
        pytest.skip("needs chromium, and npm's playwright-core in a folder of $NODE_PATH")
    ran = subprocess.run(
        ["node", str(Path(__file__).with_name("drive.js")), str(page)], capture_output=True,
        check=False, text=True, env={**os.environ, "CHROMIUM": chromium},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert (seen["problems"], seen["requests"]) == ([], [])
    assert seen["scrubbed"]["clock"] == "1.50 s, frame 45"
    assert seen["scrubbed"]["film"] == pytest.approx(1.5, abs=0.02)
    assert seen["stepped"]["clock"].endswith("frame 46")
    assert seen["played"]["time"] > 1.7
    assert len(set(seen["views"].values())) == 5  # five pictures that differ
    assert min(seen["views"].values()) > 5000  # of which none is empty
    assert seen["doubts"]  # the timeline shows another thing
    assert 2 < seen["tapped"] < 3  # the middle of five seconds, less the names on the left
    assert seen["download"] == "two_people_person00.glb"
