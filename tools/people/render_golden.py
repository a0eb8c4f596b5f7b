"""Draw the golden images that hold the renderers to their look: samples/golden/*.png.

    python -m tools.people.render_golden

Run it again after the look or the free body was changed on purpose, and look at the pictures.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import axis_angle_to_matrix
from hpsvid.common.weights import weights_path
from hpsvid.render import load_renderer
from hpsvid.render.mesh import Mesh
from hpsvid.types import Array

GOLDEN = Path(__file__).resolve().parents[2] / "samples" / "golden"
WIDTH, HEIGHT = 240, 180  # px


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What `Renderer.draw` takes."""

    rgb: Array  # (H, W, 3) uint8
    meshes: tuple[Mesh, ...]
    K: Array  # (3, 3) px


def standing(body: Body, place_m: tuple[float, float, float], turn_deg: float) -> Array:
    """Vertices (V, 3) m of `body`, arms lowered, pelvis at `place_m`, turned about its height."""
    angles = torch.zeros(24, 3)
    angles[JOINT["left_shoulder"], 2] = -1.0
    angles[JOINT["right_shoulder"], 2] = 1.0
    angles[JOINT["left_hip"], 0] = -0.5
    angles[JOINT["left_knee"], 0] = 0.8
    rotmats = axis_angle_to_matrix(angles)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the camera's y points down
    turn = axis_angle_to_matrix(torch.tensor([0.0, float(np.radians(turn_deg)), 0.0]))
    rotmats[0] = upright @ turn
    betas = torch.zeros(10)
    transl = torch.tensor(place_m) - body.rest_joints(betas)[0]
    return body.vertices(rotmats, betas, transl).numpy()


def scenes(body: Body) -> dict[str, Scene]:
    """The golden scenes by name.

    suit: one person in the body's own colours. crossing: two plain people, the nearer one hides
    the other. edges: a faint person, one cut by the picture's corner, one by the near plane.
    """
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([200 - down * 0.5, 160 + across * 0.2, 150 + down * 0.3], -1).astype(np.uint8)
    K = np.array([[260.0, 0, WIDTH / 2], [0, 260, HEIGHT / 2], [0, 0, 1]])
    blue, orange, green = ((86, 180, 233), (230, 159, 0), (0, 158, 115))
    suit = np.array(orange) if body.colours is None else body.colours

    def mesh(place_m: tuple, turn_deg: float, colours: object, opacity: float = 1.0) -> Mesh:
        vertices = standing(body, place_m, turn_deg)
        return Mesh(
            vertices=vertices, faces=body.faces, colours=np.asarray(colours), opacity=opacity
        )

    people = {
        "suit": (mesh((0.0, -0.05, 2.9), 35, suit),),
        "crossing": (mesh((-0.12, 0, 2.8), -30, blue), mesh((0.25, 0, 3.3), 60, orange)),
        "edges": (
            mesh((0.55, 0, 4), 0, blue, 0.45),
            mesh((1.15, 0.6, 2.6), 90, orange),
            mesh((-0.03, -0.38, 0.0), 180, green),
        ),
    }
    return {name: Scene(rgb=rgb, meshes=meshes, K=K) for name, meshes in people.items()}


def main() -> None:
    """Write the golden images."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    renderer = load_renderer("raster")
    for name, scene in scenes(load_body(weights_path("free_body"))).items():
        picture = renderer.draw(scene.rgb, scene.meshes, scene.K)
        path = GOLDEN / f"{name}.png"
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
