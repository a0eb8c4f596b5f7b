"""Textures of people: what is seen comes back, holes are filled, nobody else's pixels get in."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import hpsvid
from hpsvid.appearance.choose import COUNT, chosen_rows, headings
from hpsvid.appearance.files import read_texture, texture_path, write_texture
from hpsvid.appearance.make import textured
from hpsvid.body.atlas import Atlas, atlas_of
from hpsvid.body.model import Body
from hpsvid.body.texels import Texels, mirrored, texels_of
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.options import DrawOptions
from hpsvid.pipeline.stages import silent
from hpsvid.render import load_renderer
from hpsvid.render.overlay import Overlay
from hpsvid.render.views import View
from hpsvid.types import Array, Motion, Person, Texture
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.appearance.painted import (
    GRASS,
    clip_of,
    filmed,
    paint_at,
    painted,
    places,
    plain,
    sides_at,
    turning,
    with_texture,
)
from tests.factories import write_walk
from tests.formats.gltf import Glb
from tests.formats.test_glb import VALIDATE

SIZE = 256


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def atlas(body: Body) -> Atlas:
    return atlas_of(body)


@pytest.fixture(scope="module")
def texels(atlas: Atlas) -> Texels:
    return texels_of(atlas, SIZE)


@pytest.fixture(scope="module")
def paint(body: Body) -> Array:
    return painted(body, paint_at)


@pytest.fixture(scope="module")
def turned(body: Body, paint: Array, tmp_path_factory: pytest.TempPathFactory) -> Motion:
    """Somebody who turns once about, and the motion that says so exactly."""
    return filmed(tmp_path_factory.mktemp("turned"), body, [turning(body, 16)], [paint])


def texture(motion: Motion, body: Body, person: int = 0) -> Array:
    made = textured(motion, body, silent, size=SIZE).people[person].texture
    assert made is not None
    return made.rgb


def errors(made: Array, texels: Texels, body: Body, part: Array) -> Array:
    """How far the texels (N, 3) of a part (V,) bool of the body are from the paint."""
    of_part = part[body.faces[texels.face]].all(1)
    truth = paint_at(places(texels, body)).astype(int)
    return np.abs(made.reshape(-1, 3)[texels.places] - truth)[of_part]


def outside(body: Body) -> Array:
    """Vertices (V,) bool of trunk, arms and legs that are not tucked away."""
    at = body.template.numpy()
    limbs = (np.abs(at[:, 0]) > 0.2) & (np.abs(at[:, 0]) < 0.6)
    trunk = (np.abs(at[:, 0]) < 0.1) & (at[:, 1] > -0.15) & (at[:, 1] < 0.25)
    return limbs | trunk


def test_what_a_turning_person_wears_comes_back(turned: Motion, body: Body, texels: Texels) -> None:
    off = errors(texture(turned, body), texels, body, outside(body))
    assert off.mean() < 7  # of 255; chequers of 12 cm that are 50 apart
    assert np.percentile(off.max(1), 90) < 30


def test_the_same_clip_gives_the_same_texels(turned: Motion, body: Body) -> None:
    np.testing.assert_array_equal(texture(turned, body), texture(turned, body))


def test_a_side_that_is_never_seen_takes_after_the_other(
    body: Body, texels: Texels, tmp_path: Path
) -> None:
    """Filmed from the left alone: the right arm has the left one's colours."""
    person = turning(body, 6, turns=0.05, start=-0.27)
    motion = filmed(tmp_path, body, [person], [painted(body, sides_at)])
    made = texture(motion, body).reshape(-1, 3)[texels.places].astype(int)
    across = places(texels, body)[:, 0]
    arm = (across < -0.3) & (across > -0.55)
    assert (np.abs(made[arm] - [60, 60, 200]).max(1) < 40).mean() > 0.9
    assert (made.sum(1) > 150).all()  # nothing is left black


def test_who_stands_in_front_leaves_no_trace(body: Body, texels: Texels, tmp_path: Path) -> None:
    """Somebody in pure blue covers half of the other in every frame."""
    behind = turning(body, 16, z_m=2.6)
    before = turning(body, 16, z_m=1.9, x_m=0.16, person_id=1)
    motion = filmed(tmp_path, body, [behind, before], [plain((230, 120, 40)), plain((0, 0, 255))])
    made = texture(motion, body).reshape(-1, 3)[texels.places].astype(int)
    blue = made[:, 2] > made[:, 0]
    assert blue.mean() < 0.005
    other = texture(motion, body, 1).reshape(-1, 3)[texels.places].astype(int)
    assert (other[:, 0] > other[:, 2]).mean() < 0.005


