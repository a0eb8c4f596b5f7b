"""What is drawn: a surface in front of a camera."""

from dataclasses import dataclass

import numpy as np

from hpsvid.types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """A closed surface in front of a camera."""

    vertices: Array  # (V, 3) m, camera coordinates, OpenCV axes
    faces: Array  # (F, 3) int, counter-clockwise as seen from outside
    colours: Array  # (V, 3) or one (3,), 0..255
    opacity: float = 1.0  # in [0, 1], times the picture's alpha
    texture: Array | None = None  # (H, W, 3) uint8, in place of the colours
    corners: Array | None = None  # (F, 3, 2) texture points of the faces' corners, y up

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"Mesh.vertices: expected (V, 3), found {self.vertices.shape}")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"Mesh.faces: expected (F, 3), found {self.faces.shape}")
        if np.shape(self.colours) not in ((3,), self.vertices.shape):
            raise ValueError(
                f"Mesh.colours: expected (3,) or {self.vertices.shape}, "
                f"found {np.shape(self.colours)}"
            )
        shape = None if self.corners is None else self.corners.shape
        if self.texture is not None and shape != (*self.faces.shape, 2):
            raise ValueError(f"Mesh.corners: expected {(*self.faces.shape, 2)}, found {shape}")
