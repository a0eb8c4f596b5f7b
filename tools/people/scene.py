"""A small renderer of people in a room: textures, light, soft shadows, exact silhouettes.

World axes are motion capture's: y up, metres; the room is a box whose floor is y = 0. Cameras are
OpenCV's. Used for the sample clips, and fit for training pictures: everything that varies (camera,
light, room, clothes, shapes, things in the way) is an argument, and nothing is drawn at random
except by the seed that makes a room.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.raster import NEAR_M, vertex_normals
from hpsvid.types import Array
from tools.build_body.look import CAP, EYE, IRIS, JERSEY, SHOES, SKIN, TROUSERS
from tools.people.attributes import rasterise
from tools.people.room import SUPERSAMPLE, Light, Room, View, draw_room, irradiance

_SHADOW_CELL_M = 0.02
_PENUMBRA_M = 0.07  # blur of the key light's shadow: a lamp of half a metre
_CONTACT_M = 0.25  # things this far above the floor still darken it a third as much


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """A thing in the room."""

    vertices: Array  # (V, 3) m, world
    normals: Array  # (V, 3) outward unit vectors
    faces: Array  # (F, 3) int64
    colours: Array  # (V, 3) uint8 sRGB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A rendered frame and whose pixels are whose."""

    rgb: Array  # (H, W, 3) uint8
    owner: Array  # (H * S, W * S) int16, the mesh that each subpixel shows; -1 is the room
    visible: Array  # (M,) share of each mesh's silhouette that is seen; 0 when out of view


def _finer(view: View) -> View:
    """The same view on the grid of subpixels."""
    K = np.diag([SUPERSAMPLE, SUPERSAMPLE, 1.0]) @ view.K
    return replace(view, K=K, width=view.width * SUPERSAMPLE, height=view.height * SUPERSAMPLE)


def box_mesh(
    centre: Sequence[float], size: Sequence[float], yaw_deg: float, colour: Sequence[int]
) -> Mesh:
    """A box with flat sides; centre, size: (3,) m; colour: (3,) sRGB."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    corners, normals = np.empty((6, 4, 3)), np.zeros((6, 4, 3))
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        corners[side][:, [(axis + 1) % 3, (axis + 2) % 3]] = square
        corners[side][:, axis] = sign / 2
        normals[side][:, axis] = sign
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    halves = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(
        vertices=(corners * np.array(size)).reshape(-1, 3) @ turn.T + np.array(centre),
        normals=normals.reshape(-1, 3) @ turn.T,
        faces=(np.arange(6)[:, None, None] * 4 + halves).reshape(-1, 3),
        colours=np.tile(np.asarray(colour, np.uint8), (24, 1)),
    )


def person_mesh(body: Body, vertices: Array, colours: Array) -> Mesh:
    """The body's surface at posed world `vertices` (V, 3) m, in `colours` (V, 3) uint8."""
    normals = vertex_normals(vertices, body.faces)
    return Mesh(vertices=vertices, normals=normals, faces=body.faces, colours=colours)


def dress(
    body: Body,
    *,
    jersey: Sequence[int],
    trousers: Sequence[int],
    shoes: Sequence[int],
    skin: Sequence[int],
    hair: Sequence[int],
) -> Array:
    """The free body's suit in other colours (3,) sRGB each: vertex colours (V, 3) uint8.

    The body carries its look as blends of a few known colours; each vertex takes the new
    colours in the proportions in which it is near to the known ones.
    """
    if body.colours is None:
        raise ValueError(f"body {body.name}: has no suit to recolour")
    known = np.array([JERSEY, TROUSERS, SHOES, SKIN, CAP], float)
    fresh = np.array([jersey, trousers, shoes, skin, hair], float)
    near = ((body.colours[:, None].astype(float) - known) ** 2).sum(-1)
    share = np.exp(-(near - near.min(1, keepdims=True)) / (2 * 6.0**2))  # 6: a blend's spread
    mixed = share @ fresh / share.sum(1, keepdims=True)
    for kept in (EYE, IRIS):
        same = (body.colours == np.array(kept)).all(1)
        mixed[same] = kept
    return np.round(mixed).astype(np.uint8)


