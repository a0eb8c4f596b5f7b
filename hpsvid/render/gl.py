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

from hpsvid.common.raster import NEAR_M, vertex_normals
from hpsvid.errors import DependencyError
from hpsvid.options import ALPHA
from hpsvid.render.mesh import Mesh
from hpsvid.render.raster import PICTURED, lit
from hpsvid.types import Array

PLATFORMS = ("egl", "osmesa")  # as PyOpenGL's variable PYOPENGL_PLATFORM names them
PROBE_TIMEOUT_S = 60.0
# px; an area that changed its size with every frame would be created for each
WINDOW_STEP = 128
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
    code = "import pyrender; pyrender.OffscreenRenderer(8, 8).delete()"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],  # -P: no modules of the current folder
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
    threads = 1  # one OpenGL context, of the thread that made it

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
        height, width = rgb.shape[:2]
        window = _window(meshes, K, width, height)
        if window is None:
            return out
        x0, y0, x1, y1 = window
        scene = Scene(bg_color=[0.0, 0.0, 0.0, 0.0])
        for mesh in meshes:
            scene.add(GlMesh([Primitive(**_primitive(mesh))]))
        far = max(float(mesh.vertices[:, 2].max()) for mesh in meshes) + 1.0
        camera = IntrinsicsCamera(
            K[0, 0], K[1, 1], K[0, 2] - x0, K[1, 2] - y0, znear=NEAR_M, zfar=far
        )
        scene.add(camera, pose=np.diag([1.0, -1.0, -1.0, 1.0]))  # OpenCV axes -> OpenGL axes
        self._context.viewport_width, self._context.viewport_height = x1 - x0, y1 - y0
        drawn, _ = self._context.render(scene, RenderFlags.FLAT | RenderFlags.RGBA)
        drawn = drawn[: height - y0, : width - x0]  # the window may reach over the picture's edge
        hit = drawn[..., 3] > 0
        part = out[y0:y1, x0:x1]
        over = drawn[hit].astype(np.float32)
        keep = 1 - over[:, 3:] * (alpha / 255)
        part[hit] = (keep * part[hit] + alpha * over[:, :3] + 0.5).astype(np.uint8)
        return out


def _primitive(mesh: Mesh) -> dict[str, Any]:
    """What pyrender draws of a mesh: lit vertex colours, or a texture times the light."""
    from pyrender import MetallicRoughnessMaterial, Sampler, Texture
    from pyrender.constants import GLTF

    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    light = lit(vertex_normals(vertices, np.ascontiguousarray(mesh.faces, np.int64)))
    paint = np.full((len(vertices), 4), mesh.opacity, np.float32)
    if mesh.texture is None or mesh.corners is None:
        paint[:, :3] *= np.minimum(1, light[:, None] * np.asarray(mesh.colours) / 255)
        return {"positions": vertices, "indices": mesh.faces, "color_0": paint}
    paint[:, :3] *= (1 + PICTURED * (light - 1))[:, None]
    corner = mesh.faces.ravel()  # a vertex has other texture points along a seam
    plain = Sampler(
        magFilter=GLTF.LINEAR, minFilter=GLTF.LINEAR,
        wrapS=GLTF.CLAMP_TO_EDGE, wrapT=GLTF.CLAMP_TO_EDGE,
    )  # fmt: skip
    picture = Texture(sampler=plain, source=mesh.texture, source_channels="RGB")
    return {
        "positions": vertices[corner],
        "indices": np.arange(len(corner)).reshape(-1, 3),
        "color_0": paint[corner],
        "texcoord_0": mesh.corners.reshape(-1, 2).astype(np.float32),
        "material": MetallicRoughnessMaterial(baseColorTexture=picture),
    }


def _window(
    meshes: Sequence[Mesh], K: Array, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Box x0 y0 x1 y1 px around the meshes, its size in whole WINDOW_STEPs; None = out of sight.

    The whole picture when a mesh reaches the near plane.
    """
    points = np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)]) @ K.T
    ahead = points[:, 2] > NEAR_M
    if not ahead.any():
        return None
    low, high = np.array([0, 0]), np.array([width, height])
    if ahead.all():
        image = points[:, :2] / points[:, 2:]
        low = np.maximum(low, np.floor(image.min(0)).astype(int))
        high = np.minimum(high, np.ceil(image.max(0)).astype(int))
    if (high <= low).any():
        return None
    high = low + -(-(high - low) // WINDOW_STEP) * WINDOW_STEP
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
