"""Conditional invertible networks: affine coupling over features and over time, and lifting.

Every layer maps (B, T, D) to (B, T, D), inverts exactly and reports its log-determinant, so that
stacks of them are flows. Frames that `Given.valid` marks False pass through unchanged and are
never looked at. RealNVP (Dinh et al., ICLR 2017) as NIKI uses it (Li et al., CVPR 2023, Sec. 3.4;
supplement A and C).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Split = Literal["halves", "interleaved"]

# a value may have moved by about this share of its unit between neighbouring frames before the
# network learns each feature's own pace
PACE = 0.04
NO_DOUBT = -7.0  # a new belief counts for a thousandth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """What a flow is conditioned on; both directions read the same."""

    condition: Tensor  # (B, T, C)
    precision: Tensor  # (B, T, D) 1 / variance of each feature of the flow's input
    rest: Tensor  # (B, T, 29, 3) m, the rest skeleton of the person's shape
    valid: Tensor  # (B, T) bool; the padding comes last
    phase: int | Tensor = 0  # (B, 1) or for all: which of the interleaved frames count as even
    whole: bool = True  # False: Lift may return zeros for the error (inverse: for the padding)


def mlp(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    """Three linear layers with LeakyReLU(0.01); the last starts at zero: the identity flow."""
    last = nn.Linear(hidden, n_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.LeakyReLU(0.01),
        nn.Linear(hidden, hidden), nn.LeakyReLU(0.01),
        last,
    )  # fmt: skip


class SpatialCoupling(nn.Module):
    """Some features rescale and shift others, frame by frame.

    v_move = u_move * exp(tanh(scale(u_keep, c))) + shift(u_keep, c); NIKI, Eq. 19-20 with the
    tanh on the scale, as released (the text puts it on the shift). Scale and shift are two
    outputs of one MLP.
    """

    keep: Tensor
    move: Tensor

    def __init__(self, keep: Tensor, move: Tensor, n_condition: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("keep", keep, persistent=False)
        self.register_buffer("move", move, persistent=False)
        self.network = mlp(len(keep) + n_condition, hidden, 2 * len(move))

    def read(self, u: Tensor, given: Given) -> Tensor:
        """What the network reads: the kept features (B, T, K) and the condition."""
        return torch.cat([u[..., self.keep], given.condition], -1)

    def _affine(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        out = self.network(self.read(u, given))
        scale, shift = (out * given.valid[..., None].to(u.dtype)).chunk(2, -1)
        return torch.tanh(scale), shift

    def forward(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Transformed (B, T, D) and log-determinant (B,)."""
        scale, shift = self._affine(u, given)
        moved = u[..., self.move] * torch.exp(scale) + shift
        return u.index_copy(-1, self.move, moved), scale.sum((-1, -2))

    def inverse(self, v: Tensor, given: Given) -> Tensor:
        """The input (B, T, D) that `forward` takes to `v`."""
        scale, shift = self._affine(v, given)
        moved = (v[..., self.move] - shift) * torch.exp(-scale)
        return v.index_copy(-1, self.move, moved)


