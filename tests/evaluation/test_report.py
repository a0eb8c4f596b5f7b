"""The comparison page: whole in one file, with everything that was measured."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hpsvid.cli import app
from hpsvid.evaluation.noise_curves import Comparison, Score
from hpsvid.evaluation.page import bar_chart, ticks
from hpsvid.evaluation.report import write_report
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.types import Provenance
from tests.evaluation.test_errors import part
from tests.factories import SAMPLES


class Page(HTMLParser):
    """Counts elements, collects text, and makes sure that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.open: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "img", "line", "circle", "rect", "path", "i"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "i" and tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two results for the first frames of a sample, named after their solvers."""
    truth = read_motion(SAMPLES / "studio_walk.npz")
    person = part(truth.people[0], slice(0, 12), 0)
    rng = np.random.default_rng(0)
    for solver, shake in (("<b>one</b>", 0.0), ("two", 0.05)):
        joints = person.joints + rng.normal(0, shake, person.joints.shape).astype(np.float32)
        made = replace(
            truth,
            clip=replace(truth.clip, path=SAMPLES / "studio_walk.mp4"),
            people=(replace(person, joints=joints),),
            provenance=Provenance(solver=solver),
        )
        folder = tmp_path / solver.strip("<>/b")
        folder.mkdir()
        write_motion(made, folder / "studio_walk.npz")
    return tmp_path


def test_the_page_of_motions_holds_curves_pictures_and_figures(saved: Path) -> None:
    out = saved / "new folder" / "page.html"
    ran = CliRunner().invoke(
        app,
        ["eval", str(SAMPLES / "studio_walk.npz"), "--motion", str(saved / "one"),
         "--motion", str(saved / "two"), "--report", str(out), "--quiet"],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    text = out.read_text()
    page = Page(text)
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)  # self-contained
    assert page.counts["img"] == 3 * len(re.findall(r"<th>\d+\.\d s", text))  # clip and two methods
    assert page.counts["svg"] == 2 + 1 + 2  # PCK, joints, over time
    assert "<b>" not in text  # what a file says is text
    assert page.texts.count("<b>one</b>") >= 3
    assert "PA-MPJPE mm" in page.texts
    assert "left elbow" in page.texts
    assert len(text) < 1_500_000


def test_the_page_shows_no_file_that_a_result_merely_names(saved: Path) -> None:
    """A stranger's result may name any video or picture of this machine."""
    (saved / "truth").mkdir()
    shutil.copy(SAMPLES / "studio_walk.npz", saved / "truth")
    out = saved / "page.html"
    arguments = ["eval", saved / "truth", "--motion", saved / "one", "--report", out, "--quiet"]
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ran.exit_code == 0, ran.output
    assert "img" not in Page(out.read_text()).counts
    shutil.copy(SAMPLES / "studio_walk.mp4", saved / "one")  # a clip beside it is its own
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert Page(out.read_text()).counts["img"] > 0


def test_the_page_of_noise_marks_the_best(tmp_path: Path, body) -> None:
    def scores(worse: float) -> dict[tuple[str, float | None], Score]:
        return {
            (name, level): Score(mpjpe=error, pa_mpjpe=error / 2, acceleration=error * 2)
            for name, factor in (("a", 1.0), ("b", worse))
            for level, error in ((0, 5.0 * factor), (20, 30.0 * factor), (None, 60.0 * factor))
        }

    found = Comparison(
        windows=3, length=8, told=scores(0.5), untold=scores(1.0), ms={"a": 0.1, "b": 2.0},
        acceleration={"a": np.array([1, 2, np.nan, 3, 4, 5.0]), "b": np.ones(6)},
    )  # fmt: skip
    for name in ("one.html", "two.html"):
        write_report(tmp_path / name, [found], [], body)
    text = (tmp_path / "one.html").read_text()
    assert text == (tmp_path / "two.html").read_text()
    page = Page(text)
    assert page.counts["svg"] == 3
    best = re.findall(r'<td class="best">([^<]*)', text)
    assert best == ["0.10", "2.5 (1.2)", "15.0 (7.5)", "30.0 (15.0)", "60.0", "0.10"]
    shown, whole = re.findall(r'<path d="([^"]*)"', text)[-2:]
    assert [run.count(",") for run in shown.split("M")[1:]] == [
        2,
        3,
    ]  # a gap where nothing is known
    assert whole.count("M") == 1


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [(0, 103, [0, 25, 50, 75, 100]), (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8]), (5, 5, [5]),
     (1.3, 6.8, [2, 4, 6])],
)  # fmt: skip
def test_ticks_are_round(least: float, most: float, expected: list[float]) -> None:
    assert ticks(least, most) == pytest.approx(expected)


def test_a_page_has_a_pages_name(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["eval", str(SAMPLES), "--report", str(tmp_path / "page.pdf")])
    assert ran.exit_code == 1
    assert "expected .html" in ran.output


def test_labels_are_text_and_not_elements() -> None:
    chart = bar_chart({"hybrik": [1.0]}, ["<b>.mp4"], {"hybrik": "#000"}, "fps")
    assert "&lt;b&gt;.mp4" in chart and "<b>" not in chart
