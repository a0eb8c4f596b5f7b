"""The network that reads dense maps off a crop: what of the body each cell shows, and where it is.

Best of Both Worlds (Wang et al., 2022), Sec. 3.1: an encoder-decoder whose maps lie on the picture.
For each cell of 64 x 64: whether the person shows, which place of the body's surface (a point of
its T-pose, which is continuous where texture coordinates have seams), where that place is, where
its part's joint is, and the way between the two. Beside them, from 16 x 16 cells: 29 joints in the
picture and in space, by attention over the cells' votes, twists and shape.

The encoder is the landmark network, frozen: two of its inner maps, its heatmaps, and its landmarks,
which joints start from; or layers of this network's own over the crop's pixels; or both.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hpsvid.backbone.crop import Crop
from hpsvid.backbone.inner_maps import CLAMP, N_CHANNELS
from hpsvid.backbone.lifter_network import view_turn
from hpsvid.body.parts import LSP_JOINTS, PART_JOINTS
from hpsvid.common.checkpoints import load_weights, read_config, save_weights
from hpsvid.types import N_BETAS, N_JOINTS, N_LANDMARKS, N_TWISTS, Array

CELLS = 64  # a side of the maps
COARSE = 16  # a side of the inner maps and of the joints' votes
HEATMAPS, HEAT_CELLS = 39, 32  # of the landmark network's, and a side of them as they are read
MARK = 7  # numbers of a landmark: 2D, 3D, visibility, presence
PIXELS = 128  # a side of the picture that the network's own layers read
MAPS = {"mask": 1, "surface": 3, "location": 3, "joint": 3, "displacement": 3, "spread": 1}
VOTES = {"attention": 1, "place": 2, "joint": 3, "spread": 1}  # of each joint
SIGMA_RANGE_M = (0.01, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseConfig:
    """Size of the network; stored in the checkpoint's metadata."""

    trunk: bool = True  # the landmark network is read
    pixels: bool = True  # the crop's pixels are read
    width: int = 96  # channels at 16 x 16; half at 32 x 32, a quarter at 64 x 64
    blocks: int = 3  # at 16 x 16; half as many at 32 x 32
    mixes: bool = False  # a cell's place starts from a mixture of the joints, its joint from the 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseInput:
    """What the network reads of N crops; what its config leaves out is not read."""

    inner: Tensor  # (N, 352, 16, 16) the landmark network's inner maps
    heat: Tensor  # (N, 39, 32, 32) its heatmaps, chances in 0..1
    marks: Tensor  # (N, 33, 7) 2D in sides of the crop, 3D in m, visibility and presence
    pixels: Tensor  # (N, 3, 128, 128) in 0..1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseAnswer:
    """What the network says of N crops; points in metres in the view's axes, from the pelvis.

    The view looks through the crop's middle, with the crop's up; see `turns_of`.
    """

    mask: Tensor  # (N, 64, 64) logit of showing the person
    surface: Tensor  # (N, 3, 64, 64) m, place of the T-pose
    location: Tensor  # (N, 3, 64, 64) m of that place
    joint: Tensor  # (N, 3, 64, 64) m of its part's joint
    displacement: Tensor  # (N, 3, 64, 64) m from that joint to the place
    spread: Tensor  # (N, 64, 64) m, standard deviation per axis of the location
    joints: Tensor  # (N, 29, 3) m
    joints2d: Tensor  # (N, 29, 2) sides of the crop, from its top-left corner
    sigma: Tensor  # (N, 29) m, standard deviation per axis
    twist: Tensor  # (N, 23, 2) cos and sin, length not 1
    betas: Tensor  # (N, 10)


def turns_of(crops: list[Crop], K: Array) -> Tensor:
    """Rotations (N, 3, 3) from the views of crops to camera axes; K: (3, 3) or (N, 3, 3) px."""
    middle = np.array([[crop.x, crop.y, 1] for crop in crops])
    ray = np.linalg.solve(np.broadcast_to(K, (len(crops), 3, 3)), middle[..., None])[..., 0]
    lean = torch.tensor([crop.angle for crop in crops], dtype=torch.float32)
    return view_turn(torch.from_numpy(ray).float(), lean)


class Block(nn.Module):
    """A depthwise convolution, then two layers over the channels, with a residual.

    ConvNeXt's block (Liu et al., CVPR 2022); reach: cells each way that the convolution reads. A
    CPU is quick at 1.
    """

    def __init__(self, width: int, reach: int = 1) -> None:
        super().__init__()
        self.along = nn.Conv2d(width, width, 2 * reach + 1, padding=reach, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.across = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1)
        )

    def forward(self, cells: Tensor) -> Tensor:
        """Cells (N, C, H, W)."""
        return cells + self.across(self.norm(self.along(cells)))


