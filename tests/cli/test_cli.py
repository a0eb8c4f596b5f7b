"""The command line as a user meets it: files, exit codes, the one line on stderr."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from hpsvid.cli import app, doctor
from hpsvid.cli.doctor import Finding, examine, show
from hpsvid.cli.shell import bounded, names_in, one_line_errors, progress_bars, stem_of
from hpsvid.common.threads import usable_cores
from hpsvid.formats.npz import read_motion
from hpsvid.options import FormatName, Options, SolverName
from hpsvid.video import writer as video_writer
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter, write_image
from tests.factories import SAMPLES, WALK_FIRST, write_walk

FRAMES = 12


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames of a sample clip, as a file of their own."""
    return write_walk(tmp_path_factory.mktemp("clip") / "walk.mp4", FRAMES)


@pytest.fixture(scope="module")
def result(clip: Path) -> Path:
    """`hpsvid run` on that clip; the folder it wrote to."""
    folder = clip.parent / "result"
    ran = call("run", clip, "--out", folder / "walk.mp4", "--fast", "--json")
    assert ran.exit_code == 0, ran.output
    facts = json.loads(ran.stdout)
    assert facts["frames"] == FRAMES
    assert [person["frames"] for person in facts["people"]] == [FRAMES]
    assert facts["files"] == [str(folder / "walk.mp4"), str(folder / "walk.npz")]
    return folder


def test_run_writes_an_overlay_of_every_frame_and_the_motion_beside_it(
    clip: Path, result: Path
) -> None:
    source, overlay = probe(clip), probe(result / "walk.mp4")
    assert (overlay.width, overlay.height, overlay.fps) == (
        source.width,
        source.height,
        source.fps,
    )
    before = np.concatenate([f.rgb for f in read_frames(source)]).astype(int)
    after = np.concatenate([f.rgb for f in read_frames(overlay)]).astype(int)
    assert before.shape == after.shape
    drawn = np.abs(before - after).max(-1) > 40
    boxes = read_motion(result / "walk.npz").people[0].track.boxes.round().astype(int)
    for picture, (x0, y0, x1, y1) in zip(drawn, boxes, strict=True):
        assert picture[y0:y1, x0:x1].mean() > 0.15  # the body fills a good part of its box
        outside = picture.copy()
        outside[max(y0 - 40, 0) : y1 + 40, max(x0 - 40, 0) : x1 + 40] = False
        assert outside.mean() < 0.001  # and nothing is drawn elsewhere


def test_the_motion_lies_on_the_truth_of_the_sample(result: Path) -> None:
    truth = read_motion(SAMPLES / "studio_walk.npz").people[0]
    found = read_motion(result / "walk.npz").people[0]
    expected = truth.joints2d[WALK_FIRST : WALK_FIRST + FRAMES]
    size = np.ptp(expected, axis=1).max(-1)
    apart = np.linalg.norm(found.joints2d - expected, axis=-1).mean(1)
    assert (apart < 0.06 * size).all()


def test_the_same_input_gives_the_same_bytes(clip: Path, result: Path, tmp_path: Path) -> None:
    ran = call("run", clip, "--out", tmp_path / "walk.mp4", "--fast", "--quiet")
    assert (ran.exit_code, ran.output) == (0, "")
    assert (tmp_path / "walk.npz").read_bytes() == (result / "walk.npz").read_bytes()


def test_names_in_brackets_are_shown_as_they_are(result: Path, tmp_path: Path) -> None:
    for name in ("yt [dQw4w9]", "odd[/b]"):  # rich takes these for markup
        source = tmp_path / f"{name}.npz"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes((result / "walk.npz").read_bytes())
        ran = call("export", source, "--out", tmp_path / "out")
        assert ran.exit_code == 0, ran.exception
        stem = Path(name).name
        assert f"{stem}_person00.bvh" in ran.stderr.rpartition("wrote")[2]


