"""Turn a placed body a little so that its outline and surface fall on what dense maps show.

At each look at a person: the outline of the mesh is drawn to the border of the person's mask, and
places of the surface to the cells that show them; the landmarks and the pose as it was hold. What
is changed at the looks is carried over to the frames between them. Gauss-Newton on robust costs, a
batch of looks at a time.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL, forward_kinematics
from hpsvid.common.geometry import (
    axis_angle_to_matrix,
    cross_matrix,
    matrix_to_axis_angle,
    nearest_rotation,
    project,
)
from hpsvid.common.raster import NEAR_M, edge_functions, homogeneous_px, visible_faces
from hpsvid.common.records import take
from hpsvid.common.series import chunks, interpolate
from hpsvid.motion.placing import LANDMARK_ERROR_M, REFINED_JOINTS, Marks, landmark_evidence
from hpsvid.types import Array, Camera, Observations

STEPS = 3
LOOKS = 32  # at a time: 40 MB
BORDER = 96  # cells of the outline that are drawn
BORDER_ERROR_M = 0.04  # of a mask's border from the body's outline, clothes between them
BORDER_REACH_M = 0.10  # further off, an outline is another one
ALIKE = 6.0  # cells of a border, or of a surface, that err together
KEEP_ERROR_RAD, KEEP_ERROR_M = 0.06, (0.02, 0.02, 0.05)  # of the pose and the root as they are
FAR = 3.0  # standard deviations from which robust costs let go


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Looks:
    """What is seen of one person at L looks."""

    rotmats: Tensor  # (L, 24, 3, 3)
    transl: Tensor  # (L, 3) m
    marks: Marks
    crops: Tensor  # (L, 4) x, y, side px, angle rad
    masks: Tensor  # (L, N, N) uint8
    places: Tensor  # (L, C, 3) int16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pulls:
    """Places of the surface and what they are drawn to, (L, P, ...); weight 0: not at all."""

    vertex: Tensor  # (L, P) int64
    target: Tensor  # (L, P, 2) px
    along: Tensor  # (L, P, 2) direction that counts alone, unit length; 0, 0: both
    sigma: Tensor  # (L, P) m
    weight: Tensor  # (L, P)


def align(
    body: Body, rotmats: Array, betas: Array, transl: Array, obs: Observations, camera: Camera
) -> tuple[Array, Array]:
    """Rotations (T, 24, 3, 3) and transl (T, 3) m, float32, aligned with `obs.masks` and `places`.

    betas: (10,). Without dense maps, or without a look that saw the person, as they are.
    """
    if obs.crops is None or obs.masks is None or obs.places is None:
        return rotmats, transl
    looked = np.flatnonzero(np.isfinite(obs.crops).all(1) & obs.valid)
    if len(looked) == 0:
        return rotmats, transl
    marks = landmark_evidence(obs)
    turns, moves = [], []
    for part in chunks(len(looked), LOOKS):
        at = looked[part]
        looks = _Looks(
            rotmats=nearest_rotation(torch.from_numpy(rotmats[at]).double()),
            transl=torch.from_numpy(transl[at]).double(),
            marks=take(marks, torch.from_numpy(at)),
            crops=torch.from_numpy(obs.crops[at]).double(),
            masks=torch.from_numpy(obs.masks[at]),
            places=torch.from_numpy(obs.places[at]),
        )
        turned, moved = _aligned(looks, body, betas, camera)
        turns.append(matrix_to_axis_angle(turned @ looks.rotmats.mT))
        moves.append(moved - looks.transl)
    return _carried_over(rotmats, transl, looked, torch.cat(turns), torch.cat(moves))


def _carried_over(
    rotmats: Array, transl: Array, looked: Array, turns: Tensor, moves: Tensor
) -> tuple[Array, Array]:
    """All frames changed as the looks are (L, 24, 3) rad, (L, 3) m; between two in proportion."""
    frames = np.arange(len(rotmats), dtype=np.float64)
    turn, move = (
        interpolate(frames, looked.astype(np.float64), values.numpy(), np.float64)
        for values in (turns, moves)
    )
    turned = axis_angle_to_matrix(torch.from_numpy(turn)) @ torch.from_numpy(rotmats).double()
    return turned.float().numpy(), (transl + move).astype(np.float32)


def _aligned(looks: _Looks, body: Body, betas: Array, camera: Camera) -> tuple[Tensor, Tensor]:
    K = torch.from_numpy(camera.K)
    shape = torch.from_numpy(betas)
    rest = body.rest_joints(shape).double()
    carried, carried_marks = _carried(body)
    spread = torch.tensor([KEEP_ERROR_RAD] * 3 * len(REFINED_JOINTS) + [*KEEP_ERROR_M])
    prior = 1 / spread.double() ** 2
    changed = torch.zeros(len(looks.rotmats), len(prior), dtype=torch.float64)
    turned, root = looks.rotmats, looks.transl
    rows = torch.arange(len(turned))[:, None]
    fixed = _place_pulls(looks)
    for _ in range(STEPS):
        with torch.no_grad():
            posed = body.vertices(turned.float(), shape, torch.zeros(3)).double()
            landmarks = body.landmarks(
                turned.float(), shape.expand(len(turned), -1), torch.zeros(len(turned), 3)
            ).double()
        joints, above = forward_kinematics(turned, rest)
        outline = _border_pulls(posed + root[:, None], looks, body, camera)
        pulls = _Pulls(**{
            name: torch.cat([getattr(fixed, name), getattr(outline, name)], 1)
            for name in _Pulls.__dataclass_fields__
        })  # fmt: skip
        points = torch.cat([landmarks, posed[rows, pulls.vertex]], 1)
        share = torch.cat([carried_marks.expand(len(turned), -1, -1), carried[pulls.vertex]], 1)
        arms = (points[:, :, None] - joints[:, None, REFINED_JOINTS]) * share[..., None]
        by_turns = -cross_matrix(arms).transpose(2, 3).flatten(3)
        by_root = torch.eye(3, dtype=torch.float64).expand(*by_turns.shape[:3], 3)
        J = torch.cat([by_turns, by_root], -1)
        points = points + root[:, None]
        metres = points[..., 2:] / torch.stack([K[0, 0], K[1, 1]])
        flat = torch.cat([looks.marks.image, pulls.target], 1)
        n_marks = landmarks.shape[1]
        sigma = torch.cat([torch.full((len(turned), n_marks), LANDMARK_ERROR_M), pulls.sigma], 1)
        miss = (flat - project(points, K)) * metres / sigma[..., None]
        J = J[:, :, :2] - (points[..., :2] / points[..., 2:])[..., None] * J[:, :, 2:]
        J = J / sigma[..., None, None]
        along = torch.cat([pulls.along.new_zeros(len(turned), n_marks, 2), pulls.along], 1)
        one = (along.abs().sum(-1) > 0)[..., None]
        only = (miss * along).sum(-1, keepdim=True)
        miss = torch.where(one, only * along, miss)
        J_only = (J * along[..., None]).sum(2, keepdim=True)
        J = torch.where(one[..., None], J_only * along[..., None], J)
        trust = torch.cat([looks.marks.weight, pulls.weight], 1)
        trust = trust / (1 + (miss**2).sum(-1) / FAR**2) ** 2
        normal = torch.einsum("tlia,tl,tlib->tab", J, trust, J) + torch.diag(prior)
        moment = torch.einsum("tlia,tl,tli->ta", J, trust, miss) - prior * changed
        step = torch.linalg.solve(normal, moment)
        changed = changed + step
        root = root + step[:, -3:]
        turned = _turned(turned, above, step[:, :-3].unflatten(-1, (-1, 3)))
    return turned, root


def _turned(rotmats: Tensor, above: Tensor, turns: Tensor) -> Tensor:
    """Rotations (L, 24, 3, 3) with REFINED_JOINTS turned by (L, J, 3) rad about camera axes.

    above: (L, 24, 3, 3) the joints' rotations in the camera.
    """
    out = rotmats.clone()
    matrices = axis_angle_to_matrix(turns)
    for i, joint in enumerate(REFINED_JOINTS):
        if joint == 0:
            out[:, 0] = matrices[:, i] @ out[:, 0]
        else:
            frame = above[:, SMPL.parents[joint]]
            out[:, joint] = frame.mT @ matrices[:, i] @ frame @ out[:, joint]
    return out


def _carried(body: Body) -> tuple[Tensor, Tensor]:
    """Share (V, J) of each vertex that moves with each refined joint or below; (33, J) likewise."""
    own = body.skin_weights.double().clone()
    part = body.landmark_body
    assert part.landmark_regressor is not None
    marks = part.landmark_regressor.double() @ part.skin_weights.double()
    for joint in range(SMPL.n_rotations - 1, 0, -1):
        for shares in (own, marks):
            shares[:, SMPL.parents[joint]] += shares[:, joint]
    return own[:, REFINED_JOINTS], marks[:, REFINED_JOINTS]


def _cell_to_px(crops: Tensor, cells: Tensor, count: int) -> Tensor:
    """Picture px (L, P, 2) of places (L, P, 2) in cells of crops (L, 4), `count` a side."""
    x, y, side, angle = crops.unbind(-1)
    off = (cells / count - 0.5) * side[:, None, None]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    turned = torch.stack(
        [cos * off[..., 0] - sin * off[..., 1], sin * off[..., 0] + cos * off[..., 1]], -1
    )
    return turned + torch.stack([x, y], -1)[:, None]


def _place_pulls(looks: _Looks) -> _Pulls:
    """Each kept vertex to the middle of the cell that shows it."""
    cell, vertex, doubt = looks.places.long().unbind(-1)
    count = looks.masks.shape[-1]
    middle = torch.stack([cell % count, cell // count], -1).double() + 0.5
    known = cell >= 0
    return _Pulls(
        vertex=vertex.clamp_min(0),
        target=_cell_to_px(looks.crops, middle, count),
        along=torch.zeros(*cell.shape, 2, dtype=torch.float64),
        sigma=(doubt.double() / 1000).clamp_min(0.01),
        weight=known.double() / ALIKE,
    )


def _border_pulls(posed: Tensor, looks: _Looks, body: Body, camera: Camera) -> _Pulls:
    """Vertices at the mesh's outline across it onto the border of the mask.

    posed: (L, V, 3) m, camera axes.
    """
    count = looks.masks.shape[-1]
    size = 2 * camera.K[:2, 2]
    rows = [
        _border_of(posed[i].numpy(), looks.masks[i].numpy(), looks.crops[i].numpy(), body, camera)
        for i in range(len(posed))
    ]
    vertex, middle, along, off = (np.stack(part) for part in zip(*rows, strict=True))
    side, angle = looks.crops[:, 2], looks.crops[:, 3]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    normal = torch.from_numpy(along)
    normal = torch.stack(
        [cos * normal[..., 0] - sin * normal[..., 1], sin * normal[..., 0] + cos * normal[..., 1]],
        -1,
    )
    at = _cell_to_px(looks.crops, torch.from_numpy(middle), count)
    by = torch.from_numpy(off) * (side / count)[:, None]  # px outwards from the mask's border
    vertices = torch.from_numpy(vertex)
    depth = posed[torch.arange(len(posed))[:, None], vertices.clamp_min(0), 2]
    metres = depth / float(camera.K[0, 0])
    far = by.abs() * metres > BORDER_REACH_M
    edge = 0.02 * side[:, None]
    inside = ((at > edge[..., None]) & (at < torch.from_numpy(size) - edge[..., None])).all(-1)
    current = project(posed[torch.arange(len(posed))[:, None], vertices.clamp_min(0)],
                      torch.from_numpy(camera.K))  # fmt: skip
    cell = (side / count)[:, None] * metres / 2
    return _Pulls(
        vertex=vertices.clamp_min(0),
        target=current - by[..., None] * normal,
        along=normal,
        sigma=(BORDER_ERROR_M**2 + cell**2).sqrt(),
        weight=((vertices >= 0) & ~far & inside).double() / ALIKE,
    )


def _border_of(
    posed: Array, mask: Array, crop: Array, body: Body, camera: Camera
) -> tuple[Array, Array, Array, Array]:
    """Of one look: BORDER cells of the mesh's outline: a vertex (-1: none), the cell's middle,
    the way outwards from the mask (unit length, crop axes) and how far outside its border, cells.
    """
    count = len(mask)
    x, y, side, angle = crop
    scale = count / side
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]) * [[scale], [scale], [1]]
    turn[:2, 2] = count / 2 - turn[:2, :2] @ [x, y]
    image = homogeneous_px(posed, turn @ camera.K)
    edges, scales, boxes = edge_functions(image, body.faces, count, count, NEAR_M, True)
    seen = visible_faces(edges, scales, boxes, (0, 0, count, count), 1, NEAR_M)[0][..., 0]
    shown = (seen >= 0).astype(np.uint8)
    inner = cv2.erode(shown, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT,
                      borderValue=1)  # fmt: skip
    cells = np.argwhere((shown > 0) & (inner == 0))
    vertex, middle = np.full(BORDER, -1), np.zeros((BORDER, 2))
    along, off = np.zeros((BORDER, 2)), np.zeros(BORDER)
    person = (mask > 127).astype(np.uint8)
    if len(cells) == 0 or not person.any() or person.all():
        return vertex, middle, along, off
    far = cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    far -= cv2.distanceTransform(person, cv2.DIST_L2, 5)
    far = cv2.GaussianBlur(far, (0, 0), 1.0)
    slope = np.stack([np.gradient(far, axis=axis) for axis in (1, 0)], -1)
    cells = cells[np.linspace(0, len(cells) - 1, min(len(cells), BORDER)).astype(int)]
    r, c = cells.T
    n = len(cells)
    way = slope[r, c]
    length = np.linalg.norm(way, axis=1)
    vertex[:n] = np.where(length > 0.3, body.faces[seen[r, c], 0], -1)
    middle[:n] = cells[:, ::-1] + 0.5
    along[:n] = way / np.maximum(length, 1e-6)[:, None]
    off[:n] = far[r, c] + 0.5  # the outline's cells lie half a cell inside it
    return vertex, middle, along, off