def halved(n_in: int, n_out: int) -> nn.Module:
    """A convolution to half the resolution."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.GroupNorm(1, n_out), nn.GELU()
    )


class DenseNet(nn.Module):
    """DenseInput in, DenseAnswer out."""

    def __init__(self, config: DenseConfig) -> None:
        super().__init__()
        self.config = config
        w1, w2, w4 = config.width, config.width // 2, config.width // 4
        self.mean = nn.Buffer(torch.zeros(N_CHANNELS))  # of the inner maps
        self.scale = nn.Buffer(torch.ones(N_CHANNELS))
        if config.trunk:
            self.enter = nn.Conv2d(N_CHANNELS, w1, 1)
            self.enter_middle = nn.Conv2d(HEATMAPS, w2, 1)
            # joints as sums of landmarks: where they start from
            self.carry2d = nn.Parameter(torch.zeros(N_JOINTS, N_LANDMARKS))
            self.carry3d = nn.Parameter(torch.zeros(N_JOINTS, N_LANDMARKS))
        if config.pixels:
            deep = 0 if config.trunk else 2  # without the trunk it has all to see itself
            self.fine = nn.Sequential(halved(3, w4), *(Block(w4) for _ in range(deep)))  # 64
            self.middle = nn.Sequential(halved(w4, w2), *(Block(w2) for _ in range(deep)))  # 32
            self.coarse = nn.Sequential(halved(w2, w1), *(Block(w1) for _ in range(deep)))
        self.first = Block(w1, 2)
        told = N_LANDMARKS * MARK if config.trunk else 0
        self.context = nn.Sequential(
            nn.Linear(2 * w1 + told, 2 * w1), nn.GELU(), nn.Linear(2 * w1, w1)
        )
        self.body = nn.Sequential(*(Block(w1, 2) for _ in range(config.blocks - 1)))
        self.narrow = nn.Conv2d(w1, w2, 1)
        self.body_middle = nn.Sequential(*(Block(w2) for _ in range(max(1, config.blocks // 2))))
        self.narrower = nn.Conv2d(w2, w4, 1)
        self.body_fine = nn.Sequential(Block(w4), nn.GroupNorm(1, w4))
        self.maps = nn.Conv2d(w4, sum(MAPS.values()), 1)
        if config.mixes:
            self.mix = nn.Conv2d(w4, N_JOINTS + len(LSP_JOINTS), 1)
        self.votes = nn.Sequential(
            nn.GroupNorm(1, w1), nn.Conv2d(w1, N_JOINTS * sum(VOTES.values()), 1)
        )
        self.whole = nn.Sequential(
            nn.LayerNorm(2 * w1),
            nn.Linear(2 * w1, 2 * w1),
            nn.GELU(),
            nn.Linear(2 * w1, N_TWISTS * 2 + N_BETAS),
        )

    def usual(self, inner: Tensor) -> Tensor:
        """Inner maps (N, 352, 16, 16) in their usual range."""
        mean, scale = self.mean[:, None, None], self.scale[:, None, None]
        return ((inner - mean) / scale).clamp(-CLAMP, CLAMP)

    def forward(self, seen: DenseInput) -> DenseAnswer:
        """Maps and joints of N crops."""
        cells = seen.pixels.new_zeros(())
        fine = middle = None
        if self.config.pixels:
            fine = self.fine(seen.pixels * 2 - 1)
            middle = self.middle(fine)
            cells = cells + self.coarse(middle)
        if self.config.trunk:
            cells = cells + self.enter(self.usual(seen.inner))
            hot = self.enter_middle(seen.heat)
            middle = hot if middle is None else middle + hot
        cells = self.first(cells)
        # where a cell's place is depends on the whole pose
        known = [_summary(cells)] + ([seen.marks.flatten(1)] if self.config.trunk else [])
        cells = self.body(cells + self.context(torch.cat(known, 1))[..., None, None])
        joints, joints2d, sigma = pooled_votes(self.votes(cells), absolute=not self.config.trunk)
        if self.config.trunk:  # votes tell the way from where the landmarks put a joint
            joints2d = joints2d + 0.5 + self.carry2d @ (seen.marks[..., :2] - 0.5)
            joints = joints + self.carry3d @ seen.marks[..., 2:5]
        flat = self.whole(_summary(cells))
        half = doubled(self.narrow(cells), middle)
        small = self.body_fine(doubled(self.narrower(self.body_middle(half)), fine))
        mask, surface, location, joint, displacement, spread = self.maps(small).split(
            list(MAPS.values()), 1
        )
        joints = joints - joints[:, :1]
        if self.config.mixes:
            bones, parts = self.mix(small).split([N_JOINTS, len(LSP_JOINTS)], 1)
            location = location + _mixed(bones, joints)
            joint = joint + _mixed(parts, joints[:, LSP_JOINTS])
        return DenseAnswer(
            mask=mask[:, 0],
            surface=surface,
            location=location,
            joint=joint,
            displacement=displacement,
            spread=sigma_of(spread[:, 0]),
            joints=joints,
            joints2d=joints2d,
            sigma=sigma,
            twist=flat[:, : N_TWISTS * 2].unflatten(1, (N_TWISTS, 2)),
            betas=flat[:, N_TWISTS * 2 :],
        )


def _summary(cells: Tensor) -> Tensor:
    """Mean and maximum (N, 2 C) of cells (N, C, H, W)."""
    return torch.cat([cells.mean((2, 3)), cells.amax((2, 3))], 1)


def _mixed(logits: Tensor, joints: Tensor) -> Tensor:
    """Mixtures (N, 3, H, W) of joints (N, J, 3); logits: (N, J, H, W)."""
    return torch.einsum("njhw,njc->nchw", logits.softmax(1), joints)


def sigma_of(raw: Tensor) -> Tensor:
    """Standard deviations (m) of a network's unbounded numbers."""
    low, high = (torch.tensor(end).log().item() for end in SIGMA_RANGE_M)
    return (low + (high - low) * (raw - 1).sigmoid()).exp()


