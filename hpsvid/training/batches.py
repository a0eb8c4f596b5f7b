"""Batches to train on: motion with simulated or lifted evidence."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.common.records import join, take
from hpsvid.ik.tensors import FLOOR_M, Evidence, Person, posed_joints, to_rest_axes, turn_root
from hpsvid.mocap.noise import observe, random_noise
from hpsvid.mocap.sources import MotionSource
from hpsvid.training.losses import Batch
from hpsvid.types import N_BETAS, N_JOINTS

POOL = 512  # windows that batches are drawn from
FRESH = 2  # of them are replaced before each batch
LIFTED_SHARE = 0.5  # of a batch's windows, where there are lifted pairs


def training_batch(
    evidence: Evidence, person: Person, rotmats: Tensor, *, framewise: bool
) -> Batch:
    """Turn windows (or each frame by itself) to the rest body's axes, truth and evidence alike.

    Each frame has a shape of its own after it, so that batches of any kind can be joined.
    """
    turn, evidence, person = to_rest_axes(evidence, person, framewise=framewise)
    each = person.valid.shape
    person = replace(
        person,
        rest=person.rest.expand(*each, N_JOINTS, 3),
        betas=person.betas.expand(*each, N_BETAS),
    )
    return Batch(
        evidence=evidence,
        person=person,
        exact=replace(person, sigma=person.sigma.clamp_max(2 * FLOOR_M)),
        rotmats=turn_root(turn, rotmats),
    )


def random_batch(
    poses: Tensor, body: Body, generator: torch.Generator, *, framewise: bool
) -> Batch:
    """Random shapes, views and errors for windows of true poses (B, T, 24, 3, 3), y up."""
    b, t = poses.shape[:2]
    betas = 1.0 * torch.randn(b, 1, N_BETAS, generator=generator)
    rest = body.rest_joints(betas)
    yaw = 2 * torch.pi * torch.rand(b, 1, generator=generator)
    pitch = (0.2 + 0.35 * torch.randn(b, 1, generator=generator)).clamp(-0.35, 1.05)
    ahead = torch.stack(
        [yaw.sin() * pitch.cos(), -pitch.sin().expand_as(yaw), yaw.cos() * pitch.cos()], -1
    ).expand(b, t, 3)
    up = torch.tensor([0.0, 1.0, 0.0])
    joints = posed_joints(poses, rest.expand(b, t, N_JOINTS, 3))
    noise = random_noise(joints, ahead, up, generator)
    evidence, reported = observe(poses, rest, ahead, noise, generator)
    # one window in six is shorter than the others, padded by its last frame
    cut = torch.rand(b, generator=generator) < 1 / 6
    length = torch.randint(1, t + 1, (b,), generator=generator)
    last = torch.where(cut, length, t)[:, None] - 1
    person = Person(
        rest=rest,
        betas=betas,
        view=ahead,
        sigma=reported,
        valid=torch.arange(t)[None] <= last,
    )
    return training_batch(evidence, person, poses, framewise=framewise)


@dataclass(frozen=True)
class LiftedPairs:
    """Evidence that a lifter made of rendered pictures, with truth (tools.people.lift_pairs).

    Of single pictures (T = 1, tools.people.dense_pairs) any together are a window: frame-based
    networks alone can be trained on these.
    """

    joints: Tensor  # (N, T, 29, 3) m
    sigma: Tensor  # (N, T, 29) m
    twist: Tensor  # (N, T, 23, 2)
    view: Tensor  # (N, T, 3)
    betas: Tensor  # (N, 10) as estimated
    rotmats: Tensor  # (N, T, 24, 3, 3) true, in the evidence's axes

    @classmethod
    def read(cls, path: Path) -> "LiftedPairs":
        """The pairs of an npz with this class's fields as keys."""
        with np.load(path) as archive:
            return cls(**{name: torch.from_numpy(archive[name]) for name in cls.__annotations__})

    def write(self, path: Path) -> None:
        """Write the npz that `read` reads."""
        arrays = {name: getattr(self, name).numpy() for name in self.__annotations__}
        np.savez(path, allow_pickle=False, **arrays)

    def batch(
        self, rng: np.random.Generator, body: Body, size: int, length: int, *, framewise: bool
    ) -> Batch:
        """Windows drawn at random."""
        rows = rng.integers(0, len(self.joints), (size, length if self.single else 1))
        last = 0 if self.single else self.joints.shape[1] - length
        start = torch.from_numpy(rng.integers(0, last + 1, (size, 1)))
        return self._batch(torch.from_numpy(rows), start, body, length, framewise=framewise)

    def windows(self, body: Body, length: int, *, framewise: bool) -> Batch:
        """The first window of every sequence; of single pictures one after the other."""
        across = length if self.single else 1
        rows = torch.arange(len(self.joints) // across * across).view(-1, across)
        return self._batch(rows, 0 * rows[:, :1], body, length, framewise=framewise)

    @property
    def single(self) -> bool:
        """Whether each is a picture by itself."""
        return self.joints.shape[1] == 1

    def split(self, share: float) -> "tuple[LiftedPairs, LiftedPairs]":
        """All but the last `share` of the sequences, and these."""
        held = max(1, round(share * len(self.joints)))
        return take(self, slice(None, -held)), take(self, slice(-held, None))

    def _batch(
        self, rows: Tensor, start: Tensor, body: Body, length: int, *, framewise: bool
    ) -> Batch:
        """Windows (B, length) of these rows (B, 1), or of single pictures (B, length)."""
        frames = start if self.single else start + torch.arange(length)
        betas = self.betas[rows]
        person = Person(
            rest=body.rest_joints(betas),
            betas=betas,
            view=self.view[rows, frames],
            sigma=self.sigma[rows, frames],
            valid=torch.ones(len(rows), length, dtype=torch.bool),
        )
        evidence = Evidence(joints=self.joints[rows, frames], twist=self.twist[rows, frames])
        return training_batch(evidence, person, self.rotmats[rows, frames], framewise=framewise)


class MotionBatches:
    """Endless batches from captured motion: a pool of windows, a few of them new each time.

    Making a window costs more than giving it a new shape, view and errors, so a window serves
    several times, seen differently each time.
    """

    def __init__(
        self,
        source: MotionSource,
        body: Body,
        *,
        batch: int,
        framewise: bool,
        seed: int,
        pairs: LiftedPairs | None = None,
    ) -> None:
        self.source, self.body = source, body
        self.framewise, self.pairs = framewise, pairs
        self.lifted = 0 if pairs is None else round(LIFTED_SHARE * batch)
        self.batch = batch - self.lifted
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.pool = np.stack(
            [source.varied(self.rng).rotmats for _ in range(max(POOL, self.batch))]
        )
        self.next = 0

    def __iter__(self) -> Iterator[Batch]:
        """Batches without end."""
        while True:
            for _ in range(FRESH):
                self.pool[self.next] = self.source.varied(self.rng).rotmats
                self.next = (self.next + 1) % len(self.pool)
            chosen = self.rng.choice(len(self.pool), self.batch, replace=False)
            poses = torch.from_numpy(self.pool[chosen])
            made = random_batch(poses, self.body, self.generator, framewise=self.framewise)
            if self.pairs is not None:
                length = self.source.length
                lifted = self.pairs.batch(
                    self.rng, self.body, self.lifted, length, framewise=self.framewise
                )
                made = join(made, lifted)
            yield made
