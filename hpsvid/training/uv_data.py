"""Examples that the UV inpainting network is trained on: maps of the picture and the truth.

Of rendered crops (`tools.people.dense`) with the dense network's own answers; and, in any number
and without a picture, of captured motion before random cameras, whose true maps are damaged: parts
of them covered, joints misplaced and the surface around them, places of the surface confused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hpsvid.backbone.crop import MARGIN, SIDE, Crop
from hpsvid.backbone.dense_maps import DenseMaps
from hpsvid.backbone.dense_network import CELLS, DenseAnswer, turns_of
from hpsvid.backbone.uv_network import UvCase
from hpsvid.body.model import Body
from hpsvid.body.parts import LSP_JOINTS
from hpsvid.body.skeleton import JOINT
from hpsvid.body.uv_maps import unwrapped
from hpsvid.common.geometry import axis_angle_to_matrix, image_of, matrix_to_axis_angle
from hpsvid.common.raster import (
    corner_weights,
    edge_functions,
    homogeneous_px,
    visible_faces,
)
from hpsvid.common.records import join, take
from hpsvid.mocap.noise import observe, random_noise
from hpsvid.mocap.sources import MotionSource
from hpsvid.mocap.takes import SIZE, chimera, choose_take
from hpsvid.pipeline.uv_chain import UvChain
from hpsvid.training.dense_data import (
    DenseInput,
    DenseTruth,
    cover,
    places_of,
    rotations_of,
    truth_of_shard,
)
from hpsvid.types import Array

BATCH = 8  # crops whose examples are made at once
WINDOW = 4  # frames of a motion, of which one is taken
SPREADS = (0.7, 3.0)  # range of the joints' errors over those of a lifter; dense maps err more
SURFACE_M = 0.12  # most error of a place on the T-pose
LOCATION_M = 0.06  # the same of a cell's location beyond its joint's
SMOOTH = 8  # cells a side over which such errors vary
SHOWS = 6.0  # logit of a cell of a simulated mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UvExamples:
    """B examples; metres from the pelvis, in the axes of their cases. M: fine, N: coarse texels."""

    case: UvCase
    location: Tensor  # (B, M, 3) true
    joints: Tensor  # (B, 14, 3) true
    joints2d: Tensor  # (B, 14, 2) true, sides of the crop
    camera: Tensor  # (B, 3) sides of the crop per m of the view's x and y, and the pelvis' place
    place: Tensor  # (B, N, 3) where in the crop a texel shows, sides, and how surely it does

    def __len__(self) -> int:
        return len(self.location)


def weak_camera(joints: Tensor, flat: Tensor) -> Tensor:
    """Scale and offset (B, 3) that take x and y of joints (B, J, 3) m nearest to `flat` (B, J, 2).

    The paper's network predicts them; here they follow from its joints in space and picture.
    """
    x, middle = joints[..., :2], joints[..., :2].mean(1, keepdim=True)
    away = flat - flat.mean(1, keepdim=True)
    scale = ((x - middle) * away).sum((1, 2)) / (x - middle).square().sum((1, 2)).clamp_min(1e-6)
    offset = flat.mean(1) - scale[:, None] * middle[:, 0]
    return torch.cat([scale[:, None], offset], 1)


def in_crop(points: Tensor, turn: Tensor, camera: Tensor) -> Tensor:
    """Places (B, P, 2) in the crop of points (B, P, 3) m in a case's axes."""
    return (points @ turn)[..., :2] * camera[:, None, :1] + camera[:, None, 1:]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looked:
    """Looks at rows of a shard: its arrays, what is true and what the dense network reads."""

    arrays: Mapping[str, Array]
    truth: DenseTruth
    seen: DenseInput | None = None
    mirrored: bool = False  # in a mirror; the arrays are not


def examples_of(look: Looked, answer: DenseAnswer, joints: Tensor, chain: UvChain) -> UvExamples:
    """The examples of looks of which the network told these maps and joints (B, 29, 3) m."""
    body, grid, arrays, truth = chain.body, chain.space.coarse, look.arrays, look.truth
    posed = chain.posed(joints, answer)
    crops = places_of(arrays)
    rotmats = axis_angle_to_matrix(torch.from_numpy(arrays["rotvec"]).float())
    betas = torch.from_numpy(arrays["betas"])
    vertices = body.vertices(rotmats, betas, torch.zeros(len(crops), 3))
    vertices = (vertices - body.rest_joints(betas)[:, :1]) @ turns_of(crops, arrays["K"])
    if look.mirrored:
        vertices = vertices[:, chain.space.mirror] * torch.tensor([-1.0, 1, 1])
    back = posed.turn.mT
    middle = (torch.arange(CELLS) + 0.5) / CELLS
    cells = torch.stack([middle.expand(CELLS, -1), middle[:, None].expand(-1, CELLS)])
    place = unwrapped(
        cells.expand(len(crops), -1, -1, -1), truth.surface.float(), truth.mask.float(), grid
    )
    return UvExamples(
        case=chain.case(joints, answer, posed),
        location=chain.space.fine.of_vertices(vertices) @ back,
        joints=truth.joints[:, LSP_JOINTS] @ back,
        joints2d=truth.joints2d[:, LSP_JOINTS],
        camera=weak_camera(answer.joints[:, LSP_JOINTS], answer.joints2d[:, LSP_JOINTS]),
        place=place,
    )


