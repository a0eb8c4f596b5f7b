"""Colour of what the pixels see: textures, normal maps, sky light, a sun and its shadow."""

from dataclasses import dataclass

import cv2
import numpy as np

from hpsvid.compiled import compiled
from hpsvid.render.raster import vertex_normals
from hpsvid.types import Array
from tools.people.lighting import GAMMA, Lighting
from tools.people.surface import Surface
from tools.people.zbuffer import edges_of, image_points, openness, visible_faces

SAMPLES = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))  # of a pixel
LAMP_M = 40.0  # the sun's camera stands this far away: parallel enough
SHADOW_SIDE = 448  # px of the sun's picture
SHADOW_BIAS_M = 0.015
AO_REACH_M = 0.28
AO_STRIDE = 2
TO_LINEAR = (np.arange(256) / 255.0) ** GAMMA


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


@compiled
def _texel(texels: Array, start: int, width: int, height: int, u: float, v: float, out: Array):  # noqa: ANN202
    """Bilinear colour at (u, v), edges repeated, into `out` (3,)."""
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
def _bump(e1: Array, e2: Array, uv: Array, bump: Array, n: Array):  # noqa: ANN202
    """Tilt the unit normal n (3,) by a tangent-space normal `bump` (3,) 0..255, in place."""
    du1, dv1 = uv[1, 0] - uv[0, 0], uv[1, 1] - uv[0, 1]
    du2, dv2 = uv[2, 0] - uv[0, 0], uv[2, 1] - uv[0, 1]
    area = du1 * dv2 - du2 * dv1
    if abs(area) < 1e-12:
        return
    along, across, up = bump[0] / 127.5 - 1, bump[1] / 127.5 - 1, max(bump[2] / 127.5 - 1, 0.2)
    t, b = np.empty(3), np.empty(3)
    for k in range(3):
        t[k] = (e1[k] * dv2 - e2[k] * dv1) / area
        b[k] = (e2[k] * du1 - e1[k] * du2) / area
    tl = np.sqrt(t[0] ** 2 + t[1] ** 2 + t[2] ** 2) + 1e-9
    bl = np.sqrt(b[0] ** 2 + b[1] ** 2 + b[2] ** 2) + 1e-9
    for k in range(3):
        n[k] = n[k] * up + along * t[k] / tl + across * b[k] / bl
    length = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2) + 1e-9
    for k in range(3):
        n[k] /= length


@compiled
def _lit_share(point: Array, slant: float, to_sun: Array, nearness: Array) -> float:
    """Share of the sun that reaches a camera point (3,) m; slant: cosine to the sun."""
    side = nearness.shape[0]
    h = np.empty(3)
    for k in range(3):
        h[k] = (
            to_sun[k, 0] * point[0] + to_sun[k, 1] * point[1] + to_sun[k, 2] * point[2]
            + to_sun[k, 3]
        )  # fmt: skip
    limit = h[2] - SHADOW_BIAS_M - 0.02 * (1 - slant)
    free = 0
    for i in range(-1, 2):
        for j in range(-1, 2):
            column, row = int(h[0] / h[2] + 1.5 * i), int(h[1] / h[2] + 1.5 * j)
            if not (0 <= column < side and 0 <= row < side):
                free += 1
            elif nearness[row, column] * limit < 1:
                free += 1
    return free / 9


@compiled
def _irradiance(sh: Array, n: Array, k: int) -> float:
    """Channel k of the irradiance at the unit normal n (3,); sh: (9, 3), see Lighting."""
    x, y, z = n[0], n[1], n[2]
    return (
        0.282095 * sh[0, k]
        + 0.488603 * (sh[1, k] * y + sh[2, k] * z + sh[3, k] * x)
        + 1.092548 * (sh[4, k] * x * y + sh[5, k] * y * z + sh[7, k] * x * z)
        + 0.315392 * sh[6, k] * (3 * z * z - 1)
        + 0.546274 * sh[8, k] * (x * x - y * y)
    )


