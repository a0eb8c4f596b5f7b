"""Drawing meshes over pictures: one interface, two renderers.

`raster` is a z-buffer of ours on the CPU and needs no system library; `pyrender` draws with
OpenGL (EGL or OSMesa). Both light the surface alike and smooth its edges with four samples a
pixel.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from hpsvid.common.threads import thread_count
from hpsvid.errors import InputError
from hpsvid.options import ALPHA
from hpsvid.render.mesh import Mesh
from hpsvid.types import Array


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
