"""NIKI's networks and the baselines behind the `Solver` protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsvid.body.model import Body
from hpsvid.common.checkpoints import load_weights, read_config
from hpsvid.ik.gik import GikNet
from hpsvid.ik.mlp import MlpIk
from hpsvid.ik.niki import Niki, NikiConfig
from hpsvid.ik.tensors import Evidence, Person
from hpsvid.types import BodyParams, Window

WINDOW_FRAMES = 64  # of the temporal model, twice what it is trained on

Network = Niki | GikNet | MlpIk


@dataclass(frozen=True)
class NetworkSolver:
    """Solves a window with a trained network; deterministic, padding never changes a result."""

    body: Body
    model: Network
    name: str  # as in `hpsvid.ik.SOLVERS`

    @property
    def window_length(self) -> int | None:
        """Frames at a time; the frame-based models take a whole track at once."""
        temporal = isinstance(self.model, Niki) and self.model.config.attention
        return WINDOW_FRAMES if temporal else None

    @torch.inference_mode()
    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve a window for one person's shape `betas` (10,) float32."""
        evidence, person = self.read([window], betas[None])
        rotmats = self.model.rotations(evidence, person)
        root = person.rest[0, 0, 0].numpy()
        return BodyParams(rotmats=rotmats[0].numpy(), betas=betas, transl=window.obs.pelvis - root)

    def read(self, windows: Sequence[Window], betas: np.ndarray) -> tuple[Evidence, Person]:
        """What the network reads of windows of one length, with a shape each: betas (B, 10)."""

        def batch(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([getattr(window.obs, name) for window in windows]))

        shape = torch.from_numpy(betas)[:, None]
        person = Person(
            rest=self.body.rest_joints(shape),
            betas=shape,
            view=torch.nn.functional.normalize(batch("pelvis"), dim=-1),
            sigma=batch("sigma"),
            valid=torch.from_numpy(np.stack([window.valid for window in windows])),
        )
        return Evidence(joints=batch("joints"), twist=batch("twist")), person


@dataclass(frozen=True)
class NikiSolver(NetworkSolver):
    """A solver whose network explains as well as solves."""

    model: Niki

    @torch.inference_mode()
    def newest(self, windows: Sequence[Window], betas: np.ndarray) -> np.ndarray:
        """Rotations (B, 24, 3, 3) of the last valid frame of each window; betas: (B, 10).

        All at once, and by one of a temporal model's two phases: the other makes neighbouring
        frames alike, and here the last frame always has the same part. On the samples that halves
        the work, errs 1 mm less and trembles 6 % more.
        """
        evidence, person = self.read(windows, betas)
        rotmats = self.model.rotations(evidence, person, both_phases=False)
        return rotmats[torch.arange(len(windows)), person.valid.sum(1) - 1].numpy()


def make_network(name: str, config: dict[str, Any]) -> Network:
    """An untrained network: of "gik" or "mlp" by their constructors' arguments, or NIKI."""
    if name == "gik":
        return GikNet(**config)
    return MlpIk(**config) if name == "mlp" else Niki(NikiConfig(**config))


def load_network(path: Path) -> Network:
    """The network whose weights and config lie in `path`; WeightsError when they do not fit."""
    config = read_config(path, "hpsvid's solvers", ("model",))
    model = make_network(config.get("solver", ""), config["model"])
    load_weights(model, path)
    return model.eval()


def load_trained(path: Path, name: str, body: Body) -> NetworkSolver:
    """The solver `name` whose network lies in `path`; WeightsError when it does not fit."""
    model = load_network(path)
    if isinstance(model, Niki):
        return NikiSolver(body, model, name)
    return NetworkSolver(body, model, name)
