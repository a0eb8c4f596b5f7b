"""What the body looks like: a two-tone suit as vertex colours, and texture coordinates."""

import itertools

import numpy as np

from hpsvid.body.skeleton import JOINT

# sRGB. Skin, hair and eyes are plain mannequin tones; the suit is neutral sports wear.
SKIN = (205, 172, 148)
CAP = (70, 62, 60)
EYE = (238, 236, 232)
IRIS = (62, 52, 46)
JERSEY = (62, 122, 138)
TROUSERS = (54, 60, 76)
SHOES = (222, 222, 224)
BLUR_M = 0.016  # width of the change between two colours, about one edge of the mesh


def suit_colours(template: np.ndarray, joints: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Colour of every vertex, (V, 3) uint8: jersey, trousers and shoes over the whole body.

    template: (V, 3) m, T-pose; joints: (24, 3) m; eyes: (V,) bool, the eyeballs.
    Only head, neck and hands are left bare. Borders are planes placed from the joints, so the
    suit is symmetric and follows the body when it is rebuilt.
    """
    across, up, front = np.abs(template[:, 0]), template[:, 1], template[:, 2]

    def at(name: str) -> np.ndarray:
        return joints[JOINT[name]]

    neck, head, wrist, ankle = at("neck"), at("head"), at("left_wrist"), at("left_ankle")
    colours = np.tile(np.array(JERSEY, float), (len(template), 1))

    def paint(colour: tuple[int, int, int], inside_m: np.ndarray) -> None:
        share = np.clip(inside_m / BLUR_M + 0.5, 0, 1)[:, None]
        colours[:] = (1 - share) * colours + share * np.array(colour, float)

    torso = 0.25 - across  # keeps the arms and hands out of what is meant for trunk and legs
    paint(TROUSERS, np.minimum(at("spine1")[1] - 0.01 - up, torso))
    paint(SHOES, np.minimum(ankle[1] + 0.02 - up, torso))
    paint(SKIN, across - wrist[0] + 0.005)
    collar = (up - neck[1] + 0.03) + 0.5 * (front - neck[2])
    paint(SKIN, np.minimum(collar, 0.12 - across))
    # A cap line that runs over the forehead and dips behind the ears.
    cap = (up - head[1] - 0.085) - 0.75 * (front - head[2] - 0.02)
    paint(CAP, np.minimum(cap, up - head[1] + 0.02))
    colours[eyes] = EYE
    if eyes.any():
        for side in (eyes & (template[:, 0] > 0), eyes & (template[:, 0] < 0)):
            colours[side & (front > front[side].max() - 0.0035)] = IRIS
    return np.round(colours).astype(np.uint8)


def texture_coordinates(
    faces: np.ndarray, corners: dict[int, set[int]], points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Texture points (U, 2) and their triangles (F, 3) for a mesh thinned from a textured one.

    faces: (F, 3) base-mesh vertex ids; corners: texture points used at each base vertex (several
    along a seam); points: (P, 2) texture points of the base mesh. Where a corner has a choice,
    the triangle takes the combination with the shortest outline, so that it stays on one side of
    the seam.
    """
    picked = np.empty(faces.shape, np.int64)
    for row, face in enumerate(faces):
        choices = itertools.product(*(sorted(corners[int(vertex)]) for vertex in face))
        picked[row] = min(choices, key=lambda c: (_outline(points[list(c)]), c))
    used, triangles = np.unique(picked, return_inverse=True)
    return points[used], triangles.reshape(faces.shape)


def _outline(triangle: np.ndarray) -> float:
    return float(np.linalg.norm(triangle - np.roll(triangle, 1, 0), axis=1).sum())