def doubled(cells: Tensor, beside: Tensor | None) -> Tensor:
    """Cells at twice the resolution, with the encoder's of that size where there are any."""
    cells = nn.functional.interpolate(cells, scale_factor=2, mode="bilinear", align_corners=False)
    return cells if beside is None else cells + beside


def pooled_votes(votes: Tensor, *, absolute: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Joints (N, 29, 3) m, (N, 29, 2) sides of the crop and sigma (N, 29) m of the cells' votes.

    votes: (N, 29 * 7, 16, 16). Every cell says where it takes each joint to be; the joint's own
    attention weighs them (A2J, Xiong et al., ICCV 2019). absolute: in the picture a cell's vote is
    the way from the cell, not one from wherever the joint is thought to be already.
    """
    side = votes.shape[-1]
    said = votes.unflatten(1, (N_JOINTS, -1)).flatten(3)  # (N, 29, 7, cells)
    attention, place, joint, spread = said.split(list(VOTES.values()), 2)
    weight = attention.softmax(-1)
    if absolute:
        middle = (torch.arange(side, device=votes.device) + 0.5) / side
        place = place + torch.stack([middle.repeat(side), middle.repeat_interleave(side)])
    pooled = (place * weight).sum(-1), (joint * weight).sum(-1), (spread * weight).sum(-1)
    return pooled[1], pooled[0], sigma_of(pooled[2][..., 0])


def joints_of_maps(answer: DenseAnswer, part: Tensor, least: float = 4.0) -> tuple[Tensor, Tensor]:
    """Joints (N, 14, 3) m as means of their parts' cells in the joint map, and which are seen.

    part: (N, 64, 64) of each cell; least: cells, weighted by the chance to show the person, that a
    part needs to be seen. Best of Both Worlds, Sec. 3.2.
    """
    chance = answer.mask.sigmoid()
    weight = (
        nn.functional.one_hot(part, len(PART_JOINTS[14])) * (chance * (chance > 0.5))[..., None]
    )
    total = weight.sum((1, 2))
    joints = torch.einsum("nhwp,nchw->npc", weight, answer.joint)
    return joints / total.clamp_min(1e-6)[..., None], total >= least


def save_dense(model: DenseNet, path: Path) -> None:
    """Write the network as float16, its config in the metadata."""
    save_weights(model, path, {"dense": asdict(model.config)})


def load_dense(path: Path) -> DenseNet:
    """The network in `path`; WeightsError when it is missing, damaged or of another kind."""
    config = read_config(path, "hpsvid's dense maps", ("dense",))["dense"]
    known = {field.name for field in fields(DenseConfig)}
    model = DenseNet(DenseConfig(**{name: config[name] for name in known & config.keys()}))
    load_weights(model, path)
    return model.eval()
