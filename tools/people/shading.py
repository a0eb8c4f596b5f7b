"""Colour of what the pixels see: textures, normal maps, sky light, a sun and its shadow."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numba
import numpy as np

from hpsvid.common.raster import vertex_normals
from hpsvid.types import Array
from tools.people.lighting import GAMMA, CameraLight, Lighting
from tools.people.surface import Surface
from tools.people.zbuffer import edges_of, image_points, openness, visible_faces

SAMPLES = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))  # of a pixel
TWO_SAMPLES = ((-0.25, -0.25), (0.25, 0.25))  # enough on a grid of subpixels
LAMP_M = 40.0  # the sun's camera stands this far away: parallel enough
SHADOW_SIDE = 448  # px of the sun's picture
SHADOW_BIAS_M = 0.015
AO_REACH_M = 0.28
AO_STRIDE = 2
TO_LINEAR = (np.arange(256) / 255.0) ** GAMMA
TO_DISPLAY = 255 * np.linspace(0, 1, 4096) ** (2 / GAMMA)  # by the square root of the light
# Colours forgive reordered sums; infinities and not-a-number keep their meaning.
compiled = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"}
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sunlight:
    """The sun's picture of the scene."""

    nearness: Array  # (S, S) 1 / m
    to_sun: Array  # (3, 4) camera point (x, y, z, 1) m -> homogeneous px of the sun's picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """People and things without a background."""

    rgb: Array  # (H, W, 3) float32 0..255, times cover
    cover: Array  # (H, W) float32 0..1
    faces: Array  # (P, H, W) int32 which face each of a pixel's samples sees, -1 = none
    nearness: Array  # (P, H, W) float32 1 / m


class _Posed(NamedTuple):
    """A surface's vertices at one moment."""

    camera: Array  # (V, 3) m
    image: Array  # (V, 3) homogeneous px
    normals: Array  # (V, 3)


class _Lit(NamedTuple):
    """The light as one frame's camera has it."""

    sh: Array  # (9, 3), see CameraLight.irradiance
    sun: Array  # (3,) irradiance
    towards: Array  # (3,) the sun's direction
    to_sun: Array  # see Sunlight
    sun_nearness: Array
    free: Array  # (H / AO_STRIDE, W / AO_STRIDE) ambient openness


class _Spot(NamedTuple):
    """What a pixel looks at; arrays are written to."""

    p: Array  # (3, 3) homogeneous px of the face's corners
    edges: Array  # (3, 3) its edge functions
    share: Array  # (3,) of the corners
    point: Array  # (3,) m, camera axes
    normal: Array  # (3,) unit


@compiled
def _texel(texels: Array, start: int, size: Array, u: float, v: float, out: Array) -> None:
    """Bilinear colour at (u, v), edges repeated, into `out` (3,); size: width, height px."""
    width, height = size[0], size[1]
    x = min(max(u * width - 0.5, 0.0), width - 1.001)
    y = min(max((1 - v) * height - 0.5, 0.0), height - 1.001)
    x0, y0 = int(x), int(y)
    fx, fy = x - x0, y - y0
    above = start + y0 * width + x0
    below = above + width if y0 + 1 < height else above
    step = 1 if x0 + 1 < width else 0
    for k in range(3):
        upper = (1 - fx) * texels[above, k] + fx * texels[above + step, k]
        lower = (1 - fx) * texels[below, k] + fx * texels[below + step, k]
        out[k] = (1 - fy) * upper + fy * lower


