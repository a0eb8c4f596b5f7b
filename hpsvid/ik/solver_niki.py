"""NIKI's networks and the baselines behind the `Solver` protocol."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsvid.body import Body
from hpsvid.ik.gik import GikNet
from hpsvid.ik.mlp_ik import MlpIk
from hpsvid.ik.niki import Evidence, Niki, NikiConfig, Person
from hpsvid.ik.weights import load_parameters, read_config
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

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve a window for one person's shape `betas` (10,) float32."""
        obs = window.obs
        shape = torch.from_numpy(betas)[None, None]
        rest = self.body.rest_joints(shape)
        pelvis = torch.from_numpy(obs.pelvis)[None]
        person = Person(
            rest=rest,
            betas=shape,
            view=torch.nn.functional.normalize(pelvis, dim=-1),
            sigma=torch.from_numpy(obs.sigma)[None],
            valid=torch.from_numpy(window.valid)[None],
        )
        with torch.inference_mode():
            evidence = Evidence(
                joints=torch.from_numpy(obs.joints)[None], twist=torch.from_numpy(obs.twist)[None]
            )
            rotmats = self.model.rotations(evidence, person)
        return BodyParams(
            rotmats=rotmats[0].numpy(), betas=betas, transl=obs.pelvis - rest[0, 0, 0].numpy()
        )


@dataclass(frozen=True)
class NikiSolver(NetworkSolver):
    """A solver whose network explains as well as solves."""

    model: Niki


def make_network(name: str, config: dict[str, Any]) -> Network:
    """An untrained network: of "gik" or "mlp" by their constructors' arguments, or NIKI."""
    if name == "gik":
        return GikNet(**config)
    return MlpIk(**config) if name == "mlp" else Niki(NikiConfig(**config))


def load_network(path: Path) -> Network:
    """The network whose weights and config lie in `path`; WeightsError when they do not fit."""
    config = read_config(path)
    model = make_network(config.get("solver", ""), config["model"])
    load_parameters(model, path)
    return model.eval()


def load_trained(path: Path, name: str, body: Body) -> NetworkSolver:
    """The solver `name` whose network lies in `path`; WeightsError when it does not fit."""
    model = load_network(path)
    if isinstance(model, Niki):
        return NikiSolver(body, model, name)
    return NetworkSolver(body, model, name)
