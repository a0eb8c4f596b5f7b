"""Drawing with OpenGL through pyrender, off screen, by EGL or OSMesa.

pyrender's own lights are not used: vertices are lit as in `hpsvid.render.raster` and OpenGL
interpolates, so that both renderers give the same picture but for rounding at edges.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpsvid.errors import DependencyError
from hpsvid.render import ALPHA, NEAR_M, Mesh
from hpsvid.render.raster import lit, vertex_normals
from hpsvid.types import Array

PLATFORMS = ("egl", "osmesa")  # as PyOpenGL's variable PYOPENGL_PLATFORM names them
PROBE_TIMEOUT_S = 60.0
_MEND = (
    "use --renderer raster, or install the libraries: `apt-get install libegl1 libgl1-mesa-dri` "
    "for EGL, or `apt-get install libosmesa6` and `pip install --no-deps PyOpenGL==3.1.10` "
    "for OSMesa"
)


def _probe(platform: str) -> str | None:
    """Try to open a renderer on `platform`; None when it works, else what went wrong.

    In a process of its own, because PyOpenGL binds to one platform for good when it is first
    imported, and a broken driver may end the process.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import pyrender; pyrender.OffscreenRenderer(8, 8).delete()"],
            env={**os.environ, "PYOPENGL_PLATFORM": platform},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with code {done.returncode}"


def working_platform() -> str:
    """The first of PLATFORMS that works here; the user's PYOPENGL_PLATFORM is respected.

    Raises DependencyError with what each one said.
    """
    chosen = os.environ.get("PYOPENGL_PLATFORM")
    failures = []
    for platform in (chosen,) if chosen else PLATFORMS:
        failure = _probe(platform)
        if failure is None:
            return platform
        failures.append(f"{platform}: {failure}")
    raise DependencyError(f"renderer pyrender does not work here ({'; '.join(failures)}); {_MEND}")


class PyrenderRenderer:
    """Draws meshes with OpenGL, four samples a pixel.

    Sets PYOPENGL_PLATFORM for the process. Raises DependencyError when no platform works.
    """

    name = "pyrender"

    def __init__(self) -> None:
        os.environ["PYOPENGL_PLATFORM"] = working_platform()
        try:
            import pyrender

            self._context: Any = pyrender.OffscreenRenderer(8, 8)
        except Exception as error:  # GL libraries fail in many ways, with types of their own
            raise DependencyError(f"renderer pyrender: {error}; {_MEND}") from error
        # OSMesa can draw into framebuffers too, which alone gives smooth edges and coverage, but
        # pyrender says that it cannot.
        platform: Any = self._context._platform
        platform.supports_framebuffers = lambda: True

    def draw(self, rgb: Array, meshes: Sequence[Mesh], K: Array, *, alpha: float = ALPHA) -> Array:
        """`meshes` over `rgb`; see `hpsvid.render.Renderer.draw`. K without skew."""
        from pyrender import IntrinsicsCamera, Primitive, RenderFlags, Scene
        from pyrender import Mesh as GlMesh

        out = rgb.copy()
        scene = Scene(bg_color=[0.0, 0.0, 0.0, 0.0])
        for mesh in meshes:
            vertices = np.ascontiguousarray(mesh.vertices, np.float32)
            light = lit(vertex_normals(vertices, np.ascontiguousarray(mesh.faces, np.int64)))
            paint = np.full((len(vertices), 4), mesh.opacity, np.float32)
            paint[:, :3] *= np.minimum(1, light[:, None] * np.asarray(mesh.colours) / 255)
            scene.add(GlMesh([Primitive(positions=vertices, indices=mesh.faces, color_0=paint)]))
        far = max((float(mesh.vertices[:, 2].max()) for mesh in meshes), default=0.0) + 1.0
        if far <= NEAR_M + 1.0:
            return out
        camera = IntrinsicsCamera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], znear=NEAR_M, zfar=far)
        scene.add(camera, pose=np.diag([1.0, -1.0, -1.0, 1.0]))  # OpenCV axes -> OpenGL axes
        self._context.viewport_height, self._context.viewport_width = rgb.shape[:2]
        drawn, _ = self._context.render(scene, RenderFlags.FLAT | RenderFlags.RGBA)
        hit = drawn[..., 3] > 0
        over = drawn[hit].astype(np.float32)
        keep = 1 - over[:, 3:] * (alpha / 255)
        out[hit] = (keep * out[hit] + alpha * over[:, :3] + 0.5).astype(np.uint8)
        return out
