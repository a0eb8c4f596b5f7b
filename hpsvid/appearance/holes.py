"""What no frame shows of a person: taken from the other side of the body, or spread over it."""

import cv2
import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from hpsvid.body.atlas import Atlas
from hpsvid.body.model import Body
from hpsvid.body.texels import Texels, mirrored
from hpsvid.types import Array

_SURE = (0.12, 0.4)  # how surely a texel is seen: from here its own colour comes in, is all
_MIRRORED = 0.5  # what the other side's colour counts against one's own
_PULL = 1e-3  # of a vertex's colour towards the mean of its piece of the surface


def filled(colours: Array, weights: Array, texels: Texels, atlas: Atlas, body: Body) -> Array:
    """A picture (size, size, 3) uint8 of all texels, seen or not, and the space between.

    colours: (N, 3) 0..255 where weights (N,) > 0. Where little is seen, the mirrored side's
    colour comes in; where that is not seen either, colours spread evenly over the surface from
    what is seen about it, across the seams of the layout.
    """
    sure = np.clip((weights - _SURE[0]) / (_SURE[1] - _SURE[0]), 0, 1)
    place = np.full(texels.size**2, -1, np.int64)
    place[texels.places] = np.arange(len(texels.places))
    twin = place[mirrored(texels, atlas, body.faces)]
    of_twin = np.where(twin >= 0, sure[twin], 0) * _MIRRORED * (1 - sure)
    known = sure + of_twin
    mixed = sure[:, None] * colours + of_twin[:, None] * colours[twin]
    mixed /= np.maximum(known, 1e-6)[:, None]
    spread = _spread(mixed, known, texels, body)
    share = np.clip(known / _MIRRORED, 0, 1)[:, None]
    share = share * share * (3 - 2 * share)
    whole = texels.spread(np.clip(share * mixed + (1 - share) * spread, 0, 255).astype(np.float32))
    return _bled(np.round(whole).astype(np.uint8), texels)


def _spread(colours: Array, known: Array, texels: Texels, body: Body) -> Array:
    """A smooth colour (N, 3) of each texel from what is known about it on the surface.

    The surface's vertices take the mean of the texels around them; those without any lie between
    their neighbours' (Laplace's equation on the mesh). A piece of which nothing is seen, such as
    an eyeball, has the colours of the body's own look.
    """
    faces, count = body.faces, len(body.template)
    corner = faces[texels.face]
    pull = texels.share * known[:, None]
    weight = np.bincount(corner.ravel(), pull.ravel(), count)
    of_vertex = np.stack(
        [np.bincount(corner.ravel(), (pull * colours[:, k : k + 1]).ravel(), count)
         for k in range(3)], 1,
    )  # fmt: skip
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = coo_array((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), (count, count)).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    pieces, piece = connected_components(links, directed=False)
    own = np.full((count, 3), 128.0) if body.colours is None else body.colours.astype(np.float64)
    mean, total = np.zeros((pieces, 3)), np.bincount(piece, weight, pieces)
    for k in range(3):
        mean[:, k] = np.bincount(piece, of_vertex[:, k], pieces) / np.maximum(total, 1e-9)
    rest = np.where((total > 0)[piece, None], mean[piece], own)
    anchor = 10 * weight + _PULL
    laplacian = diags_array(links.sum(1) + anchor) - links
    wanted = 10 * of_vertex + _PULL * rest
    solved = splu(laplacian.tocsc()).solve(wanted)
    return (texels.share[..., None] * solved[corner]).sum(1)


def _bled(picture: Array, texels: Texels) -> Array:
    """The picture with the nearest texel's colour in all space between the charts."""
    empty = np.ones(texels.size**2, np.uint8)
    empty[texels.places] = 0
    empty = empty.reshape(texels.size, -1)
    by_pixel = cv2.DIST_LABEL_PIXEL
    _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=by_pixel)
    nearest = label.ravel().astype(np.int64)
    source = np.zeros(nearest.max() + 1, np.int64)
    source[nearest[texels.places]] = texels.places
    return picture.reshape(-1, 3)[source[nearest]].reshape(picture.shape)