@compiled
def _shade(
    seen: Array, camera: Array, image: Array, normals: Array, faces: Array, corners: Array,
    material: Array, texels: Array, maps: Array, traits: Array, openness_: Array, sh: Array,
    sun: Array, towards: Array, to_sun: Array, sun_nearness: Array, linear: Array,
    rgb: Array, cover: Array,
):  # fmt: skip  # noqa: ANN202
    """Add the display colours (0..255) of one sample of each pixel to `rgb`, and count `cover`."""
    height, width = seen.shape
    p, edges = np.empty((3, 3)), np.empty((3, 3))
    n, point, colour, bump = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    e1, e2 = np.empty(3), np.empty(3)
    for row in range(height):
        for column in range(width):
            face = seen[row, column]
            if face < 0:
                continue
            i0, i1, i2 = faces[face]
            p[0], p[1], p[2] = image[i0], image[i1], image[i2]
            edges_of(p, edges)
            x, y = column + 0.5, row + 0.5
            a = edges[0, 0] * x + edges[0, 1] * y + edges[0, 2]
            b = edges[1, 0] * x + edges[1, 1] * y + edges[1, 2]
            c = edges[2, 0] * x + edges[2, 1] * y + edges[2, 2]
            total = a + b + c
            a, b, c = a / total, b / total, c / total
            length = 0.0
            for k in range(3):
                n[k] = a * normals[i0, k] + b * normals[i1, k] + c * normals[i2, k]
                point[k] = a * camera[i0, k] + b * camera[i1, k] + c * camera[i2, k]
                e1[k], e2[k] = camera[i1, k] - camera[i0, k], camera[i2, k] - camera[i0, k]
                length += n[k] * n[k]
            length = np.sqrt(length) + 1e-9
            facing = n[0] * point[0] + n[1] * point[1] + n[2] * point[2]
            turn = -1.0 if facing > 0 else 1.0  # the inside of a sleeve is lit as an outside
            for k in range(3):
                n[k] *= turn / length
            m = material[face]
            uv = corners[face]
            u = a * uv[0, 0] + b * uv[1, 0] + c * uv[2, 0]
            v = a * uv[0, 1] + b * uv[1, 1] + c * uv[2, 1]
            _texel(texels, maps[m, 0], maps[m, 1], maps[m, 2], u, v, colour)
            if maps[m, 3] >= 0:
                _texel(texels, maps[m, 3], maps[m, 1], maps[m, 2], u, v, bump)
                _bump(e1, e2, uv, bump, n)
            slant = n[0] * towards[0] + n[1] * towards[1] + n[2] * towards[2]
            lit = 0.0
            if slant > 0 and sun[1] > 0:
                lit = slant * _lit_share(point, slant, to_sun, sun_nearness)
            away = np.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2)
            shine = 0.0
            if lit > 0:  # Blinn-Phong, normalised
                hx = towards[0] - point[0] / away
                hy = towards[1] - point[1] / away
                hz = towards[2] - point[2] / away
                half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
                peak = max(0.0, (n[0] * hx + n[1] * hy + n[2] * hz) / half)
                gloss = traits[m, 2]
                shine = traits[m, 1] * (gloss + 8) / 25.0 * peak**gloss * lit
            view = -(n[0] * point[0] + n[1] * point[1] + n[2] * point[2]) / away
            rim = (1 - min(1.0, max(0.0, view))) ** 5 * 2.5 * traits[m, 1]
            free = openness_[row // AO_STRIDE, column // AO_STRIDE]
            for k in range(3):
                glow = max(0.02, _irradiance(sh, n, k)) * free
                albedo = linear[int(min(255.0, colour[k]))]
                light = albedo * (glow + lit * sun[k]) + shine * sun[k] + rim * glow * free
                light /= np.pi
                if light > 0.6:  # highlights roll off
                    light = 0.6 + (light - 0.6) / (1 + 0.9 * (light - 0.6))
                rgb[row, column, k] += 255 * min(light, 1.0) ** (1 / 2.2)
            cover[row, column] += 1


def sunlight(
    world: Array, surface: Surface, light: Lighting, rotation: Array, translation: Array
) -> Sunlight:
    """The sun's picture of vertices `world` (V, 3) m; the camera is needed to look it up."""
    ahead = -light.towards
    right = np.cross(ahead, [0.0, 1.0, 0.01])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(ahead, right), ahead])
    middle = (world.min(0) + world.max(0)) / 2
    shift = np.array([0, 0, LAMP_M]) - turn @ middle
    seen = world @ turn.T + shift
    reach = np.abs(seen[:, :2] / seen[:, 2:]).max() * 1.05
    focal = SHADOW_SIDE / 2 / reach
    K = np.array([[focal, 0, SHADOW_SIDE / 2], [0, focal, SHADOW_SIDE / 2], [0, 0, 1.0]])
    _, nearness = visible_faces(
        image_points(seen, K), surface.faces, surface.corners, surface.material, surface.texels,
        surface.maps, surface.traits, SHADOW_SIDE, SHADOW_SIDE,
    )  # fmt: skip
    # camera point -> world -> the sun's camera -> its pixels
    back = np.hstack([turn @ rotation.T, (shift - turn @ rotation.T @ translation)[:, None]])
    return Sunlight(nearness=nearness, to_sun=K @ back)


