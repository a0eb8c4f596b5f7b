"""Drawing meshes over pictures: one interface, two renderers.

`raster` is a z-buffer of ours on the CPU and needs no system library; `pyrender` draws with
OpenGL (EGL or OSMesa). Both light the surface alike and smooth its edges with four samples a
pixel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpsvid.common.threads import thread_count
from hpsvid.errors import InputError
from hpsvid.options import ALPHA
from hpsvid.types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """A closed surface in front of a camera."""

    vertices: Array  # (V, 3) m, camera coordinates, OpenCV axes
    faces: Array  # (F, 3) int, counter-clockwise as seen from outside
    colours: Array  # (V, 3) or one (3,), 0..255
    opacity: float = 1.0  # in [0, 1], times the picture's alpha

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


class Renderer(Protocol):
    """Draws meshes over a picture."""

    name: str
    threads: int  # that may draw at the same time

    def draw(self, rgb: Array, meshes: Sequence[Mesh], K: Array, *, alpha: float = ALPHA) -> Array:
        """A new picture (H, W, 3) uint8: `meshes` over `rgb` (H, W, 3) uint8.

        K: (3, 3) px. Meshes hide each other by depth; only the surface nearest to the camera
        is blended with the picture, by `alpha` times its opacity. Pixels that no mesh touches
        keep their values.
        """
        ...


def _raster(threads: int) -> Renderer:
    from hpsvid.render.raster import RasterRenderer

    return RasterRenderer(threads)


def _pyrender(threads: int) -> Renderer:
    from hpsvid.render.gl import PyrenderRenderer

    return PyrenderRenderer()


RENDERERS: dict[str, Callable[[int], Renderer]] = {
    "auto": _raster,
    "raster": _raster,
    "pyrender": _pyrender,
}


def load_renderer(choice: str, threads: int | None = None) -> Renderer:
    """The renderer of that name; "auto" is the one that runs everywhere.

    threads: that it may draw on, as many frames at once; at most the usable cores; None takes
    these.
    They change nothing in the pictures. Raises InputError for an unknown name, DependencyError
    when its libraries do not work here.
    """
    if choice not in RENDERERS:
        raise InputError(f"renderer {choice!r}: unknown; known are {', '.join(RENDERERS)}")
    return RENDERERS[choice](thread_count(threads))