def test_several_formats_are_written_at_once(result: Path, tmp_path: Path) -> None:
    saved, out = result / "walk.npz", tmp_path / "out"
    ran = call("export", saved, "--format", "glb, BVH,glb", "--rig", "cmu", "--out", out, "-q")
    assert ran.exit_code == 0, ran.output
    assert sorted(path.name for path in out.iterdir()) == ["walk_person00.bvh", "walk_person00.glb"]
    ran = call("export", saved, "--format", "glb,bvh", "-o", tmp_path / "walk.glb")
    assert ran.exit_code == 1 and "2 formats are written; name a folder" in ran.stderr
    (out / "walk_person00.glb").write_bytes(b"glTF of another program")
    ran = call("export", saved, "--format", "bvh,glb", "--out", out)
    assert ran.exit_code == 1 and "not written by hpsvid" in ran.stderr


@pytest.mark.parametrize("name", sorted({*get_args(FormatName)} - {"fbx"}))
def test_export_from_a_saved_result(result: Path, tmp_path: Path, name: str) -> None:
    ran = call("export", result / "walk.npz", "--format", name, "--out", tmp_path / name, "--json")
    assert ran.exit_code == 0, ran.output
    files = [Path(file) for file in json.loads(ran.stdout)["files"]]
    assert files == list((tmp_path / name).iterdir())
    assert all(file.stat().st_size > 500 for file in files)


