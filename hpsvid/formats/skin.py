"""A body as skinned meshes have it: shaped vertices, their joints and weights, their colours."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.formats.figure import Figure
from hpsvid.options import ExportOptions
from hpsvid.types import Array

INFLUENCES = 4  # joints that move a vertex: one set, which every reader knows
_SUIT = (150, 166, 186)  # sRGB, of bodies without a look of their own


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Skin:
    """A person's mesh in the rest pose."""

    vertices: Array  # (V, 3) float32, the file's unit
    normals: Array  # (V, 3) float32
    joints: Array  # (V, 4) int64; 0 where the weight is 0
    weights: Array  # (V, 4) float32, sum 1


def check_mesh(body: Body, options: ExportOptions) -> None:
    """Raise InputError when the body's mesh may not be written."""
    if not body.free and not options.licensed_mesh:
        raise InputError(
            f"body {body.name}: its licence forbids passing the mesh on; use the free body, or "
            "write it for yourself alone with --licensed-mesh"
        )


def skin_of(figure: Figure, body: Body) -> Skin:
    """The body in a person's own shape."""
    from hpsvid.common.raster import vertex_normals  # imports numba, which few exports need

    betas = torch.from_numpy(figure.betas).float()
    shaped = body.shaped(betas)
    vertices = shaped.numpy() * np.float32(figure.scale)
    weights = body.skin_weights.numpy().astype(np.float64)
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    share = np.take_along_axis(weights, joints, 1)
    share = (share / share.sum(1, keepdims=True)).astype(np.float32)
    return Skin(
        vertices=vertices,
        normals=vertex_normals(vertices, body.faces),
        joints=np.where(share > 0, joints, 0),
        weights=share,
    )


def srgb_colours(body: Body) -> Array:
    """Colours (V, 3) in [0, 1] of the body's look, sRGB."""
    if body.colours is None:
        return np.tile(np.array(_SUIT) / 255, (len(body.template), 1))
    return body.colours / 255


def linear_colours(body: Body) -> Array:
    """The same in linear light."""
    srgb = srgb_colours(body)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def continuous_quaternions(rotmats: Array) -> Array:
    """Quaternions (T, J, 4) x, y, z, w of rotations (T, J, 3, 3), each nearest to the one before.

    Of the two that say one rotation, interpolation needs the pair on the same side.
    """
    flat = Rotation.from_matrix(rotmats.reshape(-1, 3, 3)).as_quat()
    quaternions = flat.reshape(*rotmats.shape[:2], 4)
    turned = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    sign = np.where(np.cumsum(turned, axis=0) % 2 == 1, -1.0, 1.0)
    quaternions[1:] *= sign[..., None]
    return quaternions
