"""The renderer of clothed people: holes, depth, light, shadow, blur."""

import numpy as np
import pytest

from tests.tools.people_factories import grey_picture
from tools.people.lens import Sensor, compressed, draw_noise
from tools.people.lighting import Lighting, basis, harmonics_of, room_lighting, sphere
from tools.people.room import Light
from tools.people.shading import SAMPLES, draw_layer, sunlight
from tools.people.surface import Material, join, pack
from tools.people.zbuffer import image_points, visible_faces

SIZE = (64, 48)
K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
UNTURNED = np.eye(3)


def square(depth, half=0.5, x=0.0):
    """Four camera points of a square that faces the camera."""
    return np.array([[x - half, -half, depth], [x + half, -half, depth],
                     [x + half, half, depth], [x - half, half, depth]])  # fmt: skip


def sheet(picture, *, cut_out=False):
    """A surface of two triangles over the corners of `square`."""
    corners = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)  # y down
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return pack(faces, corners[faces], np.zeros(2), [Material(picture=picture, cut_out=cut_out)])


def even_light(sun=0.0, towards=(0.0, 0.0, -1.0)):
    ways = sphere(400)
    solid = np.full(len(ways), 4 * np.pi / len(ways))
    glow = harmonics_of(ways, np.full((len(ways), 3), 0.5), solid)
    return Lighting(harmonics=glow, sun=np.full(3, sun), towards=np.array(towards))


def drawn(vertices, surface, light, poses=None):
    sun = sunlight(vertices, surface, light, (UNTURNED, np.zeros(3)))
    poses = poses or [vertices] * len(SAMPLES)
    return draw_layer(poses, surface, K, SIZE, light.in_camera(UNTURNED), sun)


def test_what_is_behind_shows_through_holes_and_only_there():
    half = grey_picture()
    half[:, :4, 3] = 0  # the left half is a hole
    both, owner = join([sheet(half, cut_out=True), sheet(grey_picture())], [4, 4])
    vertices = np.concatenate([square(2.0), square(3.0)])
    seen, nearness = visible_faces(image_points(vertices, K), both, *SIZE)
    assert owner[seen[24, 36]] == 0
    assert owner[seen[24, 28]] == 1
    assert 1 / nearness[24, 36] == pytest.approx(2)
    assert 1 / nearness[24, 28] == pytest.approx(3)
    solid, _ = join([sheet(half), sheet(grey_picture())], [4, 4])
    seen, _ = visible_faces(image_points(vertices, K), solid, *SIZE)
    assert owner[seen[24, 28]] == 0


def test_depth_is_exact_across_a_slanted_face_that_reaches_behind_the_camera():
    vertices = square(1.0)
    vertices[:, 1] = 0.3
    vertices[:2, 2], vertices[2:, 2] = -1.0, 4.0  # a floor from behind to far ahead
    _, nearness = visible_faces(image_points(vertices, K), sheet(grey_picture()), *SIZE)
    row = 36
    assert nearness[row, 32] == pytest.approx((row + 0.5 - 24) / 50 / 0.3)
    assert nearness[: 24 + 3].max() == 0  # above the far edge


def test_join_keeps_each_surfaces_own_picture():
    whole, owner = join([sheet(grey_picture(10)), sheet(grey_picture(200))], [4, 4])
    first, second = (whole.maps[whole.material[np.flatnonzero(owner == k)[0]]] for k in (0, 1))
    assert whole.texels[first[0], 0] == 10
    assert whole.texels[second[0], 0] == 200
    assert whole.faces[owner == 1].min() == 4


def test_even_light_shows_grey_as_grey_times_light():
    layer = drawn(square(2.0), sheet(grey_picture(128)), even_light())
    # radiance 0.5 all round: half of the linear light of white
    assert layer.rgb[24, 32, 0] == pytest.approx(
        255 * ((128 / 255) ** 2.2 * 0.5) ** (1 / 2.2), abs=3
    )
    assert layer.cover[24, 32] == 1
    assert layer.cover[2, 2] == 0


