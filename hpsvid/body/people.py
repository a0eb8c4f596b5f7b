"""How people are built: the likeliest shape of a body where little is known of somebody's.

A body that says how people are built (`Body.usual`, `Body.variety`: the free body, after a survey)
has a normal distribution of shapes; on another each beta has mean 0 and spread 1.
"""

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.types import N_BETAS, Array

STATURE_ROUNDS = 3  # which vertex is the lowest changes with the shape


def whole_shape(betas: Array, body: Body) -> Array:
    """The likeliest betas (B,) float32 of somebody of whom a network says `betas` (10,).

    Networks are trained on people whose betas have mean 0, and where they see little say 0: what
    they say is a difference from what is usual. Of the lengths of limbs they say nothing, and these
    go with the others as they do among people.
    """
    if body.usual is None or body.variety is None:
        return betas
    known = len(betas)
    given = np.linalg.solve(body.variety[:known, :known], betas.astype(np.float64))
    differs = np.concatenate([betas, body.variety[known:, :known] @ given])
    return (body.usual + differs).astype(np.float32)


def told_betas(betas: Tensor, body: Body) -> Tensor:
    """What of shapes (..., B) a network is to tell: (..., 10), as `whole_shape` takes it.

    Shapes of ten betas were drawn about 0, those of more as people are built.
    """
    if betas.shape[-1] == N_BETAS or body.usual is None:
        return betas
    return betas[..., :N_BETAS] - torch.from_numpy(body.usual[:N_BETAS]).to(betas)


def of_stature(betas: Array, height: float, body: Body) -> Array:
    """The likeliest betas (B,) float32 of somebody `height` m tall who else is as `betas` say."""
    variety = variety_of(body, len(betas))
    for _ in range(STATURE_ROUNDS):
        now, taller = stature(betas, body)
        go = variety @ taller
        betas = (betas + go * (height - now) / (taller @ go)).astype(np.float32)
    return betas


def stature(betas: Array, body: Body) -> tuple[float, Array]:
    """How tall somebody of `betas` (B,) is, m, and what each beta adds to it, (B,) m a unit."""
    heights = body.shaped(torch.from_numpy(betas))[:, 1].double().numpy()
    top, sole = int(heights.argmax()), int(heights.argmin())
    up = body.shape_dirs[:, 1, : len(betas)].double().numpy()
    return float(heights[top] - heights[sole]), up[top] - up[sole]


def variety_of(body: Body, count: int) -> Array:
    """Covariance (count, count) of the first betas among people."""
    return np.eye(count) if body.variety is None else body.variety[:count, :count]
