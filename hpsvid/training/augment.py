"""Training pairs of the lifter, varied: guessed focal lengths, noise, gaps."""

from dataclasses import replace

import torch
from torch import Tensor

from hpsvid.training.pairs import Pairs

FOCAL_SPREAD = 0.15  # of a guessed focal length's logarithm
NOISE_M = 0.01  # of the landmarks; in 2D half as much, of the person's size
BLINK = 0.03  # of all frames are unseen, one by one
GAPPED = 0.15  # of the sequences have a gap
GAP_FRAMES = 7  # its greatest length


def augment(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Other pairs that are as true: other guesses of the focal length, noise, gaps."""
    view = pairs.view
    count, total = view.seen.shape
    focal = (torch.randn(count, 1, 1, 1, generator=rng) * FOCAL_SPREAD).exp()
    noise = torch.randn(count, 1, 1, 1, generator=rng).abs() * NOISE_M
    size = (view.slopes.amax(2) - view.slopes.amin(2)).amax(-1)[..., None, None]
    slopes = (view.slopes + noise / 2 * size * _wander(view.slopes.shape, rng)) * focal
    points = view.points + noise * _wander(view.points.shape, rng)
    start = torch.rand(count, 1, generator=rng) * total
    length = torch.rand(count, 1, generator=rng) * GAP_FRAMES
    frames = torch.arange(total)
    gap = (frames >= start) & (frames < start + length)
    gap &= torch.rand(count, 1, generator=rng) < GAPPED
    gap |= torch.rand(count, total, generator=rng) < BLINK
    return replace(pairs, view=replace(view, points=points, slopes=slopes, seen=view.seen * ~gap))


def _wander(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Noise (N, T, ...) of unit variance, half of it constant over the sequence."""
    steady = torch.randn(shape[0], 1, *shape[2:], generator=rng)
    return (steady + torch.randn(shape, generator=rng)) * 0.7
