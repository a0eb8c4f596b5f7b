"""Both renderers on the free body: look, depth, edges, hostile geometry."""

import os
import subprocess
import sys
import threading
from typing import Any

import cv2
import numpy as np
import pytest

from hpsvid.body.atlas import atlas_of
from hpsvid.body.model import Body
from hpsvid.common.raster import vertex_normals
from hpsvid.errors import DependencyError, InputError
from hpsvid.render import Renderer, load_renderer
from hpsvid.render.mesh import Mesh
from hpsvid.render.overlay import Overlay, person_colour, tinted
from hpsvid.types import Array, Frames
from tests.factories import make_motion
from tools.people.attributes import rasterise
from tools.people.render_golden import GOLDEN, scenes, standing

K = np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])
GREY = np.full((150, 200, 3), 90, np.uint8)
RED, BLUE = np.array([200, 30, 30]), np.array([30, 30, 200])


@pytest.fixture(scope="module", params=["raster", "pyrender"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    try:
        return load_renderer(request.param)
    except DependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def raster() -> Renderer:
    return load_renderer("auto")


def square(depth_m: float, half_m: float, colours: Array, x_m: float = 0.0, **more: Any) -> Mesh:
    """A square that faces the camera."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    vertices = np.array([(x_m + half_m * x, half_m * y, depth_m) for x, y in corners], np.float32)
    faces = np.array([(0, 2, 1), (0, 3, 2)])
    return Mesh(vertices=vertices, faces=faces, colours=colours, **more)


def touched(picture: Array, background: Array) -> Array:
    return (picture != background).any(-1)


@pytest.mark.parametrize("name", ["suit", "crossing", "edges"])
def test_golden_images(renderer: Renderer, body: Body, name: str) -> None:
    scene = scenes(body)[name]
    stored = cv2.imread(str(GOLDEN / f"{name}.png"))
    assert stored is not None, "run `python -m tools.people.render_golden`"
    golden = stored[..., ::-1]
    before = scene.rgb.copy()
    drawn = renderer.draw(scene.rgb, scene.meshes, scene.K)
    assert drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - golden).mean() < 0.6  # of 255, over the whole picture
    ours, theirs = touched(drawn, before), touched(golden, before)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98
    np.testing.assert_array_equal(drawn[~ours], before[~ours])
    np.testing.assert_array_equal(scene.rgb, before)  # the input stays as it was
    np.testing.assert_array_equal(renderer.draw(scene.rgb, scene.meshes, scene.K), drawn)


def test_the_nearer_person_hides_the_other_in_any_order(renderer: Renderer, body: Body) -> None:
    near = Mesh(vertices=standing(body, (0.05, 0, 4.0), 0), faces=body.faces, colours=RED)
    far = Mesh(vertices=standing(body, (-0.05, 0, 4.8), 0), faces=body.faces, colours=BLUE)
    alone = renderer.draw(GREY, [near], K)
    both = renderer.draw(GREY, [near, far], K)
    np.testing.assert_array_equal(renderer.draw(GREY, [far, near], K), both)
    black, white = (renderer.draw(np.full_like(GREY, v), [near], K, alpha=1.0) for v in (0, 255))
    inside = (black == white).all(-1)  # wholly covered pixels
    assert inside.sum() > 1500
    np.testing.assert_array_equal(both[inside], alone[inside])
    assert (both[..., 2] > both[..., 0]).sum() > 300  # the other one shows beside


def test_people_who_pass_through_each_other_meet_in_a_line(renderer: Renderer) -> None:
    """Depth is compared at each pixel, not a mesh at a time."""
    left, right = square(2.0, 0.4, RED), square(2.0, 0.4, BLUE)
    for mesh, slope in ((left, 0.5), (right, -0.5)):
        mesh.vertices[:, 2] += slope * mesh.vertices[:, 0]
    drawn = renderer.draw(GREY, [left, right], K, alpha=1.0)
    assert (drawn[60:90, 70:98, 0] > drawn[60:90, 70:98, 2]).all()  # red is nearer on the left
    assert (drawn[60:90, 102:130, 0] < drawn[60:90, 102:130, 2]).all()


def test_alpha_and_opacity_blend(renderer: Renderer) -> None:
    solid = renderer.draw(GREY, [square(2.0, 0.2, RED)], K, alpha=1.0)[75, 100]
    half = renderer.draw(GREY, [square(2.0, 0.2, RED)], K, alpha=0.5)[75, 100]
    faint = renderer.draw(GREY, [square(2.0, 0.2, RED, opacity=0.5)], K, alpha=1.0)[75, 100]
    want = (solid.astype(int) + GREY[0, 0]) / 2
    np.testing.assert_allclose(half, want, atol=1)
    np.testing.assert_allclose(faint, want, atol=1)
    hidden = renderer.draw(GREY, [square(2.0, 0.2, RED)], K, alpha=0.0)
    np.testing.assert_array_equal(hidden, GREY)


def test_a_square_covers_its_pixels_and_its_edges_are_smooth(renderer: Renderer) -> None:
    """Half-side 0.2 m at 2 m is 30 px about (100, 75): pixels 70 to 129 and 45 to 104."""
    mask = touched(renderer.draw(GREY, [square(2.0, 0.2, RED)], K), GREY)
    assert mask[45:105, 70:130].all() and mask.sum() == 3600
    shifted = square(2.0, 0.2, RED, x_m=0.5 / 150)  # half a pixel to the right
    drawn = renderer.draw(GREY, [shifted], K, alpha=1.0).astype(int)
    inside, edge = drawn[75, 100], drawn[75, 70]
    np.testing.assert_allclose(edge, (inside + 90) / 2, atol=2)


def test_a_texture_is_the_right_way_up_and_hides_the_colours(renderer: Renderer) -> None:
    """Four fields of a square of 60 px: u runs to the right, v upwards; colours have no part."""
    fields = np.array([[(250, 20, 20), (20, 250, 20)], [(20, 20, 250), (240, 240, 20)]], np.uint8)
    picture = np.kron(fields, np.ones((32, 32, 1), np.uint8))
    points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)[:, ::1] * [1, -1] + [0, 1]
    faces = np.array([(0, 2, 1), (0, 3, 2)])
    textured = square(2.0, 0.2, BLUE, texture=picture, corners=points[faces])
    plain = square(2.5, 0.2, RED, x_m=0.6)  # one without a texture in the same picture
    drawn = renderer.draw(GREY, [textured, plain], K, alpha=1.0).astype(int)
    for row, column, colour in ((60, 85, fields[0, 0]), (60, 115, fields[0, 1]),
                                (90, 85, fields[1, 0]), (90, 115, fields[1, 1])):  # fmt: skip
        np.testing.assert_allclose(drawn[row, column], colour, atol=12)
    alone = renderer.draw(GREY, [plain], K, alpha=1.0)
    np.testing.assert_array_equal(drawn[50:100, 150:190], alone[50:100, 150:190])


def test_both_renderers_draw_a_textured_body_alike(renderer: Renderer, body: Body) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (24, 24, 3), np.uint8), (256, 256))
    mesh = Mesh(
        vertices=standing(body, (0, 0, 4), 30), faces=body.faces, colours=RED,
        texture=picture, corners=atlas_of(body).corners,
    )  # fmt: skip
    both = (renderer, load_renderer("raster"))
    drawn, golden = (one.draw(GREY, [mesh], K).astype(int) for one in both)
    mask = touched(golden, GREY)
    assert np.abs(drawn - golden)[mask].mean() < 4
    colours = drawn[mask]
    assert np.ptp(colours, axis=0).min() > 120  # it is the texture, not one colour


def test_slanted_edges_have_steps_between(renderer: Renderer, body: Body) -> None:
    mesh = Mesh(vertices=standing(body, (0, 0, 4), 20), faces=body.faces, colours=RED)
    black = np.zeros_like(GREY)
    cover = renderer.draw(black, [mesh], K, alpha=1.0)[..., 0].astype(int)
    solid = cv2.erode((cover > 0).astype(np.uint8), np.ones((5, 5))) > 0
    dimmest = cover[solid].min()
    between = (cover > 0) & (cover < 0.7 * dimmest)
    assert between.sum() > 60


def test_what_is_behind_or_beside_the_camera_is_not_drawn(renderer: Renderer, body: Body) -> None:
    for place in ((0.0, 0.0, -3.0), (30.0, 0.0, 3.0), (0.0, -30.0, 3.0)):
        mesh = Mesh(vertices=standing(body, place, 0), faces=body.faces, colours=RED)
        np.testing.assert_array_equal(renderer.draw(GREY, [mesh], K), GREY)
    np.testing.assert_array_equal(renderer.draw(GREY, [], K), GREY)


def test_a_floor_through_the_camera_ends_at_the_horizon(renderer: Renderer) -> None:
    """A plane one metre below the camera, reaching behind it, fills the rows below the horizon."""
    vertices = np.array([(-500, 1, -500), (500, 1, -500), (500, 1, 500), (-500, 1, 500)], float)
    floor = Mesh(vertices=vertices, faces=np.array([(0, 1, 2), (0, 2, 3)]), colours=RED)
    mask = touched(renderer.draw(GREY, [floor], K), GREY)
    assert mask[77:].all() and not mask[:75].any()  # 300 px * 1 m / 500 m = 0.6 px below row 75


def test_back_faces_are_not_drawn(renderer: Renderer) -> None:
    seen = square(2.0, 0.2, RED)
    turned = Mesh(vertices=seen.vertices, faces=seen.faces[:, ::-1], colours=RED)
    np.testing.assert_array_equal(renderer.draw(GREY, [turned], K), GREY)


def test_a_broken_vertex_spoils_only_its_own_faces(raster: Renderer, body: Body) -> None:
    vertices = standing(body, (0, 0, 4), 0)
    whole = raster.draw(GREY, [Mesh(vertices=vertices, faces=body.faces, colours=RED)], K)
    vertices[0] = np.nan
    drawn = raster.draw(GREY, [Mesh(vertices=vertices, faces=body.faces, colours=RED)], K)
    assert (drawn != whole).any(-1).sum() < 60


def test_rasterise_is_perspective_correct() -> None:
    """On a slanted plane, depth and the world coordinates carried along are those of the ray."""
    vertices = np.array([(-2, -1, 2), (2, -1, 6), (2, 1, 6), (-2, 1, 2)], float)
    faces = np.array([(0, 2, 1), (0, 3, 2)])
    depth, carried = rasterise(vertices, faces, vertices, K, (200, 150))
    hit = np.isfinite(depth)
    assert hit.sum() > 5000
    np.testing.assert_array_equal(carried[~hit], 0)
    row, column = np.nonzero(hit)
    ray_x, ray_y = (column + 0.5 - 100) / 300, (row + 0.5 - 75) / 300
    want = 4 / (1 - ray_x)  # the plane z = 4 + x
    np.testing.assert_allclose(depth[hit], want, rtol=1e-5)
    points = np.stack([ray_x * want, ray_y * want, want], -1)
    np.testing.assert_allclose(carried[hit], points, atol=1e-4)


def test_rasterise_leaves_no_cracks_between_faces() -> None:
    """A sample on a side that two faces share belongs to at least one of them."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(40.0)), -1).reshape(-1, 2) - 19.5
    inner = (np.abs(grid) < 19).all(-1)
    grid[inner] += rng.integers(0, 2, (inner.sum(), 2)) / 4  # many corners are on sample points
    vertices = np.concatenate([grid * 0.1, np.full((1600, 1), 3.0)], 1)
    corner = np.arange(1600).reshape(40, 40)[:-1, :-1].ravel()
    quads = corner[:, None] + np.array([0, 40, 41, 1])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    depth, _ = rasterise(vertices, faces, vertices, K, (200, 150))
    np.testing.assert_allclose(depth, 3.0, rtol=1e-6)


def test_normals_point_outward_with_length_one(body: Body) -> None:
    vertices = body.template.numpy()
    normals = vertex_normals(vertices, body.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    a, b, c = (vertices[body.faces[:, i]] for i in range(3))
    volume = np.einsum("fk,fk->", a, np.cross(b, c)) / 6
    grown = vertices + 0.001 * normals
    a, b, c = (grown[body.faces[:, i]] for i in range(3))
    assert np.einsum("fk,fk->", a, np.cross(b, c)) / 6 > volume > 0


def test_the_kernels_run_where_no_folder_can_hold_their_cache() -> None:
    """As in a container whose package and home folders are read-only."""
    code = "import numpy, hpsvid.render.raster as r; print(r.lit(numpy.float32([[0, 0, -1]]))[0])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    assert 0.6 < float(done.stdout) < 1.0


def test_unknown_renderers_and_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="raster, pyrender"):
        load_renderer("vulkan")
    with pytest.raises(ValueError, match=r"Mesh\.colours"):
        square(2.0, 0.2, np.zeros((5, 3)))


def test_a_platform_that_does_not_work_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYOPENGL_PLATFORM", "wgl")
    with pytest.raises(DependencyError, match="--renderer raster, or install"):
        load_renderer("pyrender")


def test_people_keep_their_colour_and_differ() -> None:
    colours = np.stack([person_colour(person) for person in range(21)]).astype(float)
    np.testing.assert_array_equal(person_colour(3), person_colour(3))
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert apart[np.triu_indices(21, 1)].min() > 30
    assert apart[:7, :7][np.triu_indices(7, 1)].min() > 60


def test_clothes_stay_visible_in_a_persons_colour(body: Body) -> None:
    assert body.colours is not None
    colour = person_colour(1)
    shades = tinted(body.colours, colour)
    assert shades.min() >= 0 and shades.max() <= 255
    brightness = shades.mean(1)
    looks = body.colours.mean(1)
    assert brightness[looks > 170].mean() > colour.mean() + 20  # skin and shoes
    assert brightness[looks < 70].mean() < colour.mean() - 20  # trousers
    np.testing.assert_allclose(np.median(shades, axis=0), colour, atol=15)


def frames_of(which: range) -> Frames:
    index = np.array(which, np.int64)
    return Frames(
        rgb=np.full((len(index), 720, 1280, 3), 90, np.uint8), index=index, pts_s=index / 30.0
    )


def test_overlay_draws_each_person_in_the_frames_of_their_track(
    raster: Renderer, body: Body
) -> None:
    """Person 0 is there from frame 0 on, person 3 from frame 1; chunks change nothing."""
    motion = make_motion(body, people=2, frames=3)
    frames = frames_of(range(4))  # the last frame lies after everybody's track
    motion.people[0].valid[:] = True
    motion.people[0].valid[2] = False
    drawn = list(Overlay(motion, body, raster).draw(frames))
    assert len(drawn) == 4
    np.testing.assert_array_equal(drawn[3], frames.rgb[3])

    for person in motion.people:
        for at, frame in enumerate(person.track.frame_index):
            vertices = body.vertices_of(person.body, slice(at, at + 1))[0]
            centre = (vertices @ motion.camera.K.T).astype(np.float32)
            image = centre[:, :2] / centre[:, 2:]
            inside = ((image > 0) & (image < [1280, 720])).all(-1)
            mask = touched(drawn[frame], frames.rgb[frame])
            places = image[inside].astype(int)
            assert mask[places[:, 1], places[:, 0]].mean() > 0.97

    singly = [next(Overlay(motion, body, raster).draw(frames_of(range(i, i + 1)))) for i in (1, 2)]
    for whole, single in zip(drawn[1:3], singly, strict=True):
        assert np.abs(whole.astype(int) - single).max() <= 1


def test_filled_frames_are_fainter(raster: Renderer, body: Body) -> None:
    motion = make_motion(body, people=1, frames=2)
    person = motion.people[0]
    person.body.rotmats[1], person.body.transl[1] = person.body.rotmats[0], person.body.transl[0]
    person.valid[:] = [True, False]
    seen, filled = (
        p.astype(int) - 90 for p in Overlay(motion, body, raster).draw(frames_of(range(2)))
    )
    solid = np.abs(seen).sum(-1) > 60
    assert solid.sum() > 1000
    share = np.abs(filled[solid]).sum() / np.abs(seen[solid]).sum()
    assert 0.4 < share < 0.5


def test_threads_bound_who_draws_and_change_no_pixel(body: Body) -> None:
    motion, frames = make_motion(body, people=1, frames=6), frames_of(range(6))
    pictures = {}
    for threads in (1, 3):
        renderer, drew = load_renderer("raster", threads), set()
        draw = renderer.draw

        def watched(*arguments: Any, draw: Any = draw, drew: Any = drew, **more: Any) -> Array:
            drew.add(threading.get_ident())
            return draw(*arguments, **more)

        renderer.draw = watched
        pictures[threads] = np.stack(list(Overlay(motion, body, renderer).draw(frames)))
        assert len(drew) <= threads
    assert drew.isdisjoint({threading.get_ident()})
    np.testing.assert_array_equal(pictures[1], pictures[3])
