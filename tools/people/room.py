"""The room of the sample clips: its textures, its light, and what a camera sees of it when empty.

World axes are motion capture's: y up, metres; the room is a box whose floor is y = 0. Cameras are
OpenCV's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hpsvid.common.raster import compiled
from hpsvid.types import Array

SUPERSAMPLE = 2  # subpixels per pixel and axis, for the room as for the people
_TEXEL_M = 0.006  # finest texture grain; a 720p camera at 3 m sees about 3 mm a pixel
_AXES = np.array([[2, 1], [0, 2], [0, 1]])  # of a side's texture: columns, rows; by its normal
_SURFACES = ("left", "right", "floor", "ceiling", "back", "front")  # low x, high x, low y, ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A pinhole camera: camera point = rotation @ world point + translation."""

    K: Array  # (3, 3) px
    rotation: Array  # (3, 3) world to camera
    translation: Array  # (3,) m
    width: int  # px
    height: int  # px

    @property
    def eye(self) -> Array:
        """The camera's place in the world (3,) m."""
        return -self.rotation.T @ self.translation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """A distant key light over an even, slightly top-heavy glow."""

    towards: Array  # (3,) world direction from the scene to the light
    key: float  # share of the key light on a surface that faces it
    fill: float  # share that reaches every surface


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Room:
    """A closed box with a texture on each inner side, as a pyramid of halved pictures."""

    low: Array  # (3,) m, corner of least x, y, z; y = 0 is the floor
    high: Array  # (3,) m
    texels: Array  # (N, 3) uint8, all sides and all levels in a row
    levels: Array  # (6, L, 3) int64: offset into `texels`, height, width


