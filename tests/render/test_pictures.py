"""What `hpsvid draw` can write beside a video: sheets, PNG files with alpha, shadows, labels."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import hpsvid
from hpsvid.body.model import Body
from hpsvid.common.geometry import image_of
from hpsvid.errors import InputError
from hpsvid.render import load_renderer
from hpsvid.render.lenses import lens_of
from hpsvid.render.overlay import Overlay, doubt_colours
from hpsvid.render.views import View
from hpsvid.types import Array, Frames, Motion, World
from hpsvid.video.probe import probe
from hpsvid.video.writer import VideoWriter
from tests.factories import make_motion, make_params, make_person

WIDE, HIGH = 320, 180  # px
GREY = 90


@pytest.fixture(scope="module")
def motion(body: Body, tmp_path_factory: pytest.TempPathFactory) -> Motion:
    """Somebody who holds still on known ground, three frames, over a grey clip."""
    path = tmp_path_factory.mktemp("still") / "still.mp4"
    with VideoWriter(path, width=WIDE, height=HIGH, fps=Fraction(30)) as writer:
        for t in range(3):
            writer.write(np.full((HIGH, WIDE, 3), GREY, np.uint8), t / 30)
    made = make_motion(body, people=1, frames=3)
    params = make_params(1, seed=1, turn=0.1)
    params.rotmats[:, 0] = np.diag([1.0, -1, -1])  # upright
    params.transl[:] = [0, 0, 4]
    still = replace(params, rotmats=params.rotmats.repeat(3, 0), transl=params.transl.repeat(3, 0))
    person = make_person(body, still)
    camera = replace(made.camera, K=np.diag([0.25, 0.25, 1]) @ made.camera.K)
    lowest = float(body.vertices_of(still)[0, :, 1].max())
    R = np.broadcast_to(np.diag([1.0, -1, -1]), (3, 3, 3)).copy()
    world = World(
        up=np.array([0.0, -1, 0]), up_sigma_deg=1.0, R=R, t=np.array([[0, lowest, 0]] * 3),
        made_from="test",
    )  # fmt: skip
    return replace(
        made, clip=probe(path), people=(person,), camera=camera, world=world,
        pts_s=np.arange(3) / 30,
    )  # fmt: skip


def drawn(motion: Motion, body: Body, **options: Any) -> Array:
    frames = Frames(
        rgb=np.full((3, HIGH, WIDE, 3), GREY, np.uint8), index=np.arange(3), pts_s=motion.pts_s
    )
    chosen = hpsvid.DrawOptions(alpha=1, **options)
    overlay = Overlay(motion, body, load_renderer("raster", 1), alpha=1, look=chosen.look)
    return np.stack(list(View(overlay, chosen).draw(frames)))


@pytest.mark.parametrize(
    "options",
    [
        {"shadow": True, "labels": "0:Zoë", "soft": 3.0, "grid": True},
        {"view": "mesh,side,top", "background": "#102030"},
        {"view": "skeleton", "background": "transparent", "labels": "ids"},
        {"look": "confidence"},
    ],
)
def test_a_still_figure_over_a_still_background_never_flickers(
    motion: Motion, body: Body, options: dict[str, Any]
) -> None:
    """The same pose, the same pixels, wherever a frame lies in the clip."""
    person = motion.people[0]
    steady = replace(
        person,
        sigma=person.sigma[[0, 0, 0]], evidence_error=person.evidence_error[[0, 0, 0]],
        valid=np.ones(3, bool),
    )  # fmt: skip
    pictures = drawn(replace(motion, people=(steady,)), body, **options)
    assert (pictures[0, ..., :3] != pictures[0, 0, 0, :3]).any()  # somebody is there
    np.testing.assert_array_equal(pictures[1:], pictures[:1].repeat(2, 0))


def test_the_shadow_lies_at_the_feet_and_nowhere_else(motion: Motion, body: Body) -> None:
    bare, shaded = drawn(motion, body)[0], drawn(motion, body, shadow=True)[0]
    rows, columns = np.nonzero((shaded.astype(int) < bare).any(-1))
    feet = image_of(motion.people[0].joints[0, [10, 11]], motion.camera.K)
    assert np.all(shaded <= bare) and len(rows) > 20
    assert abs(np.median(columns) - feet[:, 0].mean()) < 15  # px
    assert abs(np.median(rows) - feet[:, 1].mean()) < 12


@pytest.mark.parametrize("view", ["overlay", "skeleton"])
def test_the_grid_lies_on_the_ground_and_behind_people(
    motion: Motion, body: Body, view: str
) -> None:
    bare, gridded = drawn(motion, body, view=view)[0], drawn(motion, body, view=view, grid=True)[0]
    changed = np.abs(gridded.astype(int) - bare).max(-1)
    assert motion.world is not None
    places = np.array([[1, 0, -3.5], [0.5, 0, -3], [0.5, 0, -3.5]])
    own = (places - motion.world.t[0]) @ motion.world.R[0]
    on_line, on_other, between = np.floor(image_of(own, motion.camera.K)).astype(int)[:, ::-1]
    assert changed[tuple(on_line)] > 40 and changed[tuple(on_other)] > 40
    assert changed[tuple(between)] == 0
    horizon = motion.camera.K[1, 2]  # the camera is level: nothing of the ground is above
    assert changed[: int(horizon)].max() == 0
    body_alone = drawn(motion, body, view="mesh", background="#5a5a5a")[0]
    inside = cv2.erode((body_alone != GREY).any(-1).astype(np.uint8), np.ones((5, 5)))
    legs = inside[int(horizon) :] > 0
    assert legs.sum() > 50 and (changed[int(horizon) :][legs] > 0).mean() < 0.05  # between them


@pytest.mark.parametrize("option", ["shadow", "grid"])
def test_a_result_that_knows_no_ground_draws_none(motion: Motion, body: Body, option: str) -> None:
    with pytest.raises(InputError, match=f"--{option}: this result does not say where the ground"):
        drawn(replace(motion, world=None), body, **{option: True})


def test_transparent_pictures_are_the_body_and_nothing_else(
    motion: Motion, body: Body, tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    hpsvid.draw(
        motion, out, options=hpsvid.DrawOptions(view="mesh", background="transparent", alpha=1)
    )
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"frames_{n:06d}.png" for n in range(3)]
    bgra = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert bgra is not None and bgra.shape == (HIGH, WIDE, 4)
    cover = bgra[..., 3:] / 255
    over_grey = np.round(bgra[..., 2::-1] * cover + GREY * (1 - cover))
    assert np.abs(over_grey - drawn(motion, body)[0]).max() <= 2  # of 255, as if drawn over it
    hpsvid.draw(motion, out)  # ours: replaced
    again = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED)
    assert again is not None and again.shape == (HIGH, WIDE, 3)
    (out / "mine.txt").write_text("my own")
    with pytest.raises(InputError, match=r"mine\.txt: is not written by hpsvid"):
        hpsvid.draw(motion, out)
    with pytest.raises(InputError, match="cannot be transparent"):
        hpsvid.draw(motion, tmp_path / "a.mp4",
                    options=hpsvid.DrawOptions(background="transparent"))  # fmt: skip


def test_a_sheet_holds_some_frames_in_one_picture(motion: Motion, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    hpsvid.draw(motion, out, options=hpsvid.DrawOptions(sheet=2, view="overlay,top"))
    sheet = cv2.imread(str(out))
    assert sheet is not None and sheet.shape[1] <= 1920
    with pytest.raises(InputError, match="a sheet is a picture"):
        hpsvid.draw(motion, tmp_path / "a.mp4", options=hpsvid.DrawOptions(sheet=2))


def test_several_views_lie_side_by_side_then_in_two_rows(motion: Motion, body: Body) -> None:
    assert drawn(motion, body, view="beside").shape == (3, HIGH, 2 * WIDE, 3)
    four = drawn(motion, body, view="overlay,side,top,orbit")
    assert four.shape == (3, 2 * HIGH, 2 * WIDE, 3)
    np.testing.assert_array_equal(four[:, HIGH:, :WIDE], drawn(motion, body, view="top"))


def test_the_orbit_goes_round_once_and_keeps_all_in_sight(motion: Motion) -> None:
    turning = replace(motion, pts_s=np.array([0, 2.5, 10]))
    lens = lens_of("orbit", turning)
    first, quarter, whole = (lens(index).R for index in range(3))
    np.testing.assert_allclose(whole, first, atol=1e-9)
    assert abs(first[2] @ quarter[2] - np.sin(np.radians(12)) ** 2) < 1e-9  # 90 degrees about y
    assert first[2, 2] < 0 and first[1, 1] < 0  # from the front as the clip's camera, y down


def test_doubtful_parts_are_red_and_sure_ones_blue(motion: Motion, body: Body) -> None:
    person = motion.people[0]
    sure = replace(
        person, sigma=np.zeros_like(person.sigma), evidence_error=np.zeros_like(person.sigma)
    )
    lost = replace(sure, sigma=np.full_like(person.sigma, 0.3))
    rows = np.array([0])
    assert np.all(doubt_colours(sure, body, rows) == [86, 180, 233])
    np.testing.assert_allclose(doubt_colours(lost, body, rows)[0, 0], [213, 94, 0], atol=0.5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"view": "front"}, "--view front: unknown; known are overlay, skeleton"),
        ({"view": "side,side"}, "each once"),
        ({"labels": "Ann"}, "--labels Ann: expected ids, or each person's name"),
        ({"background": "#12"}, "--background #12: expected a colour such as #1e90ff"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused_at_once(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        hpsvid.DrawOptions(**wrong)


def test_a_background_that_is_not_there_is_named(motion: Motion, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--background none\.png: expected transparent"):
        hpsvid.draw(motion, tmp_path / "a.mp4", options=hpsvid.DrawOptions(background="none.png"))
    assert list(tmp_path.iterdir()) == []