def test_a_body_that_fits_badly_takes_little_of_the_background(
    body: Body, texels: Texels, tmp_path: Path
) -> None:
    """The body is 3 cm beside the person, another way in each frame: limbs half on the grass."""
    person = turning(body, 16)
    rng = np.random.default_rng(1)
    beside = person.body.transl + rng.normal(0, 0.03, (16, 3)).astype(np.float32) * [1, 1, 0]
    params = replace(person.body, transl=beside.astype(np.float32))
    wrong = replace(person, body=params, joints=body.joints_of(params))
    motion = filmed(tmp_path, body, [wrong], [plain((170, 60, 150))], shown=[person])
    made = texture(motion, body).reshape(-1, 3)[texels.places].astype(int)
    grassy = np.abs(made - GRASS).max(1) < np.abs(made - [170, 60, 150]).max(1)
    assert grassy.mean() < 0.01


def test_who_is_never_seen_bars_nobody_else_from_a_texture(turned: Motion, body: Body) -> None:
    """A track without one frame of sight ended the command for a whole crowd."""
    (seen,) = turned.people
    aside = replace(seen.body, transl=seen.body.transl + np.array([9, 0, 0], np.float32))
    nobody = np.zeros_like(seen.valid)
    hidden = replace(seen, track=replace(seen.track, id=1), body=aside, valid=nobody)
    both = textured(replace(turned, people=(seen, hidden)), body, silent, size=SIZE)
    kept, plain = (person.texture for person in both.people)
    assert kept is not None and plain is not None
    np.testing.assert_array_equal(kept.rgb, texture(turned, body))
    assert np.ptp(plain.rgb) == 0
    with pytest.raises(InputError, match="person 1 is seen well in no frame"):
        textured(replace(turned, people=(hidden,)), body, silent, size=SIZE)


def test_frames_are_chosen_from_all_sides_and_never_too_many(body: Body) -> None:
    person = turning(body, 600, turns=3)
    pts_s = np.arange(600) / 10
    rows = chosen_rows(person, pts_s, clip_of(Path("a.mp4"), 600))
    assert len(rows) == len(set(rows.tolist())) == COUNT
    sides = np.sort(headings(person)[rows] % (2 * np.pi))
    assert np.diff(np.append(sides, sides[0] + 2 * np.pi)).max() < np.deg2rad(60)
    assert np.ptp(rows) > 300
    blind = replace(person, valid=np.arange(600) < 5)
    assert chosen_rows(blind, pts_s, clip_of(Path("a.mp4"), 600)).max() < 5


def test_headings_say_from_where_the_camera_sees_somebody(body: Body) -> None:
    for x_m in (-0.8, 0.0, 0.8):
        wanted = np.array([0, 0.5, 1, 1.5]) * np.pi + np.arctan2(x_m, 2.3)
        off = headings(turning(body, 4, x_m=x_m)) - wanted
        np.testing.assert_allclose(np.cos(off), 1, atol=1e-4)


def test_the_layout_is_whole_and_its_two_sides_agree(body: Body, atlas: Atlas) -> None:
    a, b, c = (atlas.corners[:, k].astype(float) for k in range(3))
    turn = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (turn > 0).all()  # none is shown mirrored
    assert np.linalg.norm(b - a, axis=1).max() < 0.12  # none reaches over a seam
    texels = texels_of(atlas, 512)
    at = (texels.share[..., None] * body.template.numpy()[body.faces[texels.face]]).sum(1)
    place = np.full(512**2, -1)
    place[texels.places] = np.arange(len(texels.places))
    twin = place[mirrored(texels, atlas, body.faces)]
    off = np.linalg.norm(at[twin] - at * [-1, 1, 1], axis=1)[twin >= 0]
    assert (twin >= 0).mean() > 0.99 and np.percentile(off, 99) < 0.01


def test_drawn_with_its_texture_a_person_has_the_right_colours_at_the_right_pixels(
    turned: Motion, body: Body, paint: Array
) -> None:
    """Against a drawing of the same surface that is told pixel by pixel, without light."""
    motion = with_texture(turned, paint)
    options = DrawOptions(look="textured", alpha=1.0)
    overlay = Overlay(motion, body, load_renderer("raster"), alpha=1.0, look="textured")
    for frames in read_frames(motion.clip):
        for drawn, rgb in zip(View(overlay, options).draw(frames), frames.rgb, strict=True):
            person = np.abs(rgb.astype(int) - GRASS).max(2) > 20
            inner = cv2.erode(person.astype(np.uint8), np.ones((5, 5))) > 0
            off = drawn[inner].astype(int) - rgb[inner]
            assert inner.sum() > 5000
            assert np.abs(off).mean() < 22 and np.median(np.abs(off)) < 14  # of light, mostly
            assert (drawn[inner].argmax(1) == rgb[inner].argmax(1)).mean() > 0.93