@compiled
def _bump(e1: Array, e2: Array, uv: Array, bump: Array, n: Array) -> None:
    """Tilt the unit normal n (3,) by a tangent-space normal `bump` (3,) 0..255, in place.

    e1, e2: (3,) m, two sides of the triangle; uv: (3, 2), its texture coordinates.
    """
    du1, dv1 = uv[1, 0] - uv[0, 0], uv[1, 1] - uv[0, 1]
    du2, dv2 = uv[2, 0] - uv[0, 0], uv[2, 1] - uv[0, 1]
    area = du1 * dv2 - du2 * dv1
    if abs(area) < 1e-12:
        return
    along, across, up = bump[0] / 127.5 - 1, bump[1] / 127.5 - 1, max(bump[2] / 127.5 - 1, 0.2)
    tt = bb = 1e-18
    for k in range(3):
        tt += ((e1[k] * dv2 - e2[k] * dv1) / area) ** 2
        bb += ((e2[k] * du1 - e1[k] * du2) / area) ** 2
    along /= np.sqrt(tt) * area
    across /= np.sqrt(bb) * area
    length = 1e-18
    for k in range(3):
        tangent, other = e1[k] * dv2 - e2[k] * dv1, e2[k] * du1 - e1[k] * du2
        n[k] = n[k] * up + along * tangent + across * other
        length += n[k] * n[k]
    length = np.sqrt(length)
    for k in range(3):
        n[k] /= length


@compiled
def _lit_share(point: Array, slant: float, to_sun: Array, nearness: Array) -> float:
    """Share of the sun that reaches a camera point (3,) m; slant: cosine to the sun."""
    side = nearness.shape[0]
    x, y, z = point[0], point[1], point[2]
    depth = to_sun[2, 0] * x + to_sun[2, 1] * y + to_sun[2, 2] * z + to_sun[2, 3]
    u = (to_sun[0, 0] * x + to_sun[0, 1] * y + to_sun[0, 2] * z + to_sun[0, 3]) / depth
    v = (to_sun[1, 0] * x + to_sun[1, 1] * y + to_sun[1, 2] * z + to_sun[1, 3]) / depth
    limit = depth - SHADOW_BIAS_M - 0.02 * (1 - slant)
    free = 0
    for i in range(-1, 2):
        for j in range(-1, 2):
            column, row = int(u + 1.5 * i), int(v + 1.5 * j)
            if not (0 <= column < side and 0 <= row < side) or nearness[row, column] * limit < 1:
                free += 1
    return free / 9


@compiled
def _irradiance(sh: Array, n: Array, k: int) -> float:
    """Channel k of the irradiance at the unit normal n (3,); sh: (9, 3), see CameraLight."""
    x, y, z = n[0], n[1], n[2]
    return (
        0.282095 * sh[0, k]
        + 0.488603 * (sh[1, k] * y + sh[2, k] * z + sh[3, k] * x)
        + 1.092548 * (sh[4, k] * x * y + sh[5, k] * y * z + sh[7, k] * x * z)
        + 0.315392 * sh[6, k] * (3 * z * z - 1)
        + 0.546274 * sh[8, k] * (x * x - y * y)
    )


@compiled
def _place(corner: Array, x: float, y: float, posed: _Posed, spot: _Spot) -> None:
    """Fill `spot` with where on a face pixel (x, y) looks; corner: (3,) the face's vertices.

    The inside of a sleeve has its normal turned to the camera, as an outside has.
    """
    share, n, point = spot.share, spot.normal, spot.point
    for k in range(3):
        spot.p[k] = posed.image[corner[k]]
    edges_of(spot.p, spot.edges)
    total = 0.0
    for k in range(3):
        share[k] = spot.edges[k, 0] * x + spot.edges[k, 1] * y + spot.edges[k, 2]
        total += share[k]
    a, b, c = share[0] / total, share[1] / total, share[2] / total
    share[0], share[1], share[2] = a, b, c
    normals, camera = posed.normals, posed.camera
    length, facing = 1e-18, 0.0
    for k in range(3):
        n[k] = a * normals[corner[0], k] + b * normals[corner[1], k] + c * normals[corner[2], k]
        point[k] = a * camera[corner[0], k] + b * camera[corner[1], k] + c * camera[corner[2], k]
        length += n[k] * n[k]
        facing += n[k] * point[k]
    length = np.sqrt(length) if facing <= 0 else -np.sqrt(length)
    for k in range(3):
        n[k] /= length


@compiled
def _shine(n: Array, point: Array, away: float, towards: Array, gloss: float) -> float:
    """Blinn-Phong highlight, normalised; away: m, the point's distance."""
    hx = towards[0] - point[0] / away
    hy = towards[1] - point[1] / away
    hz = towards[2] - point[2] / away
    half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    peak = max(0.0, (n[0] * hx + n[1] * hy + n[2] * hz) / half)
    return (gloss + 8) / 25.0 * peak**gloss