def look_at(
    eye: Array, target: Array, *, focal_px: float, size: tuple[int, int], roll_deg: float = 0.0
) -> View:
    """The view from `eye` to `target` (world, m); size: (width, height) px.

    roll_deg: turn of the camera about its axis; positive tips the picture's right side up.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    upright = np.stack([right, np.cross(forward, right), forward])
    cos, sin = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    rotation = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ upright
    width, height = size
    K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]], float)
    return View(K=K, rotation=rotation, translation=-rotation @ eye, width=width, height=height)


# ------------------------------------------------------------------------------------ the room


def make_room(low: Array, high: Array, seed: int) -> Room:
    """A furnished-looking empty studio: plank floor, plaster and brick walls, window, posters.

    low, high: (3,) m, opposite corners; low[1] is the floor.
    """
    rng = np.random.default_rng(seed)
    span = np.asarray(high, float) - low
    paint = rng.uniform(150, 215, 3) * 0.35 + rng.uniform(150, 215) * 0.65
    sides = {
        "left": _plaster(rng, span[2], span[1], paint),
        "right": _plaster(rng, span[2], span[1], paint),
        "floor": _planks(rng, span[0], span[2]),
        "ceiling": _plaster(rng, span[0], span[2], np.array([225.0, 225, 220])),
        "back": _plaster(rng, span[0], span[1], paint * 0.9),
        "front": _bricks(rng, span[0], span[1]),
    }
    for side in ("left", "right", "back"):
        _hang(rng, sides[side])
        _skirting(sides[side])
    _skirting(sides["front"])
    pyramids = [_pyramid(sides[name]) for name in _SURFACES]
    depth = min(len(pyramid) for pyramid in pyramids)
    levels, offset = np.zeros((len(_SURFACES), depth, 3), np.int64), 0
    rows = []
    for side, pyramid in enumerate(pyramids):
        for level, picture in enumerate(pyramid[:depth]):
            levels[side, level] = (offset, *picture.shape[:2])
            offset += picture.shape[0] * picture.shape[1]
            rows.append(picture.reshape(-1, 3))
    return Room(
        low=np.asarray(low, float),
        high=np.asarray(high, float),
        texels=np.concatenate(rows),
        levels=levels,
    )


def _canvas(width_m: float, height_m: float) -> tuple[int, int]:
    return round(height_m / _TEXEL_M), round(width_m / _TEXEL_M)


def _noise(rng: np.random.Generator, shape: tuple[int, int], blur: tuple[float, float]) -> Array:
    """Smooth noise of unit deviation; blur: deviations (y, x) of the smoothing in texels."""
    white = rng.normal(size=shape).astype(np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), sigmaX=blur[1], sigmaY=blur[0])
    return smooth / smooth.std()


def _planks(rng: np.random.Generator, width_m: float, depth_m: float) -> Array:
    """Wooden boards along z; rows are z, columns x."""
    rows, columns = _canvas(width_m, depth_m)
    board, length = round(0.13 / _TEXEL_M), round(1.5 / _TEXEL_M)
    x, z = np.arange(columns)[None], np.arange(rows)[:, None]
    lane = x // board
    shift = rng.integers(0, length, columns // board + 1)[lane]
    cell = (z + shift) // length
    tone = rng.normal(size=(columns // board + 1, rows // length + 3))[lane, cell]
    grain = _noise(rng, (rows, columns), (60, 0.9)) + 0.6 * _noise(rng, (rows, columns), (15, 3))
    wood = np.array([168.0, 128, 88]) * (1 + 0.09 * tone + 0.05 * grain)[..., None]
    seam = (x % board == 0) | ((z + shift) % length == 0)
    wood[seam] *= 0.62
    return wood.clip(0, 255).astype(np.uint8)


def _plaster(rng: np.random.Generator, width_m: float, height_m: float, colour: Array) -> Array:
    """A painted wall with faint stains."""
    shape = _canvas(width_m, height_m)
    stain = 0.02 * _noise(rng, shape, (60, 60)) + 0.012 * _noise(rng, shape, (1.2, 1.2))
    return (np.asarray(colour) * (1 + stain)[..., None]).clip(0, 255).astype(np.uint8)


def _bricks(rng: np.random.Generator, width_m: float, height_m: float) -> Array:
    """Whitewashed bricks in running bond."""
    rows, columns = _canvas(width_m, height_m)
    tall, wide = round(0.075 / _TEXEL_M), round(0.24 / _TEXEL_M)
    y, x = np.arange(rows)[:, None], np.arange(columns)[None]
    course = y // tall
    along = x + course % 2 * (wide // 2)
    tone = rng.normal(size=(rows // tall + 1, columns // wide + 2))[course, along // wide]
    rough = _noise(rng, (rows, columns), (1.5, 1.5))
    wall = np.array([186.0, 170, 158]) * (1 + 0.06 * tone + 0.035 * rough)[..., None]
    wall[(y % tall == 0) | (along % wide == 0)] *= 0.84
    return wall.clip(0, 255).astype(np.uint8)


def _hang(rng: np.random.Generator, wall: Array) -> None:
    """Put a window and a framed print on a wall, in place; wall rows run upwards."""
    rows, columns = wall.shape[:2]

    def texels(metres: float) -> int:
        return round(metres / _TEXEL_M)

    left = round(columns * rng.uniform(0.08, 0.2))
    bottom, top, wide = texels(1.0), min(texels(2.3), rows - texels(0.2)), texels(1.5)
    cv2.rectangle(wall, (left, bottom), (left + wide, top), (236, 236, 232), -1)
    for pane in range(2):  # two panes, a frame of 6 cm
        a = left + texels(0.06) + pane * (wide // 2)
        b = a + wide // 2 - texels(0.12)
        sky = np.linspace(0.8, 1, top - bottom - 2 * texels(0.06))[:, None, None]
        wall[bottom + texels(0.06) : top - texels(0.06), a:b] = np.array([198, 220, 240]) * sky
    left = round(columns * rng.uniform(0.6, 0.75))
    wide, tall, bottom = texels(rng.uniform(0.7, 1.1)), texels(rng.uniform(0.5, 0.8)), texels(1.35)
    cv2.rectangle(wall, (left, bottom), (left + wide, bottom + tall), (58, 50, 44), -1)
    rim = texels(0.04)
    inner = wall[bottom + rim : bottom + tall - rim, left + rim : left + wide - rim]
    inner[:] = rng.uniform(60, 220, 3)
    for _ in range(5):  # an abstract print of plain bars
        a, b = sorted(rng.integers(0, inner.shape[1], 2))
        c, d = sorted(rng.integers(0, inner.shape[0], 2))
        inner[c:d, a:b] = rng.uniform(60, 220, 3)


def _skirting(wall: Array) -> None:
    """A board of 10 cm along the foot of a wall, in place."""
    wall[: round(0.10 / _TEXEL_M)] = (92, 84, 78)


def _pyramid(picture: Array) -> list[Array]:
    levels = [picture]
    while min(levels[-1].shape[:2]) > 8:
        height, width = levels[-1].shape[:2]
        half = (max(width // 2, 1), max(height // 2, 1))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return levels


class _Inside(NamedTuple):
    """A room as seen from one point."""

    eye: Array  # (3,) m
    rays: Array  # (3, 3), world direction = rays @ (x, y, 1)
    low: Array  # (3,) m
    high: Array  # (3,) m
    texels: Array  # see `Room`
    levels: Array  # see `Room`
    lit: Array  # (6,) light on each side
    dark: Array  # (nz, nx) share of the floor's light blocked


@compiled
def _cast_rays(points: Array, pixel: float, inside: _Inside) -> tuple[Array, Array]:
    """What the rays through picture points (N, 2) px see of the room.

    pixel: a sample's size at depth 1. Returns colours (N, 3) float32 in 0..255 and the side each
    ray meets (N,).
    """
    eye, rays, low, high = inside.eye, inside.rays, inside.low, inside.high
    texels, levels, dark = inside.texels, inside.levels, inside.dark
    colours = np.zeros((len(points), 3), np.float32)
    sides = np.empty(len(points), np.int8)
    way, place = np.empty(3), np.empty(2)
    for index in range(len(points)):
        nearest, side = np.inf, 0
        for axis in range(3):
            way[axis] = (
                rays[axis, 0] * points[index, 0] + rays[axis, 1] * points[index, 1] + rays[axis, 2]
            )
            if abs(way[axis]) > 1e-9:
                wall = high[axis] if way[axis] > 0 else low[axis]
                reach = (wall - eye[axis]) / way[axis]
                if reach < nearest:
                    nearest, side = reach, 2 * axis + (1 if way[axis] > 0 else 0)
        sides[index] = side
        length = np.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2)
        slant = max(abs(way[side // 2]) / length, 0.05)
        light = inside.lit[side]
        for which in range(2):  # the side's own axes: its texture's columns, then its rows
            axis = _AXES[side // 2, which]
            span = high[axis] - low[axis]
            along = eye[axis] + way[axis] * nearest - low[axis]
            place[which] = along / span
            # corners see less of the room and are darker
            light *= 1 - 0.28 * np.exp(-max(min(along, span - along), 0.0) / 0.3)
        if side == 2:
            row = min(int(place[1] * dark.shape[0]), dark.shape[0] - 1)
            column = min(int(place[0] * dark.shape[1]), dark.shape[1] - 1)
            light *= 1 - dark[row, column]
        # a sample's footprint is long along the slant: take the mean of length and width
        footprint = nearest * pixel / np.sqrt(slant) / _TEXEL_M
        level = min(max(np.log2(max(footprint, 1e-6)), 0.0), levels.shape[1] - 1.001)
        fine = int(level)
        for step in range(2):
            share = level - fine if step else 1 - (level - fine)
            if share == 0:
                continue
            offset, height, width = (
                levels[side, fine + step, 0], levels[side, fine + step, 1],
                levels[side, fine + step, 2],
            )  # fmt: skip
            # bilinear, the texture's edges repeated
            x = min(max(place[0] * width - 0.5, 0.0), width - 1.0)
            y = min(max(place[1] * height - 0.5, 0.0), height - 1.0)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            fx, fy = x - x0, y - y0
            above, below = offset + y0 * width, offset + y1 * width
            for k in range(3):
                upper = (1 - fx) * texels[above + x0, k] + fx * texels[above + x1, k]
                lower = (1 - fx) * texels[below + x0, k] + fx * texels[below + x1, k]
                colours[index, k] += light * share * ((1 - fy) * upper + fy * lower)
    return colours, sides


def draw_room(room: Room, view: View, light: Light, dark: Array) -> Array:
    """The empty room, supersampled: (H * S, W * S, 3) float32 in 0..255.

    dark: (nz, nx) share of the light on the floor that is blocked, over the whole floor.
    A pixel is sampled once, for the textures are smoothed to its size; only where two sides of
    the room meet are all its subpixels sampled.
    """
    normals = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    inside = _Inside(
        view.eye, view.rotation.T @ np.linalg.inv(view.K), room.low, room.high, room.texels,
        room.levels, irradiance(normals, light), np.ascontiguousarray(dark, np.float32),
    )  # fmt: skip
    pixel = 1 / view.K[0, 0]
    rows, columns = np.mgrid[: view.height, : view.width]
    middles = np.column_stack([columns.ravel(), rows.ravel()]) + 0.5
    colours, sides = _cast_rays(middles, pixel, inside)
    sides = sides.reshape(rows.shape)
    whole = np.ones((3, 3), np.uint8)
    border = cv2.dilate(sides.view(np.uint8), whole) != cv2.erode(sides.view(np.uint8), whole)
    fine = np.repeat(colours.reshape(*rows.shape, 3), SUPERSAMPLE, 0).repeat(SUPERSAMPLE, 1)
    row, column = np.nonzero(border)
    for part in range(SUPERSAMPLE**2):
        down, right = divmod(part, SUPERSAMPLE)
        points = np.column_stack(
            [column + (right + 0.5) / SUPERSAMPLE, row + (down + 0.5) / SUPERSAMPLE]
        )
        fine[row * SUPERSAMPLE + down, column * SUPERSAMPLE + right], _ = _cast_rays(
            points, pixel / SUPERSAMPLE, inside
        )
    return fine


def irradiance(normals: Array, light: Light) -> Array:
    """Light on surfaces with these unit normals (..., 3); 1 shows a colour as it is."""
    towards = light.towards / np.linalg.norm(light.towards)
    # half-Lambert: big soft lamps light past the terminator
    facing = np.clip((normals @ towards + 0.35) / 1.35, 0, None)
    glow = light.fill * (0.85 + 0.15 * normals[..., 1])
    return glow + light.key * facing