def rendered_examples(looks: Iterable[Looked], maps: DenseMaps, chain: UvChain) -> UvExamples:
    """Examples of rendered crops, with the dense network's own answers."""
    made = []
    for look in looks:
        with torch.no_grad():
            answer = maps.model(look.seen)
        made.append(_small(examples_of(look, answer, maps.joints(answer), chain)))
    return join(*made)


def simulated_examples(
    rng: np.random.Generator, source: MotionSource, chain: UvChain, count: int
) -> UvExamples:
    """Examples without a picture, of recombined motion before random cameras."""
    made = []
    for start in range(0, count, BATCH):
        arrays = _shots(rng, source, chain.body, min(BATCH, count - start))
        truth = truth_of_shard(arrays, chain.body)
        answer = damaged(rng, arrays, truth, chain.body)
        look = Looked(arrays=arrays, truth=truth)
        made.append(_small(examples_of(look, answer, answer.joints, chain)))
    return join(*made)


def _small(examples: UvExamples) -> UvExamples:
    """The same in half the memory."""
    half = {name: getattr(examples.case, name).half() for name in ("seen", "posed", "posed_fine")}
    return replace(
        examples, case=replace(examples.case, **half), location=examples.location.half(),
        place=examples.place.half(),
    )  # fmt: skip


def whole(examples: UvExamples, rows: Tensor) -> UvExamples:
    """Some rows of examples, as float32."""
    some = take(examples, rows)
    case = {name: getattr(some.case, name).float() for name in ("seen", "posed", "posed_fine")}
    return replace(
        some, case=replace(some.case, **case), location=some.location.float(),
        place=some.place.float(),
    )  # fmt: skip


def _shots(
    rng: np.random.Generator, source: MotionSource, body: Body, count: int
) -> dict[str, Array]:
    """Rows as `tools.people.dense` has them, of bare bodies without a picture."""
    rows = []
    while len(rows) < count:
        shot = choose_take(rng, lambda rng: chimera(rng, source), body)
        t = int(rng.integers(len(shot.params)))
        rotmats, transl = shot.params.rotmats[t], shot.params.transl[t]
        pose = [torch.from_numpy(a)[None] for a in (rotmats, shot.params.betas, transl)]
        flat = image_of(body.joints(*pose)[0].numpy(), shot.K)
        crop = _crop_along(rng, flat)
        face, weights = _visible(body.vertices(*pose)[0].numpy(), shot.K, crop, body.faces)
        if (face >= 0).sum() < 60:  # as tools.people.dense asks
            continue
        rows.append({
            "face": face,
            "weights": weights,
            "crop": np.array([crop.x, crop.y, crop.side, crop.angle], np.float32),
            "rotvec": matrix_to_axis_angle(pose[0][0]).numpy().astype(np.float32),
            "betas": shot.params.betas,
            "transl": transl,
            "K": shot.K.astype(np.float32),
            "joint_state": np.zeros(len(flat), np.uint8),
        })  # fmt: skip
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _crop_along(rng: np.random.Generator, flat: Array) -> Crop:
    """About the crop that the landmark network asks for of joints (29, 2) px."""
    hips = flat[[JOINT["left_hip"], JOINT["right_hip"]]].mean(0)
    up = flat[[JOINT["left_shoulder"], JOINT["right_shoulder"]]].mean(0) - hips
    reach = np.linalg.norm(flat - hips, axis=1).max()
    return Crop(
        x=float(hips[0] + 0.05 * reach * rng.normal()),
        y=float(hips[1] + 0.05 * reach * rng.normal()),
        side=float(max(2 * MARGIN * reach * np.exp(0.1 * rng.normal()), 2)),
        angle=float(np.arctan2(up[0], -up[1]) + 0.1 * rng.normal()),
    )


