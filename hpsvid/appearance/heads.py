"""Which look each side of a head comes from: a face blended of several has four eyes."""

from collections.abc import Sequence

import numpy as np

from hpsvid.appearance.looks import Look
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import image_of
from hpsvid.types import Array

# face, left, back and right of the head, as it rests: where each lies from its middle
_SIDES = np.array([[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]])
_ALL = 0.9  # share of a vertex that is of the head throughout
_CORE = 0.8  # cosine to its direction from which a vertex speaks for a side
_REACH = np.array([1.7, 1, 1, 1])  # the face goes over into the sides before the ears
_SOFT = 4.0  # power of that cosine: how quickly one side goes over into the next
_TURNED = 4.0  # power of the cosine between a side and the view
_PREFERENCE = 6.0  # power of a look's score: how far the best one prevails


def preferred(looks: Sequence[Look], worth: Array, body: Body) -> Array:
    """What each look counts at each vertex (L, V) float32 in (0, 1], 1 away from the head.

    worth: (L,) how good each look is as a whole. Of each side of the head the look that sees it
    largest, most squarely and most surely counts 1, all others far less: misfits of a few
    centimetres that clothes forgive would blend several faces into one.
    """
    head, share = _head(body)
    cores = [np.flatnonzero((head > _ALL) & (cosine > _CORE)) for cosine in share.T]
    scores = np.array(
        [[worth[n] * _score(look, core) for core in cores] for n, look in enumerate(looks)]
    )
    scores = (scores / np.maximum(scores.max(0), 1e-12)) ** _PREFERENCE
    share = (share * _REACH) ** _SOFT
    share /= np.maximum(share.sum(1, keepdims=True), 1e-6)
    return ((1 - head) + head * (scores @ share.T)).clip(1e-4, 1).astype(np.float32)


def face_of(body: Body) -> Array:
    """Which vertices (V,) bool are of the face."""
    head, share = _head(body)
    return (head > _ALL) & (share[:, 0] > _CORE)


def _head(body: Body) -> tuple[Array, Array]:
    """Each vertex's share (V,) in the head, and its cosine (V, 4) >= 0 to each of its sides."""
    head, template = body.skin_weights[:, JOINT["head"]].numpy(), body.template.numpy()
    out = template - template[head > _ALL].mean(0)
    return head, np.maximum(out @ _SIDES.T / np.linalg.norm(out, axis=1, keepdims=True), 0)


def _score(look: Look, core: Array) -> float:
    """How large, squarely and surely a look shows a side of the head, by its vertices."""
    places = look.vertices[core].astype(np.float64)
    middle, way = places.mean(0), look.normals[core].mean(0)
    squarely = -float(way @ middle) / float(np.linalg.norm(way) * np.linalg.norm(middle) + 1e-9)
    if squarely <= 0 or middle[2] <= 0:
        return 0.0
    height, width = look.trust.shape
    column, row = np.floor(image_of(places, look.K)).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    sure = look.trust[row.clip(0, height - 1), column.clip(0, width - 1)] * inside
    return float(sure.mean()) * squarely**_TURNED * (float(look.K[0, 0]) / middle[2]) ** 2
