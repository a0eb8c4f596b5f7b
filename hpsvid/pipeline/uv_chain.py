"""From dense maps to a whole surface: inverse kinematics, then UV inpainting.

Best of Both Worlds (Wang et al., 2022), Sec. 3.2-3.3: joints of the maps go through GIK-Net; the
posed body and the maps, both laid out in UV space, go through the inpainting network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpsvid.backbone.dense_network import DenseAnswer
from hpsvid.backbone.uv_network import UvCase, UvMaps
from hpsvid.body.model import Body
from hpsvid.body.parts import LSP_JOINTS
from hpsvid.body.uv_maps import UvSpace, unwrapped
from hpsvid.common.geometry import unit
from hpsvid.common.weights import weights_path
from hpsvid.ik.gik import GikNet
from hpsvid.ik.networks import load_network
from hpsvid.ik.tensors import Evidence, Person, posed_joints, to_rest_axes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posed:
    """The bodies that inverse kinematics made of B crops' joints, in the view's axes."""

    turn: Tensor  # (B, 3, 3) from the view's axes to about the rest body's
    rotmats: Tensor  # (B, 24, 3, 3)
    betas: Tensor  # (B, 10)
    joints: Tensor  # (B, 29, 3) m from the pelvis
    vertices: Tensor  # (B, V, 3) m from the pelvis


class UvChain:
    """GIK-Net and UV space. Raises WeightsError when a file is missing, InputError for a body
    other than the free one.
    """

    def __init__(self, body: Body) -> None:
        network = load_network(weights_path("gik"))
        assert isinstance(network, GikNet)
        self.body, self.space, self._gik = body, UvSpace(body), network

    @torch.no_grad()
    def posed(self, joints: Tensor, answer: DenseAnswer) -> Posed:
        """The bodies of joints (B, 29, 3) m that an answer's sigmas, twists and betas go with."""
        rest = self.body.rest_joints(answer.betas)
        person = Person(
            rest=rest[:, None],
            betas=answer.betas[:, None],
            view=torch.tensor([0.0, 0, 1]).expand(len(joints), 1, 3),
            sigma=answer.sigma[:, None],
            valid=torch.ones(len(joints), 1, dtype=torch.bool),
        )
        evidence = Evidence(joints=joints[:, None], twist=unit(answer.twist)[:, None])
        turn = to_rest_axes(evidence, person, framewise=True)[0][:, 0]
        rotmats = self._gik.rotations(evidence, person)[:, 0]
        vertices = self.body.vertices(rotmats, answer.betas, torch.zeros(len(joints), 3))
        return Posed(
            turn=turn,
            rotmats=rotmats,
            betas=answer.betas,
            joints=posed_joints(rotmats, rest),
            vertices=vertices - rest[:, :1],  # the root joint turns about itself
        )

    @torch.no_grad()
    def case(self, joints: Tensor, answer: DenseAnswer, posed: Posed) -> UvCase:
        """What the inpainting network reads."""
        space, back = self.space, posed.turn.mT
        maps = torch.cat([answer.location, answer.joint, answer.displacement], 1)
        seen = unwrapped(maps, answer.surface, answer.mask.sigmoid(), space.coarse)
        turned = [part @ back for part in seen[..., :9].split(3, -1)]
        return UvCase(
            turn=posed.turn,
            seen=torch.cat([*turned, seen[..., 9:]], -1),
            posed=space.coarse.of_vertices(posed.vertices) @ back,
            posed_fine=space.fine.of_vertices(posed.vertices) @ back,
            joints=posed.joints[:, LSP_JOINTS] @ back,
            seen_joints=joints[:, LSP_JOINTS] @ back,
            sigma=answer.sigma[:, LSP_JOINTS],
        )

    @torch.no_grad()
    def surface(self, maps: UvMaps, case: UvCase, posed: Posed) -> Tensor:
        """The completed surface (B, V, 3) m, in the view's axes.

        The posed body's vertices, each moved as the location map moves its place: the map is too
        coarse for fingers and faces.
        """
        moved = self.space.at_vertices(maps.location - case.posed_fine)
        return posed.vertices + moved @ case.turn