def test_a_file_for_other_programs_shows_the_texture(
    turned: Motion, body: Body, paint: Array, tmp_path: Path
) -> None:
    """Every corner of every triangle lies where the layout has it; the picture is embedded."""
    motion = with_texture(turned, paint)
    options = hpsvid.ExportOptions(look="textured")
    (path,) = hpsvid.export(motion, "glb", tmp_path, options=options)
    glb = Glb(path)
    (primitive,) = glb.content["meshes"][0]["primitives"]
    attributes, atlas = primitive["attributes"], atlas_of(body)
    index = glb.array(primitive["indices"])[:, 0].reshape(-1, 3).astype(int)
    points = glb.array(attributes["TEXCOORD_0"])[index]
    np.testing.assert_allclose(points, atlas.corners * [1, -1] + [0, 1], atol=1e-6)
    places = glb.array(attributes["POSITION"])[index]
    np.testing.assert_allclose(places, body.template.numpy()[body.faces], atol=1e-5)
    assert "COLOR_0" not in attributes
    (image,) = glb.content["images"]
    view = glb.content["bufferViews"][image["bufferView"]]
    data = glb.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert np.abs(shown[..., ::-1].astype(int) - paint).mean() < 6
    material = glb.content["materials"][primitive["material"]]["pbrMetallicRoughness"]
    assert material["baseColorTexture"] == {"index": 0}
    assert issues_of(path) in (None, (0, 0))


def issues_of(path: Path) -> tuple[int, int] | None:
    """Errors and warnings that Khronos's validator finds; None where npm does not have it."""
    probe = ["node", "-e", "require.resolve('gltf-validator')"]
    if shutil.which("node") is None or subprocess.run(probe, capture_output=True).returncode:
        return None
    ran = subprocess.run(
        ["node", "-e", VALIDATE, str(path)], capture_output=True, check=True, text=True
    )
    issues = json.loads(ran.stdout)
    return issues["numErrors"], issues["numWarnings"]


def test_the_page_and_the_drawing_take_the_texture_beside_the_result(
    turned: Motion, body: Body, tmp_path: Path
) -> None:
    """A picture that somebody painted by hand: pure red all over."""
    result = tmp_path / "walk.npz"
    write_motion(turned, result)
    red = replace(turned.people[0], texture=Texture(rgb=plain((250, 10, 10))))
    write_texture(red, texture_path(result, 0))
    for arguments in (
        ["draw", result, "--look", "textured", "--sheet", 2, "--out", tmp_path / "a.png", "-q"],
        ["view", result, "--look", "textured", "--no-video", "--out", tmp_path / "a.html", "-q"],
        ["export", result, "--look", "textured", "--format", "glb", "--out", tmp_path / "g", "-q"],
    ):  # fmt: skip
        ran = call(*arguments)
        assert ran.exit_code == 0, ran.output
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None
    assert ((sheet[..., 2] > 150) & (sheet[..., 1] < 60)).mean() > 0.05
    assert Glb(tmp_path / "g" / "walk_person00.glb").content["images"]
    assert len((tmp_path / "a.html").read_text("utf-8")) > 1 << 20


def test_a_run_draws_people_with_what_it_has_just_seen_of_them(tmp_path: Path) -> None:
    """`run --look textured`, from nothing: the sample's skin is on the body, plainly blue else."""
    walk, out = write_walk(tmp_path / "walk.mp4", 12), tmp_path / "o.mp4"
    look = ["--look", "textured", "--view", "mesh", "--network", "small"]
    assert call("run", walk, "--out", out, *look, "-q").exit_code == 0
    (rgb, *_) = next(read_frames(probe(out))).rgb
    red, _, blue = np.moveaxis(rgb.astype(int), -1, 0)
    assert (red - blue > 30).sum() > 500
    assert not list(tmp_path.glob("*texture*"))


def test_the_command_writes_beside_the_result_the_same_bytes_twice(
    turned: Motion, body: Body, tmp_path: Path
) -> None:
    result = tmp_path / "walk.npz"
    write_motion(turned, result)
    picture = texture_path(result, 0)
    assert call("texture", result, "--size", SIZE, "-q").exit_code == 0
    first = picture.read_bytes()
    assert call("texture", result, "--size", SIZE, "-q").exit_code == 0
    assert picture.read_bytes() == first
    np.testing.assert_array_equal(read_texture(picture).rgb, texture(turned, body))
    picture.write_bytes(b"mine")
    ran = call("texture", result, "-q")
    assert ran.exit_code == 1 and "not written by hpsvid" in ran.stderr
    assert picture.read_bytes() == b"mine"