def floor_shadow(meshes: list[Mesh], room: Room, light: Light) -> Array:
    """Share of the floor's light that the meshes take away, (nz, nx) over the whole floor.

    The key light's shadow, softened, and the darkness under what stands close to the floor.
    """
    span = room.high - room.low
    cells = np.ceil(span[[0, 2]] / _SHADOW_CELL_M).astype(int)
    towards = light.towards / np.linalg.norm(light.towards)
    cast = np.full((cells[1], cells[0]), np.inf, np.float32)
    above = cast.copy()
    for mesh in meshes:
        height = mesh.vertices[:, 1].clip(0, None)
        slid = mesh.vertices - height[:, None] * towards / towards[1]
        for place, into in ((slid, cast), (mesh.vertices, above)):
            cell = (place - room.low)[:, [0, 2]] / _SHADOW_CELL_M
            # seen along the light, whose depth is the height, lifted off the near plane: what
            # is lowest is kept
            depth = (height + 1)[:, None]
            points = np.hstack([cell * depth, depth])
            size = (into.shape[1], into.shape[0])
            lowest, _ = rasterise(
                points, mesh.faces, np.empty((len(points), 0)), np.eye(3), size, cull=False
            )
            np.minimum(into, lowest, out=into)
    up = np.array([0.0, 1.0, 0.0])
    key = 1 - irradiance(up, replace(light, key=0.0)) / irradiance(up, light)
    soft = cv2.GaussianBlur(
        np.isfinite(cast).astype(np.float32), (0, 0), _PENUMBRA_M / _SHADOW_CELL_M
    )
    close = np.exp(-(above - 1) / _CONTACT_M).astype(np.float32)
    close = cv2.GaussianBlur(close, (0, 0), 0.5 * _PENUMBRA_M / _SHADOW_CELL_M)
    return 1 - (1 - key * soft) * (1 - 0.6 * close)


def _reach(camera: Array, view: View) -> tuple[tuple[slice, slice], Array]:
    """The part of the picture (rows, columns) that camera points (V, 3) span, and its K."""
    low, high = np.zeros(2, int), np.array([view.width, view.height])
    if camera[:, 2].min() > NEAR_M:  # else it may reach anywhere
        image = camera @ view.K.T
        image = image[:, :2] / image[:, 2:]
        low, high = (
            edge.astype(int).clip(0, high) for edge in (np.floor(image.min(0)), image.max(0) + 1)
        )
    K = view.K.copy()
    K[:2, 2] -= low
    return (slice(low[1], high[1]), slice(low[0], high[0])), K


def draw(room: Room, view: View, light: Light, meshes: list[Mesh]) -> Picture:
    """Render the meshes in the room, with their shadows on the floor."""
    fine = _finer(view)
    canvas = draw_room(room, view, light, floor_shadow(meshes, room, light))
    nearest = np.full((fine.height, fine.width), np.inf, np.float32)
    owner = np.full(nearest.shape, -1, np.int16)
    alone = np.zeros(len(meshes), np.int64)
    for index, mesh in enumerate(meshes):
        lit = mesh.colours * irradiance(mesh.normals, light)[:, None]
        camera = mesh.vertices @ fine.rotation.T + fine.translation
        part, K = _reach(camera, fine)
        size = (part[1].stop - part[1].start, part[0].stop - part[0].start)
        depth, colour = rasterise(camera, mesh.faces, lit, K, size, cull=False)
        alone[index] = np.isfinite(depth).sum()
        front = depth < nearest[part]
        for whole, own in ((nearest, depth), (canvas, colour), (owner, np.int16(index))):
            np.copyto(whole[part], own, where=front if whole.ndim == 2 else front[..., None])
    seen = np.bincount(owner[owner >= 0], minlength=len(meshes))
    small = cv2.resize(canvas, (view.width, view.height), interpolation=cv2.INTER_AREA)
    return Picture(
        rgb=np.round(small.clip(0, 255)).astype(np.uint8),
        owner=owner,
        visible=seen / alone.clip(1, None),
    )
