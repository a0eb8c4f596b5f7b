"""How a person's surface departs from the body: read off the clip by dense maps and UV inpainting.

The posed body of a finished motion takes the place of inverse kinematics in Best of Both Worlds,
Sec. 3.3; what the completed location maps of some frames say together corrects the shape, and what
no shape can say is kept as offsets of the vertices.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.crop import MARGIN, Crop
from hpsvid.backbone.dense_maps import LEAST_CELLS, DenseMaps
from hpsvid.backbone.dense_network import turns_of
from hpsvid.backbone.uv_network import UvNet, load_uv
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, forward_kinematics
from hpsvid.common.threads import one_thread, prefetch
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError
from hpsvid.motion.lock import reposed
from hpsvid.pipeline.uv_chain import Posed, UvChain
from hpsvid.types import Array, BodyParams, Camera, Motion, Person, Surface
from hpsvid.video.reader import read_frames

LOOKS = 24  # frames of a person that are looked at, evenly spread
NAME = "uv"
OFFSET_M = 0.03  # spread of what no shape can say; against it the shape is fitted

Progress = Callable[[str, int, int | None], None]


@one_thread()
def with_surface(motion: Motion, body: Body, progress: Progress) -> Motion:
    """The motion with everybody's shape corrected, and offsets of the surface beside it.

    Who is seen in no frame stays as they are. progress: called as progress(stage, frames done,
    frames in all). Raises InputError when the clip is not there or not the motion's, or the body is
    not the free one.
    """
    if motion.clip.blank or not motion.clip.path.exists():
        raise InputError(
            f"{motion.clip.path}: the clip of this result is not there, and surfaces are read off "
            "it; say where it is with `hpsvid surface RESULT --video CLIP`"
        )
    reader = _Reader(body, motion.camera)
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, person in enumerate(motion.people):
        rows = np.flatnonzero(person.valid)
        for row in rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKS)).astype(int)]:
            wanted[int(person.track.frame_index[row])].append((number, int(row)))
    found: dict[int, list[Array]] = defaultdict(list)
    last = max(wanted, default=-1)
    with closing(prefetch(read_frames(motion.clip))) as chunks:
        for frames in chunks if wanted else ():
            for rgb, index in zip(frames.rgb, frames.index.tolist(), strict=True):
                for number, row in wanted.pop(index, ()):
                    offsets = reader(rgb, motion.people[number], row)
                    if offsets is not None:
                        found[number].append(offsets)
            progress("look at people", min(int(frames.index[-1]), last) + 1, last + 1)
            if int(frames.index[-1]) >= last:
                break
    if wanted:
        raise InputError(
            f"{motion.clip.path}: ends before frame {last}, which the motion was made from; give "
            "the clip that the motion came from"
        )
    people = list(motion.people)
    for number, offsets in found.items():
        people[number] = _corrected(people[number], np.median(offsets, 0), body, motion.camera)
    return replace(motion, people=tuple(people))


class _Reader:
    """Reads off a frame how a person's surface departs from their body."""

    def __init__(self, body: Body, camera: Camera) -> None:
        self._body, self._camera = body, camera
        self._chain, self._maps = UvChain(body), DenseMaps(body, threads=1)
        self._network: UvNet = load_uv(weights_path(NAME))

    @torch.no_grad()
    def __call__(self, rgb: Array, person: Person, row: int) -> Array | None:
        """Offsets (V, 3) m of the unbent body; None where hardly any of the person shows."""
        crop = _crop_along(person.joints2d[row])
        answer = self._maps.maps(crop.cut(rgb)[None])
        if float(answer.mask.sigmoid().sum()) < LEAST_CELLS:
            return None
        posed = self._posed(person, row, crop)
        case = self._chain.case(self._maps.joints(answer), answer, posed)
        maps = self._network.complete(case, self._chain.space)
        moved = self._chain.surface(maps, case, posed) - posed.vertices
        turned = forward_kinematics(posed.rotmats, self._body.rest_joints(posed.betas))[1]
        bent = (self._body.skin_weights @ turned.flatten(-2)).unflatten(-1, (3, 3))
        return (bent.mT @ moved[..., None])[0, ..., 0].numpy()

    def _posed(self, person: Person, row: int, crop: Crop) -> Posed:
        """The person's own body in the crop's view."""
        body, params = self._body, person.body
        rotmats = torch.from_numpy(params.rotmats[row : row + 1].copy())
        betas = torch.from_numpy(params.betas)[None]
        rotmats[:, 0] = turns_of([crop], self._camera.K).mT @ rotmats[:, 0]
        none = torch.zeros(1, 3)
        pelvis = body.rest_joints(betas)[:, :1]
        return Posed(
            turn=rotmats[:, 0].mT,
            rotmats=rotmats,
            betas=betas,
            joints=body.joints(rotmats, betas, none) - pelvis,
            vertices=body.vertices(rotmats, betas, none) - pelvis,
        )


def _crop_along(flat: Array) -> Crop:
    """A crop along the body of joints (29, 2) px, as the landmark network asks for them."""
    hips = flat[[JOINT["left_hip"], JOINT["right_hip"]]].mean(0)
    up = flat[[JOINT["left_shoulder"], JOINT["right_shoulder"]]].mean(0) - hips
    reach = float(np.linalg.norm(flat - hips, axis=1).max())
    angle = float(np.arctan2(up[0], -up[1]))
    return Crop(x=float(hips[0]), y=float(hips[1]), side=max(2 * MARGIN * reach, 2), angle=angle)


def _corrected(person: Person, offsets: Array, body: Body, camera: Camera) -> Person:
    """The person with the shape that offsets (V, 3) m ask for, and the rest of them kept."""
    betas = torch.from_numpy(person.body.betas)
    change, left = split_offsets(torch.from_numpy(offsets), body, len(betas))
    shape = (betas + change).numpy()
    old, new = (body.rest_joints(b)[0] for b in (betas, betas + change))
    params = BodyParams(
        rotmats=person.body.rotmats,
        betas=shape,
        transl=person.body.transl + (old - new).numpy(),  # the pelvis stays where it is
    )
    return replace(reposed(person, params, body, camera), surface=Surface(offsets=left.numpy()))


def split_offsets(offsets: Tensor, body: Body, count: int) -> tuple[Tensor, Tensor]:
    """The change of `count` betas that offsets (V, 3) m ask for, and what is left of them.

    Least squares against OFFSET_M of other differences, which go together over all of the surface,
    with betas' spread of 1.
    """
    dirs = body.shape_dirs[..., :count].flatten(0, 1).double()
    normal = dirs.T @ dirs / len(body.template) + OFFSET_M**2 * torch.eye(count).double()
    asked = dirs.T @ offsets.flatten().double() / len(body.template)
    change = torch.linalg.solve(normal, asked).float()
    return change, offsets - (body.shape_dirs[..., :count] @ change)
