"""What lies behind people: a room of `room.py`, or open ground under a sky with a horizon."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from hpsvid.common.raster import compiled
from hpsvid.types import Array
from tools.people.lighting import GAMMA, Lighting, room_lighting, sky_lighting
from tools.people.room import Light, Room, View, draw_room, make_room

ROOMS = 16  # different sets of walls and floors; each is stretched to a scene's size
FIELDS = 16  # different grounds and horizons
TILE = 512  # px of a ground's picture, repeated
TILE_M = 2.6
PANORAMA = (160, 2048)  # px, rows and columns of the sky
PANORAMA_TOP, PANORAMA_FOOT = 1.0, -0.12  # sine of the elevation at its first and last row
FADE_M = 25.0  # from here on the ground fades into its mean colour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Indoors:
    """A room."""

    floor: Room
    lamp: Light
    lighting: Lighting
    tint: Array  # (3,) of its paint

    def draw(self, view: View, dark: Array) -> Array:
        """The background (H, W, 3) float32 0..255; dark: (nz, nx) share of floor light blocked."""
        fine = draw_room(self.floor, view, self.lamp, dark)
        small = cv2.resize(fine, (view.width, view.height), interpolation=cv2.INTER_AREA)
        return small * self.tint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outdoors:
    """Ground without end, a sky, and what stands at the horizon."""

    floor: Room  # only its extent counts
    lamp: Light
    lighting: Lighting
    ground: Array  # (TILE, TILE, 3) uint8
    sky: Array  # (rows, columns, 3) uint8
    turned: float  # rad, of ground and sky

    def draw(self, view: View, dark: Array) -> Array:
        """The background (H, W, 3) float32 0..255; dark: (nz, nx) share of ground light blocked."""
        level = float(self.lamp.fill + self.lamp.key * max(self.lamp.towards[1], 0.0))
        field = _Field(
            ground=_pyramid(self.ground.tobytes()),
            sky=self.sky,
            turned=self.turned,
            level=min(level, 1.1),
            low=self.floor.low,
            high=self.floor.high,
            dark=np.ascontiguousarray(dark, np.float32),
        )
        rays = view.rotation.T @ np.linalg.inv(view.K)
        return _cast_field(view.eye, rays, view.width, view.height, field)


Backdrop = Indoors | Outdoors


def draw_backdrop(
    rng: np.random.Generator, low: Array, high: Array, lamp: Light, *, indoors: bool
) -> Backdrop:
    """A background whose floor y = 0 holds the box from `low` to `high` (3,) m."""
    low, high = low.copy(), high.copy()
    low[1] = 0
    if indoors:
        room = _room(int(rng.integers(ROOMS)))
        high[1] = max(high[1], rng.uniform(2.4, 3.4))
        return Indoors(
            floor=replace(room, low=low, high=high),
            lamp=lamp,
            lighting=room_lighting(rng, lamp),
            tint=(rng.uniform(0.85, 1.1) * rng.uniform(0.94, 1.06, 3)).astype(np.float32),
        )
    ground, sky = _field(int(rng.integers(FIELDS)))
    mean = (ground.reshape(-1, 3).mean(0) / 255) ** GAMMA
    empty = Room(
        low=low, high=high, texels=np.zeros((0, 3), np.uint8), levels=np.zeros((6, 0, 3), np.int64)
    )
    return Outdoors(
        floor=empty,
        lamp=lamp,
        lighting=sky_lighting(rng, lamp, mean),
        ground=ground,
        sky=sky,
        turned=rng.uniform(0, 2 * np.pi),
    )


@lru_cache(maxsize=ROOMS)
def _room(seed: int) -> Room:
    return make_room(np.array([-3.0, 0, -3]), np.array([3.0, 2.8, 3]), seed)


@lru_cache(maxsize=FIELDS)
def _field(seed: int) -> tuple[Array, Array]:
    """The pictures of a ground and of a sky with its horizon."""
    rng = np.random.default_rng([23, seed])
    base = np.array(
        [(92, 104, 58), (120, 116, 110), (150, 132, 104), (78, 80, 84), (176, 168, 156)]
    )[rng.integers(5)]
    grain = sum(
        size * _repeating_noise(rng, TILE, blur)
        for blur, size in ((0.8, rng.uniform(0.03, 0.16)), (5, 0.06), (30, 0.06))
    )
    ground = base * (1 + np.asarray(grain))[..., None]
    if rng.random() < 0.4:  # slabs
        slab = TILE // int(rng.integers(2, 9))
        at = np.arange(TILE) % slab < 4
        ground[at] *= 0.7
        ground[:, at] *= 0.7
    return ground.clip(0, 255).astype(np.uint8), _sky(rng)


def _repeating_noise(rng: np.random.Generator, side: int, blur: float) -> Array:
    """Smooth noise (side, side) of unit spread whose edges fit each other."""
    reach = min(int(4 * blur) + 1, side)
    white = np.pad(rng.normal(size=(side, side)), reach, mode="wrap").astype(np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), blur)[reach:-reach, reach:-reach]
    return smooth / smooth.std()


def _sky(rng: np.random.Generator) -> Array:
    """A sky with clouds, and houses, trees or hills along its foot: (160, 2048, 3) uint8."""
    rows, columns = PANORAMA
    height = np.linspace(PANORAMA_TOP, PANORAMA_FOOT, rows)[:, None, None]
    grey = rng.random()
    zenith = (1 - grey) * np.array([96, 146, 214.0]) + grey * np.array([178, 182, 188.0])
    haze = np.array([214, 222, 230.0]) * rng.uniform(0.8, 1.08)
    sky = haze + (zenith - haze) * height.clip(0, 1) ** 0.6
    cloud = cv2.GaussianBlur(
        rng.normal(size=(rows, columns)).astype(np.float32), (0, 0), 24, None, 7
    )
    cloud = (cloud / cloud.std() - rng.uniform(-0.5, 1.5)).clip(0, 1)[..., None]
    picture = (sky * np.ones((1, columns, 1))) * (1 - 0.6 * cloud) + 245 * 0.6 * cloud

    def row_of(sine: float) -> int:
        return round((PANORAMA_TOP - sine) / (PANORAMA_TOP - PANORAMA_FOOT) * (rows - 1))

    foot = row_of(PANORAMA_FOOT)
    for _ in range(rng.integers(0, 60)):
        left, wide = int(rng.integers(0, columns)), int(rng.integers(20, 160))
        top = row_of(float(rng.uniform(0.03, 0.3)))
        colour = rng.uniform(60, 220) * rng.uniform(0.85, 1.05, 3)
        if rng.random() < 0.5:  # a house with rows of windows
            cv2.rectangle(picture, (left, top), (left + wide, foot), colour.tolist(), -1)
            for x in range(left + 4, left + wide - 4, 10):
                for y in range(top + 3, foot, 8):
                    cv2.rectangle(picture, (x, y), (x + 4, y + 3), (colour * 0.5).tolist(), -1)
        else:  # trees
            green = np.array([60, 84, 44]) * rng.uniform(0.5, 1.4)
            for _ in range(6):
                centre = (left + int(rng.integers(0, wide)), row_of(0.02))
                axes = (int(rng.integers(8, 40)), max(2, row_of(0.0) - top))
                cv2.ellipse(
                    picture, centre, axes, 0, 0, 360, (green * rng.uniform(0.8, 1.2)).tolist(), -1
                )
    rough = rng.normal(size=(rows, columns, 1)) * rng.uniform(1, 5)
    return (picture + rough).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=FIELDS)
def _pyramid(tile: bytes) -> Array:
    """A ground's picture at full size and averaged (levels, TILE, TILE, 3), each repeated."""
    small: Array = np.frombuffer(tile, np.uint8).reshape(TILE, TILE, 3)
    levels = [small]
    for _ in range(6):
        small = np.asarray(cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        large = cv2.resize(small, (TILE, TILE), interpolation=cv2.INTER_LINEAR)
        levels.append(np.asarray(large, np.uint8))
    return np.stack(levels)


class _Field(NamedTuple):
    """Ground and sky, as compiled loops take them."""

    ground: Array  # (levels, TILE, TILE, 3) uint8
    sky: Array  # (rows, columns, 3) uint8
    turned: float  # rad
    level: float  # light on the ground, 1 shows its colours as they are
    low: Array  # (3,) m, of the floor on which shadows fall
    high: Array
    dark: Array  # (nz, nx)


@compiled
def _ground_colour(x: float, z: float, footprint: float, field: _Field, out: Array) -> None:
    """The lit ground at (x, z) m into `out` (3,); footprint: m, what a pixel covers of it."""
    side = field.ground.shape[1]
    cos, sin = np.cos(field.turned), np.sin(field.turned)
    column = int((cos * x + sin * z) / TILE_M % 1.0 * side) % side
    row = int((cos * z - sin * x) / TILE_M % 1.0 * side) % side
    texels = footprint / (TILE_M / side)
    step = min(max(int(np.log2(max(texels, 1.0)) + 0.5), 0), field.ground.shape[0] - 1)
    light, dark = field.level, field.dark
    i = int((z - field.low[2]) / (field.high[2] - field.low[2]) * dark.shape[0])
    j = int((x - field.low[0]) / (field.high[0] - field.low[0]) * dark.shape[1])
    inside = z > field.low[2] and x > field.low[0]
    if inside and i < dark.shape[0] and j < dark.shape[1]:
        light *= 1 - dark[i, j]
    for k in range(3):
        out[k] = field.ground[step, row, column, k] * light


@compiled
def _sky_colour(way: Array, sine: float, field: _Field, out: Array) -> None:
    """The sky or horizon in direction `way` (3,) into `out` (3,); sine: of its elevation."""
    sky = field.sky
    rows, columns = sky.shape[:2]
    across = (np.arctan2(way[0], way[2]) + field.turned) / (2 * np.pi) % 1.0 * columns
    down = (PANORAMA_TOP - sine) / (PANORAMA_TOP - PANORAMA_FOOT) * (rows - 1)
    down = min(max(down, 0.0), rows - 1.001)
    row, column = int(down), int(across) % columns
    beside = (column + 1) % columns
    fr, fc = down - row, across - np.floor(across)
    light = min(1.0, 0.35 + 0.65 * field.level)
    for k in range(3):
        upper = (1 - fc) * sky[row, column, k] + fc * sky[row, beside, k]
        lower = (1 - fc) * sky[row + 1, column, k] + fc * sky[row + 1, beside, k]
        out[k] = ((1 - fr) * upper + fr * lower) * light


@compiled
def _cast_field(eye: Array, rays: Array, width: int, height: int, field: _Field) -> Array:
    """What each pixel sees of ground and sky, (H, W, 3) float32.

    eye: (3,) m; rays: (3, 3), world direction = rays @ (x, y, 1).
    """
    out = np.empty((height, width, 3), np.float32)
    way, near, far, mean = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    # a pixel's size at depth 1
    pixel = np.sqrt(rays[0, 0] ** 2 + rays[1, 0] ** 2 + rays[2, 0] ** 2)
    for k in range(3):
        mean[k] = field.ground[-1, :, :, k].mean() * field.level
    for row in range(height):
        for column in range(width):
            for axis in range(3):
                way[axis] = (
                    rays[axis, 0] * (column + 0.5) + rays[axis, 1] * (row + 0.5) + rays[axis, 2]
                )
            length = np.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2)
            sine = way[1] / length
            _sky_colour(way, sine, field, far)
            share = faded = 0.0  # of the ground, and of its mean colour in it
            if sine < -0.004:
                reach = -eye[1] / way[1]
                footprint = reach * pixel * length / np.sqrt(-sine)
                x, z = eye[0] + reach * way[0], eye[2] + reach * way[2]
                _ground_colour(x, z, footprint, field, near)
                share = min(1.0, (-sine - 0.004) / 0.02)
                faded = min(1.0, reach * length / FADE_M) ** 2
            for k in range(3):
                ground = (1 - faded) * near[k] + faded * mean[k] if share > 0 else 0.0
                out[row, column, k] = (1 - share) * far[k] + share * ground
    return out