@compiled
def _painted(
    corner: Array, uv: Array, m: Any, surface: Surface, camera: Array, spot: _Spot
) -> Array:
    """The texture's colour (3,) 0..255 at a spot, whose normal takes on the normal map's tilt.

    corner: (3,) the face's vertices; uv: (3, 2); m: its material; camera: (V, 3) m.
    """
    colour, share = np.empty(3), spot.share
    maps, texels = surface.maps[m], surface.texels
    u = share[0] * uv[0, 0] + share[1] * uv[1, 0] + share[2] * uv[2, 0]
    v = share[0] * uv[0, 1] + share[1] * uv[1, 1] + share[2] * uv[2, 1]
    if maps[3] >= 0:
        e1, e2 = np.empty(3), np.empty(3)
        _texel(texels, maps[3], maps[1:3], u, v, colour)
        for k in range(3):
            e1[k] = camera[corner[1], k] - camera[corner[0], k]
            e2[k] = camera[corner[2], k] - camera[corner[0], k]
        _bump(e1, e2, uv, colour, spot.normal)
    _texel(texels, maps[0], maps[1:3], u, v, colour)
    return colour


@compiled
def _shade(
    seen: Array, weight: Array, surface: Surface, posed: _Posed, lit: _Lit, rgb: Array
) -> None:
    """Add the display colours (0..255) of one sample of each pixel, times `weight`, to `rgb`.

    weight: (H, W) uint8, how many of the pixel's samples this one stands for; 0 is passed over.
    """
    height, width = seen.shape
    spot = _Spot(np.empty((3, 3)), np.empty((3, 3)), np.empty(3), np.empty(3), np.empty(3))
    n, point, towards = spot.normal, spot.point, lit.towards
    for row in range(height):
        for column in range(width):
            face = seen[row, column]
            if face < 0 or weight[row, column] == 0:
                continue
            corner, m = surface.faces[face], surface.material[face]
            _place(corner, column + 0.5, row + 0.5, posed, spot)
            colour = _painted(corner, surface.corners[face], m, surface, posed.camera, spot)
            slant = n[0] * towards[0] + n[1] * towards[1] + n[2] * towards[2]
            direct = 0.0
            if slant > 0 and lit.sun[1] > 0:
                direct = slant * _lit_share(point, slant, lit.to_sun, lit.sun_nearness)
            away = np.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2)
            specular, gloss = surface.traits[m, 1], surface.traits[m, 2]
            shine = 0.0
            if direct > 0 and specular > 0.02:
                shine = specular * direct * _shine(n, point, away, towards, gloss)
            grazing = 1 + (n[0] * point[0] + n[1] * point[1] + n[2] * point[2]) / away
            rim = min(1.0, max(0.0, grazing)) ** 5 * 2.5 * specular
            free = lit.free[row // AO_STRIDE, column // AO_STRIDE]
            for k in range(3):
                glow = max(0.02, _irradiance(lit.sh, n, k)) * free
                albedo = TO_LINEAR[int(min(255.0, colour[k]))]
                light = albedo * (glow + direct * lit.sun[k]) + shine * lit.sun[k]
                light = (light + rim * glow * free) / np.pi
                if light > 0.6:  # highlights roll off
                    light = 0.6 + (light - 0.6) / (1 + 0.9 * (light - 0.6))
                step = int(np.sqrt(min(light, 1.0)) * (len(TO_DISPLAY) - 1))
                rgb[row, column, k] += weight[row, column] * TO_DISPLAY[step]


@compiled
def _stand_ins(faces: Array, material: Array, merge: bool) -> Array:
    """How many samples of its pixel each sample (P, H, W) stands for, uint8.

    With `merge` a pixel whose samples all show one material is shaded at every second sample.
    """
    count, height, width = faces.shape
    weight = np.zeros((count, height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            first = faces[0, row, column]
            alike = merge and first >= 0
            for k in range(count):
                face = faces[k, row, column]
                weight[k, row, column] = 1 if face >= 0 else 0
                if alike and (face < 0 or material[face] != material[first]):
                    alike = False
            if alike:
                for k in range(count):
                    weight[k, row, column] = 2 if k % 3 == 0 else 0
    return weight


def sunlight(
    world: Array,
    surface: Surface,
    light: Lighting,
    camera: tuple[Array, Array],
    side: int = SHADOW_SIDE,
) -> Sunlight:
    """The sun's picture of vertices `world` (V, 3) m, `side` px across.

    camera: rotation and translation, to look it up from there.
    """
    rotation, translation = camera
    ahead = -light.towards
    right = np.cross(ahead, [0.0, 1.0, 0.01])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(ahead, right), ahead])
    middle = (world.min(0) + world.max(0)) / 2
    shift = np.array([0, 0, LAMP_M]) - turn @ middle
    seen = world @ turn.T + shift
    reach = np.abs(seen[:, :2] / seen[:, 2:]).max() * 1.05
    focal = side / 2 / reach
    K = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1.0]])
    _, nearness = visible_faces(image_points(seen, K), surface, side, side)
    # camera point -> world -> the sun's camera -> its pixels
    back = np.hstack([turn @ rotation.T, (shift - turn @ rotation.T @ translation)[:, None]])
    return Sunlight(nearness=nearness, to_sun=K @ back)


