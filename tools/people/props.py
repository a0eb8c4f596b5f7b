"""Things in a scene: furniture to sit on, clutter behind people, and what comes in the way."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.types import Array
from tools.people.surface import Material, Surface, pack

PICTURE = 128  # px, of a thing's texture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prop:
    """A thing and how it moves."""

    surface: Surface
    vertices: Array  # (V, 3) m, world, in the middle frame
    pace: Array  # (3,) m a frame

    def at(self, frame: int, middle: int) -> Array:
        """Its vertices (V, 3) m in a frame."""
        return self.vertices + self.pace * (frame - middle)


def up(metres: float) -> Array:
    """The upward vector (3,) of that length."""
    return np.array([0.0, metres, 0.0])


def colour_of_a_thing(rng: np.random.Generator) -> Array:
    """A colour (3,) sRGB of furniture and walls: mostly grey, brown or white, seldom vivid."""
    vivid = rng.beta(1, 3)
    grey = rng.uniform(30, 235)
    brown = np.array([1.0, 0.8, 0.6]) if rng.random() < 0.4 else np.ones(3)
    return (1 - vivid) * grey * brown + vivid * rng.uniform(10, 245, 3)


def pattern(rng: np.random.Generator) -> Array:
    """A picture (128, 128, 4) uint8 of cloth, wood, paint or print."""
    base = colour_of_a_thing(rng)
    rgb = np.tile(base, (PICTURE, PICTURE, 1))
    kind = rng.integers(4)
    x = np.arange(PICTURE)
    if kind == 1:  # stripes or a check
        width = rng.integers(4, 30)
        other = colour_of_a_thing(rng)
        stripe = x // width % 2 == 0
        rgb[stripe] = 0.5 * rgb[stripe] + 0.5 * other
        if rng.random() < 0.5:
            rgb[:, stripe] = 0.5 * rgb[:, stripe] + 0.5 * other
    elif kind == 2:  # grain
        noise = rng.normal(size=(PICTURE, PICTURE)).astype(np.float32)
        grain = cv2.GaussianBlur(noise, (0, 0), sigmaX=20, sigmaY=0.8)
        rgb = rgb * (1 + 0.6 * grain[..., None])
    elif kind == 3:  # a print of bars
        for _ in range(8):
            a, b = np.sort(rng.integers(0, PICTURE, 2))
            c, d = np.sort(rng.integers(0, PICTURE, 2))
            rgb[a:b, c:d] = colour_of_a_thing(rng)
    rgb = rgb + rng.normal(size=(PICTURE, PICTURE, 1)) * rng.uniform(0, 8)
    out = np.full((PICTURE, PICTURE, 4), 255, np.uint8)
    out[..., :3] = rgb.clip(0, 255)
    return out


def box(
    rng: np.random.Generator, centre: Array, size: Array, yaw_deg: float, pace: Array | None = None
) -> Prop:
    """A box with a random picture on each side; centre, size: (3,) m."""
    material = Material(picture=pattern(rng), shine=rng.uniform(0, 0.1))
    return box_of(material, centre, size, yaw_deg, pace)


def painted_box(
    colour: Sequence[int],
    centre: Sequence[float],
    size: Sequence[float],
    yaw_deg: float,
    pace: Array | None = None,
) -> Prop:
    """A box of one dull colour (3,) sRGB; centre, size: (3,) m."""
    picture = np.tile(np.array([*colour, 255], np.uint8), (2, 2, 1))
    return box_of(Material(picture=picture), np.array(centre), np.array(size), yaw_deg, pace)


def box_of(
    material: Material, centre: Array, size: Array, yaw_deg: float, pace: Array | None
) -> Prop:
    """A box whose sides each show the material's whole picture; centre, size: (3,) m."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    places = np.empty((6, 4, 3))
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        places[side][:, [(axis + 1) % 3, (axis + 2) % 3]] = square
        places[side][:, axis] = sign / 2
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    halves = np.array([[0, 1, 2], [0, 2, 3]])
    faces = (np.arange(6)[:, None, None] * 4 + halves).reshape(-1, 3)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    corners = np.tile(square[halves], (6, 1, 1))
    return Prop(
        surface=pack(faces, corners, np.zeros(len(faces), np.int64), [material]),
        vertices=(places * size).reshape(-1, 3) @ turn.T + centre,
        pace=np.zeros(3) if pace is None else pace,
    )


def ball(rng: np.random.Generator, centre: Array, radius: float, pace: Array) -> Prop:
    """A ball of 16 x 10 fields."""
    turns, rings = 16, 10
    u, v = np.meshgrid(np.linspace(0, 1, turns + 1), np.linspace(0, 1, rings + 1))
    across = np.sin(np.pi * v)
    points = np.stack(
        [across * np.cos(2 * np.pi * u), -np.cos(np.pi * v), across * np.sin(2 * np.pi * u)], -1
    )
    return Prop(
        surface=_grid(turns, rings, u, v, Material(picture=pattern(rng), shine=0.1)),
        vertices=centre + radius * points.reshape(-1, 3),
        pace=pace,
    )


