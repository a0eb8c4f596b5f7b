"""Shadows on the floor y = 0 of a room or a field. World axes: y up, metres."""

from dataclasses import replace

import cv2
import numpy as np

from hpsvid.types import Array
from tools.people.attributes import rasterise
from tools.people.room import Light, Room, irradiance

_CELL_M = 0.02
_PENUMBRA_M = 0.07  # blur of the key light's shadow: a lamp of half a metre
_CONTACT_M = 0.25  # things this far above the floor still darken it a third as much


def floor_shadow(things: list[tuple[Array, Array]], room: Room, light: Light) -> Array:
    """Share of the floor's light that things take away, (nz, nx) over the whole floor.

    things: world vertices (V, 3) m and faces (F, 3) of each. The key light's shadow, softened, and
    the darkness under what stands close to the floor.
    """
    span = room.high - room.low
    cells = np.ceil(span[[0, 2]] / _CELL_M).astype(int)
    towards = light.towards / np.linalg.norm(light.towards)
    cast = np.full((cells[1], cells[0]), np.inf, np.float32)
    above = cast.copy()
    for vertices, faces in things:
        height = vertices[:, 1].clip(0, None)
        slid = vertices - height[:, None] * towards / towards[1]
        for place, into in ((slid, cast), (vertices, above)):
            cell = (place - room.low)[:, [0, 2]] / _CELL_M
            # seen along the light, whose depth is the height, lifted off the near plane: what
            # is lowest is kept
            depth = (height + 1)[:, None]
            points = np.hstack([cell * depth, depth])
            size = (into.shape[1], into.shape[0])
            lowest, _ = rasterise(
                points, faces, np.empty((len(points), 0)), np.eye(3), size, cull=False
            )
            np.minimum(into, lowest, out=into)
    up = np.array([0.0, 1.0, 0.0])
    key = 1 - irradiance(up, replace(light, key=0.0)) / irradiance(up, light)
    soft = cv2.GaussianBlur(np.isfinite(cast).astype(np.float32), (0, 0), _PENUMBRA_M / _CELL_M)
    close = np.exp(-(above - 1) / _CONTACT_M).astype(np.float32)
    close = cv2.GaussianBlur(close, (0, 0), 0.5 * _PENUMBRA_M / _CELL_M)
    return 1 - (1 - key * soft) * (1 - 0.6 * close)