def sampled(
    poses: list[Array], surface: Surface, K: Array, size: tuple[int, int]
) -> tuple[list[Array], Array, Array]:
    """What each of a pixel's samples sees, arguments as of `draw_layer`.

    Returns homogeneous px (V, 3) of each sample, the face that it sees (P, H, W) int32, -1 = none,
    and 1 / depth (P, H, W).
    """
    images, seen, nearness = [], [], []
    samples = TWO_SAMPLES if len(poses) == len(TWO_SAMPLES) else SAMPLES
    for (dx, dy), camera in zip(samples, poses, strict=True):
        moved = K + np.array([[0, 0, -dx], [0, 0, -dy], [0, 0, 0]])
        images.append(image_points(camera, moved))
        face, near = visible_faces(images[-1], surface, *size)
        seen.append(face)
        nearness.append(near)
    return images, np.stack(seen), np.stack(nearness)


def draw_layer(
    poses: list[Array],
    surface: Surface,
    K: Array,
    size: tuple[int, int],
    light: CameraLight,
    sun: Sunlight,
) -> Layer:
    """Draw the surface, each of a pixel's samples at its own time.

    poses: camera points (V, 3) m, one array for each of SAMPLES or TWO_SAMPLES: moments of the
    shutter, all the same array for a sharp picture. size: width, height px.
    """
    width, height = size
    images, faces, nearness = sampled(poses, surface, K, size)
    normals = vertex_normals(poses[0], surface.faces)
    free = _openness(faces[0], nearness[0], normals, poses[0], surface.faces, K)
    still = all(pose is poses[0] for pose in poses)
    weights = _stand_ins(faces, surface.material, still)
    rgb = np.zeros((height, width, 3))
    lit = _Lit(light.irradiance, light.sun, light.towards, sun.to_sun, sun.nearness, free)
    for camera, image, face, weight in zip(poses, images, faces, weights, strict=True):
        _shade(face, weight, surface, _Posed(camera, image, normals), lit, rgb)
    return Layer(
        rgb=(rgb / len(poses)).astype(np.float32),
        cover=(faces >= 0).mean(0, dtype=np.float32),
        faces=faces,
        nearness=nearness,
    )


def _openness(
    seen: Array, nearness: Array, normals: Array, camera: Array, faces: Array, K: Array
) -> Array:
    """Smoothed ambient openness (H / stride, W / stride) float64."""
    part = seen[::AO_STRIDE, ::AO_STRIDE]
    corner = faces[np.maximum(part, 0), 0]
    normal = normals[corner]
    away = (normal * camera[corner]).sum(-1, keepdims=True) > 0
    normal = np.ascontiguousarray(np.where(away, -normal, normal), np.float32)
    free = openness(nearness, normal, K, AO_STRIDE, AO_REACH_M)
    mask = (part >= 0).astype(np.float32)
    smooth = cv2.blur(free * mask, (4, 4)) / np.maximum(cv2.blur(mask, (4, 4)), 1e-3)
    return smooth.clip(0.15, 1).astype(np.float64)