def post(rng: np.random.Generator, foot: Array, radius: float, height: float) -> Prop:
    """A round upright post on `foot` (3,) m."""
    turns = 12
    u, v = np.meshgrid(np.linspace(0, 1, turns + 1), np.linspace(0, 1, 2))
    points = np.stack(
        [radius * np.cos(2 * np.pi * u), height * v, radius * np.sin(2 * np.pi * u)], -1
    )
    return Prop(
        surface=_grid(turns, 1, u, v, Material(picture=pattern(rng), shine=0.05)),
        vertices=foot + points.reshape(-1, 3),
        pace=np.zeros(3),
    )


def _grid(columns: int, rows: int, u: Array, v: Array, material: Material) -> Surface:
    """Triangles over a grid of (rows + 1) x (columns + 1) vertices."""
    a = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    b, c, d = a + 1, a + columns + 2, a + columns + 1
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points = np.stack([u.ravel(), v.ravel()], 1)
    return pack(faces, points[faces], np.zeros(len(faces), np.int64), [material])


def seat_under(rng: np.random.Generator, pelvis: Array, facing: Array) -> list[Prop]:
    """A chair, stool, bench or block for somebody whose hips are at `pelvis` (3,) m.

    facing: (3,) the way the person looks, level.
    """
    yaw = float(np.degrees(np.arctan2(facing[0], facing[2])))
    top = max(pelvis[1] - 0.115, 0.06)  # hip joints lie about this far above a seat (m)
    width, depth = rng.uniform(0.36, 0.55), rng.uniform(0.3, 0.4)
    if rng.random() < 0.2:  # a bench or sofa
        width = rng.uniform(1.2, 2.2)
    middle = pelvis * [1, 0, 1] + facing * rng.uniform(-0.05, 0.03)
    slab = rng.uniform(0.04, 0.12) if rng.random() < 0.6 else top
    parts = [
        box(rng, middle + up(top - slab / 2), np.array([width, slab, depth]), yaw),
    ]
    if slab < top:
        legs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * [width / 2 - 0.04, depth / 2 - 0.04]
        turn = Rotation.from_euler("y", yaw, degrees=True)
        parts += [post(rng, middle + turn.apply([x, 0, z]), 0.02, top - slab) for x, z in legs]
    if rng.random() < 0.6:  # a back
        tall = rng.uniform(0.3, 0.55)
        at = middle - facing * (depth / 2 + 0.05) + up(top + tall / 2)
        parts.append(box(rng, at, np.array([width, tall, 0.04]), yaw))
    return parts


def in_the_way(
    rng: np.random.Generator, person: Array, eye: Array, count: int, frames: int
) -> list[Prop]:
    """Things between the lens `eye` (3,) m and the middle of a person (3,) m."""
    found = []
    for _ in range(count):
        share = rng.uniform(0.3, 0.8)
        reach = share * float(np.linalg.norm(person - eye))
        centre = eye + share * (person - eye) + rng.normal(size=3) * [0.13, 0.2, 0.13] * reach
        pace = np.zeros(3)
        if rng.random() < 0.4:  # passes by
            pace = rng.normal(size=3) * [1, 0.1, 1] * 0.6 * reach / frames
        kind = rng.choice(4, p=(0.4, 0.2, 0.2, 0.2))
        if kind == 0:
            size = rng.uniform(0.04, 0.2, 3) * reach
            found.append(box(rng, centre, size, rng.uniform(0, 180), pace))
        elif kind == 1:
            found.append(ball(rng, centre, rng.uniform(0.03, 0.12) * reach, pace))
        elif kind == 2:
            foot = centre * [1, 0, 1]
            found.append(post(rng, foot, rng.uniform(0.015, 0.06) * reach, rng.uniform(1.0, 3.0)))
        else:  # a table or counter from the floor up
            tall = min(rng.uniform(0.5, 1.1), max(0.3, person[1] + 0.2))
            size = np.array([rng.uniform(0.4, 1.3), tall, rng.uniform(0.3, 0.6)])
            found.append(box(rng, centre * [1, 0, 1] + up(tall / 2), size, rng.uniform(0, 180)))
    return found


def clutter(rng: np.random.Generator, people: Array, eye: Array, count: int) -> list[Prop]:
    """Furniture-sized boxes and posts behind and beside people (P, 3) m, as seen from `eye`."""
    middle = people.mean(0)
    ahead = (middle - eye) * [1, 0, 1]
    ahead /= max(float(np.linalg.norm(ahead)), 1e-6)
    aside = np.array([ahead[2], 0, -ahead[0]])
    found = []
    for _ in range(count):
        place = middle + ahead * rng.uniform(0.8, 3.5) + aside * rng.uniform(-3, 3)
        foot = place * [1, 0, 1]
        if np.linalg.norm((people - place)[:, [0, 2]], axis=1).min() < 0.9:
            continue
        if rng.random() < 0.25:
            found.append(post(rng, foot, rng.uniform(0.03, 0.2), rng.uniform(0.6, 2.6)))
        else:
            size = rng.uniform([0.3, 0.3, 0.3], [1.6, 1.8, 0.8])
            found.append(box(rng, foot + up(size[1] / 2), size, rng.uniform(0, 180)))
    return found