def test_export_from_a_video_equals_export_from_its_result(
    clip: Path, result: Path, tmp_path: Path
) -> None:
    for source, folder in (((clip, "--fast"), "a"), ((result / "walk.npz",), "b")):
        ran = call("export", *source, "--out", tmp_path / folder, "-q")
        assert (ran.exit_code, ran.output) == (0, "")
    one, other = (tmp_path / folder / "walk_person00.bvh" for folder in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_a_picture_of_a_person_gives_a_picture(clip: Path, tmp_path: Path) -> None:
    frames = next(read_frames(probe(clip)))
    write_image(tmp_path / "still.png", frames.rgb[0])
    ran = call("run", tmp_path / "still.png", "--out", tmp_path / "drawn.png", "--fast", "-q")
    assert ran.exit_code == 0, ran.output
    assert len(read_motion(tmp_path / "drawn.npz").people[0].track) == 1
    assert probe(tmp_path / "drawn.png").width == frames.rgb.shape[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "missing.mp4"), "missing.mp4"),
        (("run", "{clip}", "--out", "{tmp}/x.webm"), ".webm"),
        (("run", "{clip}", "--out", "{clip}"), "input"),
        (("run", "{clip}", "--out", "{tmp}/x.mp4", "--person", "7"), "--person 7"),
        (("run", "{clip}", "--out", "{tmp}/x.mp4", "--smpl", "{tmp}/no.pkl"), "no.pkl"),
        (("run", "{clip}", "--out", f"{{tmp}}/{'x' * 252}.mp4"), "too long"),
        (("run", f"{{tmp}}/{'y' * 300}.mp4"), "too long"),
        (("run", "{clip}", "--out", "{tmp}/taken.mp4"), "taken.npz: is a folder"),
        (("export", "{clip}", "--out", "{clip}"), "folder"),
        (("export", "{clip}", "--out", "{clip}/sub"), "folder"),
        (("export", "{clip}", "--out", "/proc/sub"), "cannot be written"),
        (("export", "{clip}", "--format", "npz", "--fps", "30"), "--fps"),
        (("export", "{tmp}/other.npz"), "other.npz"),
        (("train", "niki", "--data", "{tmp}", "--out", "{tmp}/w.bin"), ".bin"),
        (("train", "niki", "--data", "{tmp}/no", "--out", "{tmp}/w.safetensors"), "no"),
        (("eval", "{tmp}", "--ik", "hybrik,guess"), "guess"),
        (("eval", "{tmp}/no"), "no"),
        (("eval", "{tmp}", "--json", "{tmp}/taken.npz"), "taken.npz: is a folder"),
        (("bench", "{tmp}", "--json", "{tmp}/taken.npz"), "taken.npz: is a folder"),
        (("bench", "{tmp}", "--html", "{tmp}/taken.npz"), "taken.npz: is a folder"),
        (("run", "{tmp}", "--jobs", "2"), "--jobs: has no effect on {tmp}, a folder without video"),
        (("run", "{clip}", "--engine", "processes"), "--engine: has no effect on {clip}, one clip"),
        (("run", "{clip}", "--address", "auto"), "--address: has no effect without --engine ray"),
        (("run", "{clip}", "--backbone", "hybrik", "--lifter", "geometric"), "--lifter: has no"),
        (("run", "{clip}", "--person", "0", "--max-people", "2"), "--max-people: has no effect"),
        (("export", "{tmp}/other.npz", "--ik", "niki"), "--ik: has no effect on a saved result"),
        (("export", "{tmp}/other.npz", "--fast"), "--fast: has no effect on a saved result"),
        (("export", "{clip}", "--format", "npz", "--rig", "smpl"), "--rig: has no effect"),
        (
            ("eval", "{truth}", "--motion", "{truth}", "--ik", "niki"),
            "--ik: has no effect on saved",
        ),
        (("eval", "{truth}", "--motion", "{truth}", "--fast"), "--fast: has no effect where no"),
        (("eval", "{truth}", "--windows", "3"), "--windows: has no effect without a folder"),
        (("bench", "{tmp}", "--fail-on-regress"), "--fail-on-regress: has no effect without"),
        (
            ("train", "gik", "--loss", "fwd=1", "--data", "{tmp}", "--out", "{tmp}/w.safetensors"),
            "--loss: has no effect on gik",
        ),
    ],
)
def test_bad_input_is_one_line_exit_1_and_nothing_written(
    clip: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    (tmp_path / "taken.npz").mkdir()
    before = sorted(tmp_path.iterdir())
    places = {"clip": clip, "tmp": tmp_path, "truth": SAMPLES / "studio_walk.npz"}
    ran = call(*(argument.format(**places) for argument in arguments))
    assert ran.exit_code == 1
    bars, _, line = ran.stderr.rpartition("hpsvid: ")  # bars of passes that came before
    assert "hpsvid: " not in bars and line.count("\n") == 1
    assert says.format(**places) in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_saved_result_never_overwrites_itself(result: Path) -> None:
    before = (result / "walk.npz").read_bytes()
    ran = call("export", result / "walk.npz", "--format", "npz", "--person", 0, "--out", result)
    assert ran.exit_code == 1 and "input itself" in ran.stderr
    assert (result / "walk.npz").read_bytes() == before


def foreign_files(folder: Path, *names: str) -> dict[Path, bytes]:
    """Files that hpsvid did not write, of the right kind where that is easy."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz" and "truth" in path.stem:
            path.write_bytes((SAMPLES / "studio_walk.npz").read_bytes())  # of our tools, no output
        elif path.suffix == ".npz":
            np.savez(path, poses=np.zeros((3, 156)), trans=np.zeros((3, 3)))
        elif path.suffix in (".mp4", ".mov", ".mkv"):
            with VideoWriter(path, width=64, height=64, fps=Fraction(30)) as writer:
                writer.write(np.zeros((64, 64, 3), np.uint8), 0.0)
        elif path.suffix in (".png", ".jpg"):
            write_image(path, np.zeros((64, 64, 3), np.uint8))
        else:
            path.write_text("HIERARCHY\nROOT hips\n{\n\tOFFSET 0 0 0\n")
    return {folder / name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("run", "{clip}", "-o", "{tmp}/mine.mp4"), ("mine.npz",)),
        (("run", "{clip}", "-o", "{tmp}/mine.mp4"), ("mine.mp4",)),
        (("run", "{clip}", "-o", "{tmp}/truth.mkv"), ("truth.npz",)),
        (("run", "{still}", "-o", "{tmp}/mine.png"), ("mine.png",)),
        (("export", "{clip}", "-o", "{tmp}"), ("walk_person00.bvh",)),
        (("export", "{clip}", "-o", "{tmp}", "--format", "amass"), ("walk_person12.npz",)),
        (("export", "{clip}", "-o", "{tmp}/truth.npz", "--format", "npz"), ("truth.npz",)),
        (("export", "{result}/walk.npz", "-o", "{tmp}/mine.bvh"), ("mine.bvh",)),
        (("live", "{clip}", "-o", "{tmp}/mine.npz"), ("mine.npz",)),
    ],
)
def test_the_files_of_others_are_kept_and_that_is_said_before_any_work(
    clip: Path, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], files: tuple[str, ...],
) -> None:  # fmt: skip
    still = tmp_path / "still.png"
    write_image(still, next(read_frames(probe(clip))).rgb[0])
    monkeypatch.setattr("hpsvid.pipeline.make.make_motion", lambda *_: 1 / 0)
    before = foreign_files(tmp_path / "out", *files)
    places = {"clip": clip, "result": result, "tmp": tmp_path / "out", "still": still}
    ran = call(*(argument.format(**places) for argument in arguments))
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1
    assert "not written by hpsvid" in ran.stderr and "--force" in ran.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_force_overwrites_and_own_files_need_none(result: Path, clip: Path, tmp_path: Path) -> None:
    files = foreign_files(tmp_path / "out", "mine.bvh", "mine.npz", "drawn.jpg", "drawn.npz")
    out, still = tmp_path / "out", tmp_path / "still.png"
    write_image(still, next(read_frames(probe(clip))).rgb[0])
    saved = result / "walk.npz"
    for force in (("--force",), ()):  # the second time they are hpsvid's own
        for command in (
            ("export", saved, "-o", out / "mine.bvh"),
            ("export", saved, "-o", out / "mine.npz", "--format", "amass"),
            ("run", still, "-o", out / "drawn.jpg", "--fast"),
        ):
            ran = call(*command, *force, "-q")
            assert ran.exit_code == 0, ran.output
    assert all(path.read_bytes() != content for path, content in files.items())
    assert sorted(files) == sorted(out.iterdir())
    ran = call("run", clip, "-o", result / "walk.mp4", "--fast", "-q")  # a video of its own
    assert ran.exit_code == 0, ran.output


def test_the_same_command_in_a_folder_of_pictures_does_not_draw_over_its_overlay(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_image(tmp_path / "walk" / f"{number}.png", next(read_frames(probe(clip))).rgb[number])
    monkeypatch.chdir(tmp_path / "walk")
    for _ in range(2):
        ran = call("run", ".", "--fast", "-q")
        assert ran.exit_code == 0, ran.output
    names = {path.name for path in Path().iterdir()}
    assert names == {"0.png", "1.png", "2.png", "walk_overlay.mp4", "walk_overlay.npz"}


def test_a_heat_map_never_overwrites_its_picture(clip: Path, tmp_path: Path) -> None:
    picture = tmp_path / "still.png"
    write_image(picture, next(read_frames(probe(clip))).rgb[0])
    before = picture.read_bytes()
    ran = call("sensitivity", picture, "--out", picture, "--steps", 2, "-q")
    assert ran.exit_code == 1 and "input itself" in ran.stderr
    assert picture.read_bytes() == before


@pytest.mark.parametrize("command", [("occlude",), ("sensitivity", "--steps", "2")])
def test_pictures_of_others_are_overwritten_only_by_force(
    clip: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    still, out = tmp_path / "still.png", tmp_path / "out.png"
    rgb = next(read_frames(probe(clip))).rgb[0]
    write_image(still, rgb)
    write_image(out, rgb)
    before = out.read_bytes()
    arguments = (command[0], still, "--out", out, *command[1:], "-q")
    ran = call(*arguments)
    assert ran.exit_code == 1 and "--force" in ran.stderr and out.read_bytes() == before
    assert call(*arguments, "--force").exit_code == 0 and out.read_bytes() != before
    assert call(*arguments).exit_code == 0  # its own it overwrites


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (("eval", "{tmp}", "--json", "{tmp}/a.json"), "a.json"),
        (("eval", "{tmp}", "--report", "{tmp}/a.html"), "a.html"),
        (("bench", "{tmp}", "--json", "{tmp}/a.json"), "a.json"),
        (("bench", "{tmp}", "--html", "{tmp}/a.html"), "a.html"),
        (("train", "niki", "--data", "{tmp}", "-o", "{tmp}/a.safetensors"), "a.safetensors"),
        (("train", "lifter", "--data", "{tmp}", "-o", "{tmp}/a.safetensors"), "a.safetensors"),
        (("train", "gik", "--data", "{tmp}", "-o", "{tmp}/b/a.safetensors"), "b/a/log.csv"),
    ],
)
def test_reports_and_weights_of_others_are_overwritten_only_by_force(
    tmp_path: Path, arguments: tuple[str, ...], file: str
) -> None:
    before = foreign_files(tmp_path, file)
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    ran = call(*given)
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1
    assert "--force" in ran.stderr and file in ran.stderr
    ran = call(*given, "--force")  # goes further, to what is wrong with the folder
    assert ran.exit_code == 1 and "--force" not in ran.stderr
    assert all(path.read_bytes() == content for path, content in before.items())


def test_bench_makes_the_folders_of_its_reports(clip: Path, tmp_path: Path) -> None:
    json_file, page = tmp_path / "new" / "a.json", tmp_path / "newer" / "a.html"
    for _ in range(2):  # the second time they are its own
        ran = call(
            "bench", clip.parent, "--json", json_file, "--html", page, "--fast", "--no-overlay",
            "-q",
        )  # fmt: skip
        assert ran.exit_code == 0, ran.output
    assert json.loads(json_file.read_text())["totals"] and page.stat().st_size


def test_an_interrupt_while_an_extension_is_imported_is_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        raise ImportError("initialization failed") from KeyboardInterrupt()
    assert ended.value.exit_code == 130 and "interrupted" in capsys.readouterr().err
    with pytest.raises(ImportError), one_line_errors():
        raise ImportError("no such module")


def test_an_overlay_that_fails_leaves_no_result(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "_X264", ("-c:v", "no_such_encoder"))
    ran = call("run", clip, "--out", tmp_path / "a.mp4", "--fast", "-q")
    assert ran.exit_code == 1
    assert "encoder" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_pictures_of_the_folder_above_are_named_after_it(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = next(read_frames(probe(clip)))
    write_image(tmp_path / "walk" / "1.png", frames.rgb[0])
    (tmp_path / "walk" / "in").mkdir()
    monkeypatch.chdir(tmp_path / "walk" / "in")
    ran = call("run", "..", "--fast", "-q")
    assert ran.exit_code == 0, ran.output
    names = sorted(path.name for path in Path().iterdir())
    assert names == ["walk_overlay.mp4", "walk_overlay.npz"]


def test_an_empty_scene_is_one_line_and_nothing_written(tmp_path: Path) -> None:
    blank = tmp_path / "blank.mp4"
    source = probe(SAMPLES / "studio_walk.mp4")
    with VideoWriter(blank, width=320, height=240, fps=source.fps) as writer:
        for t in range(4):
            writer.write(np.full((240, 320, 3), 90, np.uint8), t / 30)
    ran = call("run", blank, "--out", tmp_path / "out.mp4")
    assert ran.exit_code == 1
    assert "no person" in ran.stderr
    assert list(tmp_path.iterdir()) == [blank]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("audio_only.mp4", "no video"),
        ("juggle_truncated_broken.mp4", "juggle_truncated_broken"),
        ("no_person.mp4", "no person"),
    ],
)
def test_hostile_real_files(shared: Path, tmp_path: Path, name: str, says: str) -> None:
    ran = call("run", shared / "data/clips/derived" / name, "--out", tmp_path / "x.mp4", "--fast")
    assert ran.exit_code == 1
    assert says in ran.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import time\nfrom pathlib import Path\nfrom hpsvid import cli\n"
        "from hpsvid.common.files import written_whole\n"
        "def app():\n"
        "    with written_whole(Path('a.npz')):\n"
        "        print('begun', flush=True)\n        time.sleep(60)\n"
        "cli.app = app\ncli.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == "begun\n"
        assert len(list(tmp_path.iterdir())) == 1
        running.terminate()
    assert running.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_speed_counts_only_frames_of_the_time_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(shown=True) as progress:
        progress("read", 16, 16)  # the first chunk, done before the bar's clock started
    assert "fps" not in capsys.readouterr().err


@pytest.mark.timeout(900)  # 226 s on two cores that five others used
def test_solvers_are_compared_on_held_back_motion(shared: Path) -> None:
    mocap = shared / "data/mocap/free/val/cmu_gpmat"
    ran = call("eval", mocap, "--ik", "hybrik,niki-temporal", "--windows", 1)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.count("| hybrik |") == 5  # errors and ratios, told and untold; time


def test_a_solver_named_twice_is_compared_once() -> None:
    assert names_in("niki,gik,niki", SolverName, "--ik") == ["niki", "gik"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_a_short_name_everywhere(flag: str) -> None:
    for command in ((), ("run",), ("weights",), ("weights", "import")):
        ran = call(*command, flag)
        assert ran.exit_code == 0 and "Usage" in ran.stdout


def test_the_version_has_a_short_name() -> None:
    assert call("-V").stdout == call("--version").stdout != ""


def test_a_clip_without_a_command_is_answered_with_the_command() -> None:
    said = call("holiday.mp4")
    assert said.exit_code == 2
    words = said.output.replace("\u2502", " ").split()  # it stands in a box
    assert "hpsvid run holiday.mp4" in " ".join(words)
    assert "Did you mean 'run'" in call("rnu").output


def test_the_shell_completes_commands_and_options() -> None:
    environment = {
        "_HPSVID_COMPLETE": "complete_bash",
        "COMP_WORDS": "hpsvid ex",
        "COMP_CWORD": "1",
    }
    ran = CliRunner().invoke(app, [], env=environment, prog_name="hpsvid")
    assert ran.stdout.split() == ["export"]


def test_a_format_that_is_not_known_is_named_with_those_that_are() -> None:
    ran = call("export", "a.mp4", "--format", "bvh,blend")
    said = " ".join(ran.stderr.replace("│", " ").split())
    assert ran.exit_code == 2 and "'blend' is not a known format; choose npz, bvh" in said


def test_out_may_name_the_file_of_one_person(result: Path, tmp_path: Path) -> None:
    named = tmp_path / "new" / "Walk.BVH"
    for format, file in (
        ("BVH", named),
        ("amass", tmp_path / "a.npz"),
        ("npz", tmp_path / "b.npz"),
    ):
        ran = call("export", result / "walk.npz", "--format", format, "-o", file, "-q")
        assert ran.exit_code == 0, ran.output
    assert named.read_text().startswith("HIERARCHY")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "Walk.BVH",
        "a.npz",
        "b.npz",
        "new",
    ]
    ran = call("export", result / "walk.npz", "--out", tmp_path / "x.npz")
    assert ran.exit_code == 1 and "x.npz: the format's files end in .bvh" in ran.stderr


def test_folders_whose_names_hold_dots_keep_them(tmp_path: Path) -> None:
    (tmp_path / "2024.05.17").mkdir()
    assert stem_of(tmp_path / "2024.05.17") == "2024.05.17"
    assert stem_of(tmp_path / "2024.05.17.mp4") == "2024.05.17"
    assert stem_of(Path()) == Path.cwd().name


def test_more_threads_than_cores_are_not_started(capsys: pytest.CaptureFixture[str]) -> None:
    most = usable_cores()
    for asked, quiet in ((10**6, False), (10**6, True), (1, False), (None, False)):
        options = bounded(Options(threads=asked), quiet=quiet)
        assert options.threads == (asked and min(asked, most))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"--threads 1000000: {most} cores" in told


def test_wrong_use_is_exit_2() -> None:
    assert call("run").exit_code == 2
    assert call("run", "a.mp4", "--ik", "guess").exit_code == 2
    assert call("export", "a.mp4", "--format", "blend").exit_code == 2


def test_doctor_finds_a_sound_installation() -> None:
    ran = call("doctor", "--json")
    findings = json.loads(ran.stdout)
    broken = [finding for finding in findings if finding["state"] == "broken"]
    assert (ran.exit_code, broken) == (0, [])
    parts = {finding["part"] for finding in findings}
    assert {"weights free_body", "weights nanodet", "weights blazepose_heavy"} <= parts
    assert "weights free_body" in call("doctor").stdout


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [("Linux", "ok", "tested"), ("Windows", "absent", "never tested"), ("", "absent", "unknown")],
)
def test_doctor_says_what_is_known_of_the_system(name: str, state: str, says: str) -> None:
    finding = doctor._system(name)
    assert finding.state == state and says in finding.found


def test_doctor_names_optional_packages_and_imported_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSVID_WEIGHTS", str(tmp_path))
    source = {"source": json.dumps({"file": "niki_ts.pth", "sha256": "0123456789abcdef"})}
    save_file({"x": torch.zeros(1)}, tmp_path / "niki_ts.safetensors", source)
    (tmp_path / "hybrik_res34.safetensors").write_bytes(b"damaged")
    findings = {finding.part: finding for finding in examine()}
    assert {"ultralytics", "smplx", "ray"} <= findings.keys()
    assert findings["imported niki_ts"].state == "ok"
    assert "niki_ts.pth, sha256 0123456789ab" in findings["imported niki_ts"].found
    assert findings["imported hybrik_res34"].state == "broken"
    assert "import it again" in findings["imported hybrik_res34"].advice


def test_doctor_checks_the_packages_that_the_installation_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [
        "rich>=13", "no.such-package[x]>=1,<2", "imageio-ffmpeg", "not-there>=1; extra == 'later'",
        "for-tests; extra == 'dev'", 'not-there>=1; extra == "all"',
    ]  # fmt: skip
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    states = {finding.part: (finding.state, finding.advice) for finding in doctor.examine()}
    assert states["rich"][0] == states["imageio-ffmpeg"][0] == "ok"
    assert states["no.such-package"] == ("broken", "pip install no.such-package")
    assert states["not-there"][0] == "absent" and "hpsvid[later]" in states["not-there"][1]
    assert "for-tests" not in states and "torch" not in states


def test_doctor_shows_its_advice_with_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    show([Finding(part="x", state="absent", found="[y]", advice="pip install 'hpsvid[yolo]'")])
    shown = "".join(capsys.readouterr().out.split())
    assert "[y]" in shown and "hpsvid[yolo]" in shown


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "imageio_ffmpeg", "scipy"])
def test_doctor_reports_a_package_that_cannot_be_imported(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("raise ImportError('libgone.so.1: no such file')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-m", "hpsvid", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, "")
    states = {row["part"]: row for row in json.loads(ran.stdout)}
    row = states[name.replace("_", "-")]
    assert row["state"] == "broken" and "libgone" in row["found"]


def test_doctor_reports_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpsvid.common import weights
    from hpsvid.common.weights import weights_dir

    for path in weights_dir().iterdir():
        if path.suffix == ".toml":
            (tmp_path / path.name).write_bytes(path.read_bytes())
        elif path.suffix != ".md":
            (tmp_path / path.name).write_bytes(b"damaged")
    monkeypatch.setattr(weights, "weights_dir", lambda: tmp_path)
    ran = call("doctor", "--json")
    states = {row["part"]: row["state"] for row in json.loads(ran.stdout)}
    assert ran.exit_code == 1
    assert states["weights nanodet"] == "broken"


@pytest.mark.parametrize("command", [(), ("run",), ("export",), ("doctor",), ("train",), ("eval",)])
def test_help_is_instant_because_it_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['hpsvid', *{command!r}, '--help']\n"
        "from hpsvid.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'cv2', 'onnxruntime', 'numba', 'scipy', 'av'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in ran.stdout
    assert "loaded: []" in ran.stdout


def test_an_export_loads_no_compiler_and_no_algebra() -> None:
    code = (
        "import sys, torch, hpsvid.pipeline.make\n"
        "from hpsvid.body.skeleton import forward_kinematics\n"
        "from hpsvid.ik.hybrik import solve\n"
        "rest = torch.rand(29, 3)\n"
        "joints, _ = forward_kinematics(torch.eye(3).expand(2, 24, 3, 3), rest)\n"
        "solve(joints, rest, torch.ones(23, 2))\n"
        "print(sorted({'torch._dynamo', 'numba', 'sympy', 'pyrender'} & set(sys.modules)))\n"
        "import hpsvid.render.raster\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\nFalse\n"