def draw_layer(
    poses: list[Array],
    surface: Surface,
    K: Array,
    size: tuple[int, int],
    light: Lighting,
    rotation: Array,
    sun: Sunlight,
) -> Layer:
    """Draw the surface, each of a pixel's samples at its own time.

    poses: camera points (V, 3) m, one array for each of SAMPLES: moments of the shutter, all the
    same array for a sharp picture. rotation: (3, 3) world to camera; size: width, height px.
    """
    width, height = size
    parts = (
        surface.faces, surface.corners, surface.material, surface.texels, surface.maps,
        surface.traits,
    )  # fmt: skip
    sh, towards = light.in_camera(rotation)
    rgb, cover = np.zeros((height, width, 3)), np.zeros((height, width))
    faces, nearnesses = [], []
    normals = free = None
    for (dx, dy), camera in zip(SAMPLES, poses, strict=True):
        moved = K + np.array([[0, 0, -dx], [0, 0, -dy], [0, 0, 0]])
        image = image_points(camera, moved)
        seen, nearness = visible_faces(image, *parts, width, height)
        if normals is None or free is None:
            normals = vertex_normals(camera, surface.faces)
            free = _openness(seen, nearness, normals, camera, surface.faces, K)
        _shade(
            seen, camera, image, normals, *parts, free, sh, light.sun, towards, sun.to_sun,
            sun.nearness, TO_LINEAR, rgb, cover,
        )  # fmt: skip
        faces.append(seen)
        nearnesses.append(nearness)
    return Layer(
        rgb=(rgb / len(SAMPLES)).astype(np.float32),
        cover=(cover / len(SAMPLES)).astype(np.float32),
        faces=np.stack(faces),
        nearness=np.stack(nearnesses),
    )


def _openness(
    seen: Array, nearness: Array, normals: Array, camera: Array, faces: Array, K: Array
) -> Array:
    """Smoothed ambient openness (H / stride, W / stride) float64."""
    part = seen[::AO_STRIDE, ::AO_STRIDE]
    corners = faces[np.maximum(part, 0)]
    normal = normals[corners].mean(2)
    away = (normal * camera[corners].mean(2)).sum(-1, keepdims=True) > 0
    normal = np.ascontiguousarray(np.where(away, -normal, normal), np.float32)
    free = openness(nearness, normal, K, AO_STRIDE, AO_REACH_M)
    mask = (part >= 0).astype(np.float32)
    smooth = cv2.blur(free * mask, (4, 4)) / np.maximum(cv2.blur(mask, (4, 4)), 1e-3)
    return smooth.clip(0.15, 1).astype(np.float64)
