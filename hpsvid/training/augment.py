"""Training pairs of the lifter, varied: pace, guessed focal lengths, noise, gaps."""

from dataclasses import replace

import torch
from torch import Tensor

from hpsvid.training.pairs import Pairs

FOCAL_SPREAD = 0.15  # of a guessed focal length's logarithm
NOISE_M = 0.01  # of the landmarks; in 2D half as much, of the person's size
BLINK = 0.03  # of all frames are unseen, one by one
GAPPED = 0.15  # of the sequences have a gap
GAP_FRAMES = 7  # its greatest length
PACE = 0.3  # the greatest change of a motion's pace, of its logarithm


def augment(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Other pairs that are as true: other guesses of the focal length, noise, gaps; every other
    one backwards, all at another pace.
    """
    pairs = _replayed(pairs, rng)
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


def _replayed(pairs: Pairs, rng: torch.Generator) -> Pairs:
    """Sequences at another pace, from their first or their last frame on; where that takes them
    beyond their end they go back.
    """
    view = pairs.view
    count, total = view.seen.shape
    pace = ((torch.rand(count, 1, generator=rng) * 2 - 1) * PACE).exp()
    place = torch.arange(total) * pace
    place = torch.where(place > total - 1, 2 * (total - 1) - place, place)
    place = torch.where(torch.rand(count, 1, generator=rng) < 0.5, total - 1 - place, place)
    low, row = place.long(), torch.arange(count)[:, None]
    high, near = (low + 1).clamp_max(total - 1), place.round().long()
    share = place - low

    def between(values: Tensor) -> Tensor:
        return values[row, low].lerp(
            values[row, high], share.reshape(count, total, *[1] * (values.dim() - 2))
        )

    return replace(
        pairs,
        view=replace(
            view,
            points=between(view.points),
            slopes=between(view.slopes),
            visibility=between(view.visibility),
            presence=between(view.presence),
            lean=view.lean[row, near],
            inner=view.inner[row, near],
            seen=view.seen[row, near],
        ),
        marks=between(pairs.marks),
        joints=between(pairs.joints),
        twist=between(pairs.twist),
    )


def _wander(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Noise (N, T, ...) of unit variance, half of it constant over the sequence."""
    steady = torch.randn(shape[0], 1, *shape[2:], generator=rng)
    return (steady + torch.randn(shape, generator=rng)) * 0.7