def test_bad_input_is_one_line(turned: Motion, body: Body, tmp_path: Path) -> None:
    result, nowhere = tmp_path / "walk.npz", clip_of(tmp_path / "gone.mp4", 16)
    write_motion(replace(turned, clip=nowhere), result)
    two = (*turned.people, replace(turned.people[0], track=replace(turned.people[0].track, id=1)))
    write_motion(replace(turned, people=two), tmp_path / "two.npz")
    write_motion(replace(turned, people=()), tmp_path / "nobody.npz")
    photo, small = turned.clip.path / "0000.png", write_walk(tmp_path / "small.mp4", 2)
    write_motion(replace(turned, clip=probe(photo)), tmp_path / "photo.npz")
    pixels = photo.read_bytes()
    for arguments, what in (
        (["texture", result], "the clip of this result is not there"),
        (["texture", tmp_path / "nobody.npz", "--video", turned.clip.path], "holds no person"),
        (["texture", result, "--video", small], "has pictures of"),
        (["draw", result, "--video", small, "--out", tmp_path / "x.mp4"], "has pictures of"),
        (["texture", tmp_path / "photo.npz", "--out", photo, "--force"], "is the clip itself"),
        (["texture", result, "--person", 7, "--video", turned.clip.path], "person 7: no such"),
        (["texture", tmp_path / "two.npz", "--out", tmp_path / "a.png"], "2 people; name a folder"),
        (["export", result, "--format", "glb", "--look", "textured", "--out", tmp_path / "x"],
         "hpsvid texture RESULT --video CLIP"),
        (["export", result, "--look", "textured"], "--look has no part in --format bvh"),
    ):  # fmt: skip
        ran = call(*arguments)
        assert ran.exit_code == 1 and what in ran.stderr, (arguments, ran.stderr)
        assert ran.stderr.count("\n") == 1
    assert photo.read_bytes() == pixels
    with pytest.raises(InputError, match="has no texture layout"):
        textured(turned, replace(body, faces=body.faces[:-1]), silent)
    short = replace(turned, clip=replace(turned.clip, path=tmp_path / "short"))
    (tmp_path / "short").mkdir()
    for n in range(3):
        source = turned.clip.path / f"{n:04d}.png"
        (tmp_path / "short" / source.name).write_bytes(source.read_bytes())
    short = replace(short, clip=replace(short.clip, identity=None, frame_count=3))
    with pytest.raises(InputError, match="give the clip that the motion came from"):
        textured(short, body, silent)
    kept = ["nobody.npz", "photo.npz", "short", "small.mp4", "two.npz", "walk.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_from_python_textures_come_with_the_motion(turned: Motion, tmp_path: Path) -> None:
    hpsvid.save(turned, tmp_path / "walk.npz")
    motion = hpsvid.texture(turned, result=tmp_path / "walk.npz")
    person: Person = motion.people[0]
    assert person.texture is not None and person.texture.rgb.shape == (1024, 1024, 3)
    assert (tmp_path / "walk_person00_texture.png").is_file()
    assert read_motion(tmp_path / "walk.npz").people[0].texture is None
    with pytest.raises(InputError, match="no such person"):
        hpsvid.texture(turned, person=4)


def test_hands_that_are_drawn_beside_the_hands_stay_bare(
    body: Body, texels: Texels, tmp_path: Path
) -> None:
    """The motion's hands lie 10 cm beside those in the picture, on the legs."""

    def colour_at(at: Array) -> Array:
        """Skin on head and hands, a dark blue suit elsewhere."""
        bare = (np.abs(at[:, :1]) > 0.66) | (at[:, 1:2] > 0.36)
        return np.where(bare, [205, 150, 120], [30, 40, 90]).astype(np.uint8)

    person, wrong = (turning(body, 16, arms=arms) for arms in (1.25, 1.4))
    motion = filmed(tmp_path, body, [wrong], [painted(body, colour_at)], shown=[person])
    made = texture(motion, body).reshape(-1, 3)[texels.places].astype(int)
    hands = np.abs(places(texels, body)[:, 0]) > 0.72
    assert hands.sum() > 1000
    assert (made[hands, 0] > made[hands, 2] + 30).mean() > 0.95
