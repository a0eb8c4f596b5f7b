"""The colour of each texel: what the looks show of its place, blended robustly."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpsvid.appearance.heads import face_of, preferred
from hpsvid.appearance.looks import Look
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.body.texels import Texels
from hpsvid.common.raster import bilinear, compiled
from hpsvid.types import Array

_FACING = 0.15  # cosine to the view below which a place is seen too much from the side
_LEAST_TURNED = 0.1
_REGION = 3.0  # power of the cosine of a place's whole neighbourhood
_BEHIND_M = 0.03  # so far behind the nearest surface a place is hidden
_TOLERANCE = 22.0  # of 255: a colour this far from the median counts a half
_PREFERENCE = 2.0  # power of a look's weight: how much the best look of a place prevails
_LEAST_WEIGHT = 1e-3
_HANDS = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("wrist", "hand")]
_ALL = 0.95  # share of a vertex that is of a hand throughout
_SURELY = 0.4  # how surely a place of the face is seen that says what skin is like
_ENOUGH = 20  # texels
_TINT = 0.07  # difference in the shares of red, green and blue: half as likely skin
_BARE = 0.15  # share of a hand's texels that look like the face, if it is bare


class _Packed(NamedTuple):
    """The looks, their pixels one after the other."""

    rgb: Array  # (P, 3) uint8
    trust: Array  # (P,) float32
    nearness: Array  # (P,) float32
    shapes: Array  # (L, 3) int64: first pixel, height, width
    K: Array  # (L, 3, 3)
    worth: Array  # (L,) float64
    vertices: Array  # (L, V, 3) float32
    normals: Array  # (L, V, 3) float32
    sides: Array  # (L, V, 3) float32
    prefer: Array  # (L, V) float32
    hand: Array  # (V,) float32 share of a vertex in a hand
    skin: Array  # (3,) shares of red, green and blue that hands have; 0 = not known


def blended(texels: Texels, body: Body, looks: Sequence[Look], worth: Array) -> tuple[Array, Array]:
    """Colours (N, 3) float32 0..255 of the texels, and how surely they are seen (N,), 0..1.

    worth: (L,) how good each look is as a whole.
    """
    starts = np.cumsum([0, *(look.trust.size for look in looks[:-1])])
    shapes = np.array([(n, *look.trust.shape) for n, look in zip(starts, looks, strict=True)])
    densest = max(float(look.K[0, 0] / np.median(look.vertices[:, 2])) for look in looks)
    packed = _Packed(
        rgb=np.concatenate([look.rgb.reshape(-1, 3) for look in looks]),
        trust=np.concatenate([look.trust.ravel() for look in looks]),
        nearness=np.concatenate([look.nearness.ravel() for look in looks]),
        shapes=shapes.astype(np.int64),
        K=np.stack([look.K for look in looks]),
        worth=np.asarray(worth, np.float64) / densest**2,
        vertices=np.stack([look.vertices for look in looks]),
        normals=np.stack([look.normals for look in looks]),
        sides=np.stack([look.sides for look in looks]),
        prefer=preferred(looks, worth, body),
        hand=body.skin_weights[:, _HANDS].sum(1).numpy(),
        skin=np.zeros(3),
    )
    colours = np.zeros((len(texels.places), 3), np.float32)
    weights = np.zeros(len(texels.places), np.float32)
    _blend(texels.face, texels.share, body.faces, packed, colours, weights)
    of_hand = np.flatnonzero(packed.hand[body.faces[texels.face]].min(1) > _ALL)
    skin = _skin(colours, weights, texels, body, of_hand)
    if skin is not None:
        again, sure = np.zeros((len(of_hand), 3), np.float32), np.zeros(len(of_hand), np.float32)
        packed = packed._replace(skin=skin)
        _blend(texels.face[of_hand], texels.share[of_hand], body.faces, packed, again, sure)
        colours[of_hand], weights[of_hand] = again, sure
    return colours, weights


def _skin(
    colours: Array, weights: Array, texels: Texels, body: Body, of_hand: Array
) -> Array | None:
    """The face's shares of red, green and blue (3,); None where hands seem to have others.

    A hand misses its place in the picture more often than not, and takes trousers for skin.
    """
    face = face_of(body)[body.faces[texels.face]].all(1) & (weights > _SURELY)
    seen = of_hand[weights[of_hand] > 0]
    if face.sum() < _ENOUGH or len(seen) < _ENOUGH:
        return None
    tone = np.median(colours[face], axis=0).astype(np.float64)
    tone /= max(float(tone.sum()), 1.0)
    tones = colours[seen] / np.maximum(colours[seen].sum(1, keepdims=True), 1)
    alike = np.abs(tones - tone).sum(1) < 2 * _TINT
    return tone if alike.mean() > _BARE else None  # else gloves


@compiled
def _sample(
    packed: _Packed, n: int, corners: Array, share: Array, out: Array
) -> tuple[float, float]:
    """Write the colour of a place of the surface in look n into `out` (3,), 0..255.

    Returns its weight among the looks, and how surely it is the body's, 0..1; 0, 0 where unseen.
    corners: (3,) vertices of its face; share: (3,) of them.
    """
    liked = 0.0
    x = y = z = nx = ny = nz = sx = sy = sz = 0.0
    for k in range(3):
        place, normal = packed.vertices[n, corners[k]], packed.normals[n, corners[k]]
        side = packed.sides[n, corners[k]]
        liked += share[k] * packed.prefer[n, corners[k]]
        x += share[k] * place[0]
        y += share[k] * place[1]
        z += share[k] * place[2]
        nx += share[k] * normal[0]
        ny += share[k] * normal[1]
        nz += share[k] * normal[2]
        sx += share[k] * side[0]
        sy += share[k] * side[1]
        sz += share[k] * side[2]
    away = np.sqrt(x * x + y * y + z * z) + 1e-12
    facing = -(nx * x + ny * y + nz * z) / (np.sqrt(nx * nx + ny * ny + nz * nz) * away + 1e-12)
    turned = -(sx * x + sy * y + sz * z) / (np.sqrt(sx * sx + sy * sy + sz * sz) * away + 1e-12)
    if facing < _FACING or z <= 0:
        return 0.0, 0.0
    K, (start, height, width) = packed.K[n], packed.shapes[n]
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    column, row = int(np.floor(u)), int(np.floor(v))
    if not (0 <= column < width and 0 <= row < height):
        return 0.0, 0.0
    pixel = start + row * width + column
    trust = packed.trust[pixel]
    if trust <= 0 or (z - _BEHIND_M) * packed.nearness[pixel] > 1:
        return 0.0, 0.0
    u, v = min(max(u - 0.5, 0.0), width - 1.001), min(max(v - 0.5, 0.0), height - 1.001)
    bilinear(packed.rgb, packed.shapes[n], u, v, out)
    density = K[0, 0] / z  # px a metre
    region = max(turned, _LEAST_TURNED)
    weight = liked * packed.worth[n] * trust * facing * region**_REGION * density * density
    sure = trust * facing
    if packed.skin[0] > 0:
        tint, light = 0.0, out[0] + out[1] + out[2] + 1e-6
        for k in range(3):
            tint += abs(out[k] / light - packed.skin[k])
        like = 1 / (1 + (tint / _TINT) ** 2) ** 2
        weight, sure = weight * like, sure * like
    return weight, sure


@compiled
def _median(values: Array, weights: Array, order: Array, count: int) -> float:
    """Weighted median of the first `count` values; order: (L,) int64 to work in."""
    for i in range(count):
        j = i
        while j > 0 and values[order[j - 1]] > values[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
    total = 0.0
    for i in range(count):
        total += weights[i]
    so_far = 0.0
    for i in range(count):
        so_far += weights[order[i]]
        if so_far >= total / 2:
            return float(values[order[i]])
    return float(values[order[count - 1]])


@compiled
def _blend(
    face: Array, share: Array, faces: Array, packed: _Packed, colours: Array, weights: Array
) -> None:
    """Fill `colours` (N, 3) and `weights` (N,): the mean of what lies near the median colour."""
    looks = len(packed.shapes)
    samples, weight, colour = np.empty((3, looks)), np.empty(looks), np.empty(3)
    order, middle = np.empty(looks, np.int64), np.empty(3)
    for texel in range(len(face)):
        count, best, surest = 0, 0.0, 0.0
        for n in range(looks):
            weight[count], sure = _sample(packed, n, faces[face[texel]], share[texel], colour)
            if weight[count] > 0:
                surest = max(surest, sure)
                best = max(best, weight[count])
                for k in range(3):
                    samples[k, count] = colour[k]
                count += 1
        if count == 0:
            continue
        for i in range(count):
            weight[i] = max(weight[i] / best, _LEAST_WEIGHT) ** _PREFERENCE
        for k in range(3):
            middle[k] = _median(samples[k], weight, order, count)
        total = red = green = blue = 0.0
        for i in range(count):
            off = 0.0
            for k in range(3):
                off += (samples[k, i] - middle[k]) ** 2
            w = weight[i] / (1 + off / _TOLERANCE**2) ** 2
            total += w
            red += w * samples[0, i]
            green += w * samples[1, i]
            blue += w * samples[2, i]
        colours[texel, 0] = red / total
        colours[texel, 1] = green / total
        colours[texel, 2] = blue / total
        weights[texel] = surest