class BeliefCoupling(SpatialCoupling):
    """Some features are drawn to what the others let one believe about them, frame by frame.

    v_move = w u_move + (1 - w) belief(u_keep, c), the share w by the variance of either:
    w = 1 / (1 + exp(doubt(u_keep, c))), doubt = log(variance of u / variance of the belief), the
    former as reported.
    An affine coupling like the other, in terms that mean the same whatever the size of the errors
    and that least squares can fit.
    """

    def __init__(self, keep: Tensor, move: Tensor, n_condition: int, hidden: int) -> None:
        super().__init__(keep, move, n_condition, hidden)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[: len(move)], NO_DOUBT)

    def _affine(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        doubt, belief = self.network(self.read(u, given)).chunk(2, -1)
        return _weigh(doubt - torch.log(given.precision[..., self.move]), belief, given.valid)


def _weigh(doubt: Tensor, belief: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift that draw a value to `belief`; the scale's bound keeps inverses exact."""
    mask = moving[..., None].to(doubt.dtype)
    scale = -torch.tanh(nn.functional.softplus(doubt)) * mask
    return scale, (1 - torch.exp(scale)) * belief


def frame_positions(valid: Tensor) -> Tensor:
    """Place (B, T) of each frame relative to the middle of its window's valid frames.

    valid: (B, T) bool, the valid frames first.
    """
    count = valid.sum(1, keepdim=True)
    return torch.arange(valid.shape[1], device=valid.device)[None] - count // 2


def sinusoids(position: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Sine and cosine features (..., dim) of integer positions (Vaswani et al., 2017)."""
    rate = torch.exp(
        torch.arange(0, dim, 2, device=position.device, dtype=dtype) * (-math.log(1e4) / dim)
    )
    angle = position[..., None].to(dtype) * rate
    return torch.cat([torch.sin(angle), torch.cos(angle)], -1)


class TemporalCoupling(nn.Module):
    """One half of a window's frames rescales and shifts the other half by attention.

    The moving frames, known only by their place in time and their condition, attend to the kept
    ones (NIKI supplement C, Eq. 1-2 over time). "halves" are the first and second half of the
    valid frames, as in the paper; "interleaved" are every other frame, so that a moving frame
    sees its neighbours on both sides. Padding never changes a result.

    The same attention, weighted by the features' precision, also averages the kept frames'
    features. As in `BeliefCoupling` a frame's own value is drawn to that average, each by its
    variance (a Kalman update); the network adds to average and doubt, at first nothing. Attention
    falls off with distance at each head's own slope (ALiBi, Press et al., ICLR 2022).
    """

    features: Tensor

    def __init__(
        self,
        features: Tensor,
        n_condition: int,
        width: int,
        heads: int,
        *,
        split: Split,
        moves_first: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.split: Split = split
        self.moves_first = moves_first
        self.width, self.heads = width, heads
        dim = len(features)
        self.embed = nn.Linear(dim + n_condition, width)
        self.feed = nn.Sequential(nn.LeakyReLU(0.01), nn.Linear(width, width))
        self.key_value = nn.Linear(width, 2 * width)
        self.query = nn.Linear(n_condition + width, width)
        self.readout = mlp(width + n_condition, width, 2 * dim)
        # slopes 1 ... 1/32: half of the attention within one frame ... within twenty
        self.log_slope = nn.Parameter(-torch.linspace(0, math.log(32), heads))
        self.mix = nn.Parameter(torch.zeros(heads, dim))
        self.log_pace = nn.Parameter(torch.full((dim,), math.log(PACE)))

    def _moving(self, given: Given) -> tuple[Tensor, Tensor]:
        """Positions (B, T) and which frames move (B, T) bool."""
        position = frame_positions(given.valid)
        first = position < 0 if self.split == "halves" else (position + given.phase) % 2 == 0
        return position, (first if self.moves_first else ~first) & given.valid

    def _attend(
        self, u: Tensor, given: Given, position: Tensor, keeping: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the frames read (B, T, width), and their attention (B, heads, T, T)."""
        where = sinusoids(position, self.width, u.dtype)
        kept = u * keeping[..., None].to(u.dtype)
        tokens = self.embed(torch.cat([kept, given.condition], -1)) + where
        key, value = self.key_value(tokens + self.feed(tokens)).chunk(2, -1)
        query = self.query(torch.cat([given.condition, where], -1))
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        away = (position[:, None, :] - position[:, :, None]).abs().to(u.dtype)
        logits = query @ key.mT / math.sqrt(query.shape[-1])
        logits = logits - self.log_slope.exp()[:, None, None] * away[:, None]
        # without any kept frame softmax would be 0 / 0: attend to all frames, `_affine` voids it
        attended = keeping | ~keeping.any(1, keepdim=True)
        attention = logits.masked_fill(~attended[:, None, None], -torch.inf).softmax(-1)
        return (attention @ value).transpose(1, 2).flatten(-2), attention

    def neighbours(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Which frames move, the readout's input, and the kept frames' average with its doubt."""
        position, moving = self._moving(given)
        keeping = given.valid & ~moving
        read, attention = self._attend(u, given, position, keeping)
        precision = given.precision[..., self.features]
        distance = (position[:, None, :] - position[:, :, None]).abs().to(u.dtype)[:, None]
        kept = keeping[..., None].to(u.dtype)
        weighed = torch.cat([precision * u * kept, precision], -1)[:, None]
        share = self.mix.softmax(0)[:, None]
        total, weight = (attention @ weighed).chunk(2, -1)
        gap = (attention * distance) @ precision[:, None]
        total, weight, gap = ((share * x).sum(1) for x in (total, weight, gap))
        # noise is correlated in time, so averaging frames is not counted as less noise
        variance = 1 / weight + (self.log_pace.exp() * gap / weight).square()
        doubt = -torch.log(precision * variance)
        inputs = torch.cat([read, given.condition], -1)
        return moving & keeping.any(1, keepdim=True), inputs, total / weight, doubt

    def _affine(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        moving, inputs, average, doubt = self.neighbours(u, given)
        more_doubt, more = self.readout(inputs).chunk(2, -1)
        return _weigh(doubt + more_doubt, average + more, moving)

    def forward(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Transformed (B, T, D) and log-determinant (B,)."""
        part = u[..., self.features]
        scale, shift = self._affine(part, given)
        moved = part * torch.exp(scale) + shift
        return u.index_copy(-1, self.features, moved), scale.sum((-1, -2))

    def inverse(self, v: Tensor, given: Given) -> Tensor:
        """The input (B, T, D) that `forward` takes to `v`."""
        part = v[..., self.features]
        scale, shift = self._affine(part, given)
        moved = (part - shift) * torch.exp(-scale)
        return v.index_copy(-1, self.features, moved)


class Lift(nn.Module):
    """Kinematics as an invertible layer: [evidence, padding] -> [error, pose].

    pose = padding + predict(evidence), error = evidence - explain(pose): two additive couplings
    (a lifting step), so the layer inverts exactly whatever the two functions are. With `predict`
    an analytic IK and `explain` its FK, padding of zero and evidence without error, the pose is
    the truth and the error is zero: NIKI's boundary conditions (Eq. 5-6) hold by construction.
    """

    def __init__(
        self,
        n_evidence: int,
        predict: Callable[[Tensor, Tensor], Tensor],
        explain: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.n_evidence = n_evidence
        self.predict, self.explain = predict, explain

    def forward(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Transformed (B, T, D) and log-determinant (B,), which is zero."""
        evidence, padding = u.tensor_split([self.n_evidence], -1)
        pose = padding + self.predict(evidence, given.rest)
        error = evidence - self.explain(pose, given.rest) if given.whole else 0 * evidence
        out = torch.where(given.valid[..., None], torch.cat([error, pose], -1), u)
        return out, u.new_zeros(len(u))

    def inverse(self, v: Tensor, given: Given) -> Tensor:
        """The input (B, T, D) that `forward` takes to `v`."""
        error, pose = v.tensor_split([self.n_evidence], -1)
        evidence = error + self.explain(pose, given.rest)
        padding = pose - self.predict(evidence, given.rest) if given.whole else 0 * pose
        return torch.where(given.valid[..., None], torch.cat([evidence, padding], -1), v)


class Flow(nn.Module):
    """A stack of invertible layers with one shared condition; see the module's docstring."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, u: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Features u (B, T, D) -> v (B, T, D) and log-determinant (B,)."""
        log_det = u.new_zeros(len(u))
        for layer in self.layers:
            u, part = layer(u, given)
            log_det = log_det + part
        return u, log_det

    def inverse(self, v: Tensor, given: Given) -> Tensor:
        """The u (B, T, D) that `forward` takes to `v`."""
        for layer in reversed(self.layers):
            v = layer.inverse(v, given)  # type: ignore[operator]
        return v


@dataclass(frozen=True, slots=True, kw_only=True)
class CouplingSize:
    """Size and kind of the couplings of a model."""

    n_condition: int  # features of the condition
    hidden: int  # width of the spatial couplings
    attention: int = 0  # width of the temporal couplings (NIKI supplement, Fig. 3); 0: none
    heads: int = 4
    beliefs: bool = False  # spatial couplings are `BeliefCoupling`s


def couplings(
    features: Tensor, keep_also: Tensor, group: int, blocks: int, size: CouplingSize
) -> list[nn.Module]:
    """`blocks` pairs of spatial couplings over `features`, each followed by a temporal pair.

    features: (N,) indices; keep_also: indices that the spatial couplings may read besides; group:
    features of one joint or bone. Even blocks split whole groups, odd blocks single features.
    Temporal couplings of even blocks interleave the frames, those of odd ones split the window in
    the middle.
    """
    layers: list[nn.Module] = []
    place = torch.arange(len(features))
    for block in range(blocks):
        odd = (place // (group if block % 2 == 0 else 1)) % 2 == 1
        for move in (odd, ~odd):
            keep = torch.cat([keep_also, features[~move]])
            kind = BeliefCoupling if size.beliefs else SpatialCoupling
            layers.append(kind(keep, features[move], size.n_condition, size.hidden))
        split: Split = "interleaved" if block % 2 == 0 else "halves"
        layers += [
            TemporalCoupling(
                features,
                size.n_condition,
                size.attention,
                size.heads,
                split=split,
                moves_first=first,
            )
            for first in (True, False)
            if size.attention
        ]
    return layers
