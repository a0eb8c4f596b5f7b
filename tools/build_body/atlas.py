"""Build `weights/free_body_atlas.npz`: the free body's texture layout without torn triangles.

    python -m tools.build_body.atlas            # from weights/free_body.npz, and record it
    python -m tools.build_body.atlas --check    # build again and compare with the committed file

MakeHuman's layout tears where thinning took the vertices of a texture seam away: about 200
triangles reach over it, across other parts of the picture. Each of them gets a place of its own
in an empty corner; everything else stays where MakeHuman has it.
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from hpsvid.common.weights import weights_dir, weights_path
from tools.build_body.build import write_npz
from tools.networks.manifest import record

FILE = "free_body_atlas.npz"
NEIGHBOURS = 40  # triangles that say how large the layout shows a place
TORN = 4.0  # a triangle that is shown this much longer than its neighbours reaches over a seam
# Empty in MakeHuman's layout: between the left arm and the top of the head. x0 y0 x1 y1.
CORNER = (0.775, 0.828, 0.995, 0.93)
GAP = 4 / 1024  # between triangles there: four texels of the usual picture
PER_M = 0.5  # the layout's units a metre there, as on the trunk
STEP = 2.0**-20  # numbers are rounded to it


def torn_triangles(template: np.ndarray, faces: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Which triangles (F,) bool the layout shows mirrored, or far longer than their neighbours.

    template: (V, 3) m; faces: (F, 3); corners: (F, 3, 2) texture points, y up.
    """
    flat = _flattened(template[faces])
    sides = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], 2)
    shown = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], 2)
    stretch = shown @ np.linalg.inv(sides)
    most = np.linalg.svd(stretch, compute_uv=False)[:, 0]
    near = KDTree(template[faces].mean(1)).query(template[faces].mean(1), NEIGHBOURS)[1]
    usual = np.median(most[near], axis=1)
    return (np.linalg.det(stretch) <= 0) | (most > TORN * usual)


def mended(
    template: np.ndarray, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Texture points (U', 2) and triangles (F, 3) of them; torn triangles moved into CORNER."""
    torn = np.flatnonzero(torn_triangles(template, faces, uv[uv_faces]))
    shapes = _flattened(template[faces[torn]]) * PER_M
    shapes -= shapes.min(1, keepdims=True)
    sizes = shapes.max(1)
    x0, y0, x1, y1 = CORNER
    x, y, high = x0, y0, 0.0
    places = np.empty((len(torn), 2))
    for n in np.argsort(-np.round(sizes[:, 1], 6), kind="stable"):  # shelves, the tallest first
        if x + sizes[n, 0] > x1:
            x, y, high = x0, y + high + GAP, 0.0
        places[n] = x, y
        x, high = x + sizes[n, 0] + GAP, max(high, sizes[n, 1])
    if y + high > y1:
        raise ValueError(f"{len(torn)} torn triangles do not fit into the empty corner")
    moved = (shapes + places[:, None]).reshape(-1, 2)
    triangles = uv_faces.copy()
    triangles[torn] = len(uv) + np.arange(len(moved)).reshape(-1, 3)
    points = np.concatenate([uv, moved])
    used, triangles = np.unique(triangles, return_inverse=True)
    points = np.round(points[used] / STEP) * STEP
    return points.astype(np.float32), triangles.reshape(faces.shape).astype(np.int32)


def _flattened(triangles: np.ndarray) -> np.ndarray:
    """Triangles (F, 3, 3) m laid into the plane (F, 3, 2), the longest side along x."""
    sides = np.roll(triangles, -1, 1) - triangles
    first = np.linalg.norm(sides, axis=2).round(7).argmax(1)
    turned = np.take_along_axis(triangles, ((first[:, None] + np.arange(3)) % 3)[..., None], 1)
    a, b = turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0]
    length = np.linalg.norm(a, axis=1)
    along = (a * b).sum(1) / length
    up = np.sqrt(np.maximum((b * b).sum(1) - along**2, 0))
    zero = np.zeros_like(length)
    flat = np.stack([np.stack([zero, length, along], 1), np.stack([zero, zero, up], 1)], 2)
    back = (np.arange(3) - first[:, None]) % 3
    return np.take_along_axis(flat, back[..., None], 1)


def build_atlas() -> dict[str, np.ndarray]:
    """The arrays of the file, from those of the shipped free body."""
    with np.load(weights_path("free_body"), allow_pickle=False) as body:
        template, faces = body["v_template"].astype(np.float64), body["f"].astype(np.int64)
        uv, uv_faces = body["uv"].astype(np.float64), body["uv_faces"].astype(np.int64)
        mirror = body["mirror"]
    points, triangles = mended(template, faces, uv, uv_faces)
    return {
        "uv": points,
        "uv_faces": triangles,
        "mirror": mirror,
        "faces_sha256": np.array(hashlib.sha256(faces.tobytes()).hexdigest()),
        "licence": np.array("CC0-1.0"),
    }


def main() -> None:
    """Build and record the file, or compare it with the committed one."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_body.atlas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with weights/" + FILE)
    committed = weights_dir() / FILE
    if parser.parse_args().check:
        with tempfile.TemporaryDirectory() as scratch:
            again = Path(scratch) / FILE
            write_npz(again, build_atlas())
            same = again.read_bytes() == committed.read_bytes()
        if not same:
            sys.exit("the bytes are NOT identical")
        print("the bytes are identical")
        return
    write_npz(committed, build_atlas())
    record(
        name="free_body_atlas", file=FILE, licence="CC0-1.0",
        source="weights/free_body.npz, by tools/build_body/atlas.py",
    )  # fmt: skip
    print(f"{committed}: {committed.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