def test_sun_lights_what_faces_it_and_something_before_it_casts_a_shadow():
    lone = drawn(square(2.0), sheet(grey_picture()), even_light(sun=1.5))
    dark = drawn(square(2.0), sheet(grey_picture()), even_light())
    assert lone.rgb[24, 32, 0] > 1.2 * dark.rgb[24, 32, 0]
    # the sun comes from the right; a small sheet to the right shades a part of the large one
    light = even_light(sun=1.5, towards=(np.sqrt(0.5), 0.0, -np.sqrt(0.5)))
    both, _ = join([sheet(grey_picture())] * 2, [4, 4])
    vertices = np.concatenate([square(2.0), square(1.6, half=0.1, x=0.4)])
    shaded = drawn(vertices, both, light)
    at_shadow, beside = shaded.rgb[24, 32, 0], shaded.rgb[14, 32, 0]
    assert at_shadow < 0.9 * beside


def test_harmonics_keep_a_lights_direction_when_the_camera_turns():
    lamp = Light(towards=np.array([0.3, 1.0, 0.2]), key=0.3, fill=0.6)
    light = room_lighting(np.random.default_rng(0), lamp)
    turn = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])
    sh, _, towards = light.in_camera(turn)
    straight = light.in_camera(np.eye(3)).irradiance
    normal = np.array([0.6, 0.0, 0.8])
    assert basis(turn @ normal) @ sh == pytest.approx(basis(normal) @ straight)
    assert towards == pytest.approx(turn @ light.towards)


def test_open_shutter_smears_what_moves_and_nothing_else():
    vertices, shift = square(2.0), np.array([0.16, 0, 0])  # 4 px
    poses = [vertices + shift * s for s in (-0.375, -0.125, 0.125, 0.375)]
    moving = drawn(vertices, sheet(grey_picture()), even_light(), poses)
    still = drawn(vertices, sheet(grey_picture()), even_light())
    partly = (moving.cover[24] > 0) & (moving.cover[24] < 1)
    assert partly.sum() >= 6
    assert ((still.cover[24] > 0) & (still.cover[24] < 1)).sum() <= 2
    assert moving.cover[24].sum() == pytest.approx(still.cover[24].sum(), abs=1)


def test_same_input_same_bytes():
    first, second = (drawn(square(2.0), sheet(grey_picture()), even_light(1.0)) for _ in range(2))
    assert first.rgb.tobytes() == second.rgb.tobytes()


@pytest.mark.parametrize("codec", ["none", "jpeg", "h264"])
def test_codecs_give_back_as_many_frames_alike_but_worse(codec):
    rng = np.random.default_rng(0)
    frames = np.full((3, 48, 64, 3), 90, np.uint8)
    frames[:, 10:30, 20:40] = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
    back = compressed(frames, codec, 0.5)
    assert back.shape == frames.shape
    error = np.abs(back.astype(int) - frames)
    assert error[:, 35:45].max() <= 6
    assert (error.max() > 0) == (codec != "none")
    # x264 now and then (one encoding in some hundreds) puts out other bits for the same input
    again = np.abs(compressed(frames, codec, 0.5).astype(int) - back).mean()
    assert again < 0.5 if codec == "h264" else again == 0


def test_sensor_noise_is_as_strong_as_asked():
    sensor = Sensor(gain=np.ones(3, np.float32), contrast=1.0, blur_px=0, grain=5.0, shutter=0,
                    codec="none", quality=1)  # fmt: skip
    noise = draw_noise(np.random.default_rng(0))
    grey = np.full((200, 200, 3), 128, np.float32)
    out = sensor.developed(grey, noise, np.random.default_rng(1)).astype(float)
    assert out.mean() == pytest.approx(128, abs=1.5)
    assert 4 < out.std() < 6.5
