"""NIKI's networks behind the `Solver` protocol."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hpsvid.body import Body
from hpsvid.ik.niki import Evidence, Niki, NikiConfig, Person, posed_joints
from hpsvid.ik.weights import load_parameters, read_config
from hpsvid.types import Array, BodyParams, Window

WINDOW_FRAMES = 64  # of the temporal model, twice what it is trained on


@dataclass(frozen=True)
class NikiSolver:
    """Solves a window with a trained network; deterministic, padding never changes a result."""

    body: Body
    model: Niki
    name: str  # as in `hpsvid.ik.SOLVERS`

    @property
    def window_length(self) -> int | None:
        """Frames at a time; the frame-based models take a whole track at once."""
        return WINDOW_FRAMES if self.model.config.attention else None

    def __call__(self, window: Window, betas: np.ndarray) -> BodyParams:
        """Solve a window for one person's shape `betas` (10,) float32."""
        return self.judge(window, betas)[0]

    def judge(self, window: Window, betas: np.ndarray) -> tuple[BodyParams, Array]:
        """As calling it, and how far (T, 29) m each joint's evidence lies from the solved pose.

        That distance is the error which the network found in the evidence.
        """
        obs = window.obs
        shape = torch.from_numpy(betas)[None, None]
        rest = self.body.rest_joints(shape)
        joints = torch.from_numpy(obs.joints)[None]
        pelvis = torch.from_numpy(obs.pelvis)[None]
        person = Person(
            rest=rest,
            betas=shape,
            view=torch.nn.functional.normalize(pelvis, dim=-1),
            sigma=torch.from_numpy(obs.sigma)[None],
            valid=torch.from_numpy(window.valid)[None],
        )
        with torch.inference_mode():
            evidence = Evidence(joints=joints, twist=torch.from_numpy(obs.twist)[None])
            rotmats = self.model.rotations(evidence, person)
            posed = posed_joints(rotmats, rest.expand_as(joints))
        params = BodyParams(
            rotmats=rotmats[0].numpy(), betas=betas, transl=obs.pelvis - rest[0, 0, 0].numpy()
        )
        return params, (posed - joints)[0].norm(dim=-1).numpy()


def load_niki(path: Path, name: str, body: Body) -> NikiSolver:
    """The solver whose weights and config lie in `path`; WeightsError when they do not fit."""
    model = Niki(NikiConfig(**read_config(path)["model"]))
    load_parameters(model, path)
    return NikiSolver(body, model.eval(), name)