def _visible(vertices: Array, K: Array, crop: Crop, faces: Array) -> tuple[Array, Array]:
    """The face (64, 64) int16 that each cell's middle sees, -1 = none, and uint8 weights there."""
    into = np.eye(3)
    matrix = crop.matrix()
    into[:2, :2] = np.linalg.inv(matrix[:, :2])
    into[:2, 2] = -into[:2, :2] @ matrix[:, 2]
    cell = CELLS / SIDE
    image = homogeneous_px(vertices, np.diag([cell, cell, 1]) @ into @ K)
    edges, scale, boxes = edge_functions(image, faces, CELLS, CELLS, 0.05, True)
    seen = visible_faces(edges, scale, boxes, (0, 0, CELLS, CELLS), 1, 0.05)[0][..., 0]
    middles = (np.moveaxis(np.indices(seen.shape), 0, -1)[..., ::-1] + 0.5) / cell
    place = crop.to_image(middles)
    seen[~((place >= 0) & (place < SIZE)).all(-1)] = -1
    weights = np.zeros((CELLS, CELLS, 2), np.uint8)
    for row, column in np.argwhere(seen >= 0):
        told = corner_weights(edges[seen[row, column]], column + 0.5, row + 0.5)
        weights[row, column] = np.floor(np.clip(told[:2], 0, 1) * 255)
    return seen.astype(np.int16), weights


def damaged(
    rng: np.random.Generator, arrays: Mapping[str, Array], truth: DenseTruth, body: Body
) -> DenseAnswer:
    """What a dense network that errs might tell of rows whose maps are true."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    joints, sigma, twist = _misplaced(rng, arrays, truth, body, generator)
    shown = truth.mask.numpy().copy()
    for row in shown:
        if rng.random() < 0.6:
            covered = np.zeros((CELLS, CELLS), np.uint8)
            for _ in range(rng.integers(1, 4)):
                cover(rng, None, covered)
            row &= covered == 0
    rows = torch.arange(len(truth))[:, None, None]
    away = (joints - truth.joints)[:, LSP_JOINTS][rows, truth.part.long()].permute(0, 3, 1, 2)

    def smooth(most: float) -> Tensor:
        size = most * torch.rand(len(truth), 1, 1, 1, generator=generator)
        rough = torch.randn(len(truth), 3, SMOOTH, SMOOTH, generator=generator)
        return size * interpolate(rough, CELLS, mode="bilinear", align_corners=False)

    location = truth.location.float() + away + smooth(LOCATION_M)
    joint = truth.joint_map() + away + smooth(LOCATION_M)
    betas = 0.6 * truth.betas + 0.6 * torch.randn(truth.betas.shape, generator=generator)
    return DenseAnswer(
        mask=torch.from_numpy(np.where(shown, SHOWS, -SHOWS)).float(),
        surface=truth.surface.float() + smooth(SURFACE_M),
        location=location,
        joint=joint,
        displacement=truth.location.float() - truth.joint_map() + smooth(LOCATION_M),
        spread=torch.full(truth.mask.shape, 0.1),
        joints=joints,
        joints2d=truth.joints2d,
        sigma=sigma,
        twist=twist,
        betas=betas,
    )


def _misplaced(
    rng: np.random.Generator, arrays: Mapping[str, Array], truth: DenseTruth, body: Body,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Joints (B, 29, 3) m as a lifter would misplace them, or further; sigmas; twists."""
    rotmats = rotations_of(arrays)
    rest = body.rest_joints(truth.betas)[:, None]
    view = torch.tensor([0.0, 0, 1]).expand(len(rotmats), 1, 3)
    up = torch.tensor([0.0, -1, 0])
    noise = random_noise(truth.joints[:, None], view, up, generator)
    evidence, reported = observe(rotmats[:, None], rest, view, noise, generator)
    low, high = np.log(SPREADS)
    factor = np.exp(rng.uniform(low, high, (len(rotmats), 1)))
    factor = torch.from_numpy(factor.astype(np.float32))
    away = (evidence.joints[:, 0] - truth.joints) * factor[..., None]
    return truth.joints + away, reported[:, 0] * factor, evidence.twist[:, 0]


def batches_of(examples: UvExamples, size: int, seed: int) -> Iterator[UvExamples]:
    """Endless random batches; in half of the rows a piece of what is seen is hidden."""
    rng = np.random.default_rng(seed)
    while True:
        batch = whole(examples, torch.from_numpy(rng.integers(len(examples), size=size)))
        seen = batch.case.seen
        for row in np.flatnonzero(rng.random(size) < 0.5):
            about = batch.case.posed[row, int(rng.integers(seen.shape[1]))]
            away = (batch.case.posed[row] - about).norm(dim=-1)
            seen[row, away < rng.uniform(0.1, 0.5)] = 0
        yield batch
