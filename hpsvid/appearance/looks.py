"""A person cut out of a frame: the pixels, and how far each of them can be trusted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu

from hpsvid.body.model import Body
from hpsvid.common.raster import (
    NEAR_M,
    edge_functions,
    homogeneous_px,
    pixel_window,
    vertex_normals,
    visible_faces,
)
from hpsvid.types import Array

_REGION_M = 0.06  # over which `sides` are means
_LONG_SIDE = 900  # px of a cut-out; larger ones are made smaller
_MARGIN = 0.15  # of the person's size, around them: what the background looks like
_EDGE_M = 0.03  # so far from the outline a pixel surely shows the person
_CORE_M = 0.06  # and so far, whatever the colours say
_STEP_M = 0.05  # in depth, from one pixel to the next: one part of the body is before another
_AROUND = np.ones((3, 3), np.uint8)
_HIDING_PX = 2  # beside what stands in front of a place, it is taken as hidden, too
_CUT_PX = 320  # long side at which the person's outline is looked for
_ROUNDS = 3  # of GrabCut
_AGREE = 0.5  # share of the body that GrabCut must take for the person, to be believed
_DOUBT = 0.01  # what a pixel counts that it takes for background


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """One person in one frame."""

    rgb: Array  # (h, w, 3) uint8, the cut-out
    trust: Array  # (h, w) float32 in [0, 1]: 0 where the body is not seen
    nearness: Array  # (h, w) float32 1 / m of the nearest surface about each pixel, anybody's
    K: Array  # (3, 3) px of the cut-out
    vertices: Array  # (V, 3) float32 m, camera coordinates
    normals: Array  # (V, 3) float32
    sides: Array  # (V, 3) float32, mean normals of some centimetres about each vertex
    sharp: float  # mean strength of the finest edges on the body


def smoother(body: Body) -> Callable[[Array], Array]:
    """What turns values of the vertices (V, C) into means over about _REGION_M of the surface."""
    faces, template = body.faces, body.template.numpy().astype(np.float64)
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    long = np.linalg.norm(template[sides[:, 0]] - template[sides[:, 1]], axis=1)
    pull = (_REGION_M / np.maximum(long, 1e-3)) ** 2 / 6
    links = coo_array((pull, (sides[:, 0], sides[:, 1])), (len(template),) * 2).tocsr()
    links = (links + links.T) / 2
    return splu((diags_array(links.sum(1) + 1) - links).tocsc()).solve


def look_at(
    rgb: Array, K: Array, surfaces: Sequence[Array], faces: Array,
    smooth: Callable[[Array], Array],
) -> Look | None:  # fmt: skip
    """The first of the people whose surfaces (V, 3) m are in a picture (H, W, 3); None: unseen.

    faces: (F, 3), the body's. The others only stand in the way.
    """
    height, width = rgb.shape[:2]
    own = homogeneous_px(surfaces[0], K)
    window = pixel_window(edge_functions(own, faces, width, height, NEAR_M, True)[2])
    if window is None:
        return None
    x0, y0, x1, y1 = _grown(window, width, height)
    share = min(1.0, _LONG_SIDE / max(x1 - x0, y1 - y0))
    wide, high = (max(1, round(share * side)) for side in (x1 - x0, y1 - y0))
    cut = cv2.resize(rgb[y0:y1, x0:x1], (wide, high), interpolation=cv2.INTER_AREA)
    scale = np.diag([wide / (x1 - x0), high / (y1 - y0), 1.0])
    K = scale @ (K - np.array([[0, 0, x0], [0, 0, y0], [0, 0, 0]]))
    image = homogeneous_px(np.concatenate(surfaces), K)
    everyone = np.concatenate([faces + n * len(own) for n in range(len(surfaces))])
    edges, sizes, boxes = edge_functions(image, everyone, wide, high, NEAR_M, True)
    seen, near = visible_faces(edges, sizes, boxes, (0, 0, wide, high), 1, NEAR_M)
    body = (seen[..., 0] >= 0) & (seen[..., 0] < len(faces))
    if not body.any():
        return None
    px_per_m = float(K[0, 0]) * float(np.median(near[..., 0][body]))
    reach = np.ones((2 * _HIDING_PX + 1,) * 2, np.uint8)
    step_m = max(_STEP_M, 4 / px_per_m)
    depth = 1 / np.maximum(near[..., 0], 1e-3)
    steps = cv2.dilate(depth, _AROUND) - cv2.erode(depth, _AROUND) > step_m
    vertices = np.ascontiguousarray(surfaces[0], np.float32)
    normals = vertex_normals(vertices, faces)
    finest = cv2.Laplacian(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return Look(
        rgb=cut,
        trust=_trust(cut, body, (seen[..., 0] >= len(faces)), steps, px_per_m),
        nearness=cv2.dilate(near[..., 0], reach),
        K=K,
        vertices=vertices,
        normals=normals,
        sides=smooth(normals.astype(np.float64)).astype(np.float32),
        sharp=float(np.abs(finest)[body].mean()),
    )


def _grown(window: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = window
    room = round(_MARGIN * max(x1 - x0, y1 - y0)) + 2
    return max(x0 - room, 0), max(y0 - room, 0), min(x1 + room, width), min(y1 + room, height)


def _trust(rgb: Array, body: Array, others: Array, steps: Array, px_per_m: float) -> Array:
    """How surely each pixel (h, w) shows the body: less near its outline and where it is not.

    body, others: (h, w) bool, where the body and other people's are seen; steps: (h, w) bool, where
    a part of the body ends in front of another.
    """
    person = _person_mask(rgb, body, others, px_per_m)
    trust = np.zeros(body.shape, np.float32)
    for mask, worth in ((body & ~steps, _DOUBT), (body & person & ~steps, 1.0)):
        inward = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)
        share = (inward[1:-1, 1:-1] / max(_EDGE_M * px_per_m, 2.0)).clip(0, 1)
        trust = np.maximum(trust, worth * share * share * (3 - 2 * share))
    return trust


def _person_mask(rgb: Array, body: Array, others: Array, px_per_m: float) -> Array:
    """Where the person is (h, w) bool, by the picture's own edges: GrabCut started from the body.

    Rother, Kolmogorov and Blake, SIGGRAPH 2004. The body alone where that goes astray.
    """
    high, wide = body.shape
    share = min(1.0, _CUT_PX / max(high, wide))
    size = max(2, round(share * wide)), max(2, round(share * high))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    inside, away = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for mask in (body, others)
    )
    deep = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    far = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    unit = share * px_per_m
    labels = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    labels[inside > 0] = cv2.GC_PR_FGD
    labels[deep > _CORE_M * unit] = cv2.GC_FGD
    labels[(far > 2 * _CORE_M * unit) | (away > 0)] = cv2.GC_BGD
    if not ((labels == cv2.GC_BGD).any() and (labels & 1).any()):
        return body
    cv2.setRNGSeed(0)  # of its clusters' starts
    try:
        cv2.grabCut(
            cv2.cvtColor(small, cv2.COLOR_RGB2BGR), labels, (0, 0, 1, 1), np.zeros((1, 65)),
            np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
    except cv2.error:  # too few colours
        return body
    person = (labels & 1).astype(np.uint8)
    if person[inside > 0].mean() < _AGREE:
        return body
    return cv2.resize(person, (wide, high), interpolation=cv2.INTER_LINEAR) > 0
