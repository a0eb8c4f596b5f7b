"""The network that completes maps of the body's surface (UV inpainting).

Best of Both Worlds (Wang et al., 2022), Sec. 3.3: a light U-Net with skip connections. It reads
64 x 64 texels of what the picture tells (maps of `dense_network`, unwrapped) and of the posed body
that inverse kinematics made of it, and tells 128 x 128 texels of complete joint, location and
displacement maps. Here it tells the way from the posed body's maps to its own.
"""

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from hpsvid.backbone.dense_network import Block, doubled, halved
from hpsvid.body.uv_maps import UvGrid, UvSpace
from hpsvid.common.checkpoints import load_weights, read_config, save_weights

UNIT_M = 0.25  # maps are told to the network in these
TOLD = 9  # channels of location, joint and displacement map
SEEN = TOLD + 1  # of the picture: these, and how surely a texel is seen
READ = SEEN + 2 * 3 + 1 + 3 + 1  # and base location and joint, sigma, T-pose, texel or not
SIGMA_UNIT_M = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class UvConfig:
    """What the network reads, and how it was trained; stored in the checkpoint's metadata."""

    ik: bool = True  # the posed body
    dmp: bool = True  # the maps of the picture
    symmetric: bool = True  # trained with Eq. 7
    width: int = 24  # channels at 64 x 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UvCase:
    """What is known of B crops; metres from the pelvis, turned upright (see `turn`).

    N: texels of the coarse grid, M: of the fine one.
    """

    turn: Tensor  # (B, 3, 3) from the view's axes to the rest body's
    seen: Tensor  # (B, N, 10) location, joint, displacement of the picture's maps; how surely seen
    posed: Tensor  # (B, N, 3) place on the posed body
    posed_fine: Tensor  # (B, M, 3)
    joints: Tensor  # (B, 14, 3) of the posed body
    seen_joints: Tensor  # (B, 14, 3) as the picture alone tells them
    sigma: Tensor  # (B, 14) m of these

    def __len__(self) -> int:
        return len(self.turn)


@dataclass(frozen=True, slots=True, eq=False)
class UvMaps:
    """Complete maps of B crops over M texels, m; the axes of their `UvCase`."""

    location: Tensor  # (B, M, 3)
    joint: Tensor  # (B, M, 3)
    displacement: Tensor  # (B, M, 3)

    def joints(self, grid: UvGrid) -> Tensor:
        """The 14 joints (B, 14, 3): means of their parts (Sec. 3.3, Inference)."""
        return grid.of_parts @ self.joint


def base_maps(case: UvCase, grid: UvGrid, config: UvConfig) -> Tensor:
    """Maps (B, texels, 9) that the network starts from, on the coarse or the fine grid.

    Those of the posed body; without it, of a T-pose whose parts lie about the joints that the
    picture tells.
    """
    if config.ik:
        location = case.posed if len(grid.places) == case.posed.shape[1] else case.posed_fine
        joints = case.joints[:, grid.part]
    else:
        joints = case.seen_joints[:, grid.part]
        location = joints + grid.rest - (grid.of_parts @ grid.rest)[grid.part]
    return torch.cat([location, joints, location - joints], -1)


def read_maps(case: UvCase, grid: UvGrid, config: UvConfig) -> Tensor:
    """What the network reads (B, READ, 64, 64); grid: the coarse one."""
    base = base_maps(case, grid, config)
    seen = case.seen if config.dmp else torch.zeros_like(case.seen)
    sure = seen[..., TOLD:]
    away = (seen[..., :TOLD] - base) * sure / UNIT_M
    sigma = (case.sigma[:, grid.part, None] / SIGMA_UNIT_M).log()
    fixed = torch.cat([grid.rest, torch.ones_like(grid.rest[:, :1])], 1).expand(len(case), -1, -1)
    return grid.spread(torch.cat([away, sure, base[..., :6] / UNIT_M, sigma, fixed], -1))


class UvNet(nn.Module):
    """Maps (B, READ, 64, 64) in, the way (B, 9, 128, 128) m from the base maps out."""

    def __init__(self, config: UvConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        widths = [w, w + w // 2, 2 * w, 3 * w]  # at 64, 32, 16 and 8 texels
        self.enter = nn.Conv2d(READ, w, 3, padding=1)
        self.down = nn.ModuleList(halved(a, b) for a, b in pairwise(widths))
        self.before = nn.ModuleList(Block(width) for width in widths[:-1])
        self.deep = nn.Sequential(Block(widths[-1], 2), Block(widths[-1], 2))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.after = nn.ModuleList(Block(width) for width in widths[:-1])
        # four texels of 128 x 128 from each of 64 x 64
        self.leave = nn.Sequential(
            nn.GroupNorm(1, w), nn.Conv2d(w, 4 * TOLD, 1), nn.PixelShuffle(2)
        )
        last = self.leave[1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)  # untrained it tells the base maps
        nn.init.zeros_(last.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """The way from the base maps."""
        texels, beside = self.enter(maps), []
        for before, down in zip(self.before, self.down, strict=True):
            texels = before(texels)
            beside.append(texels)
            texels = down(texels)
        texels = self.deep(texels)
        for up, after in reversed(list(zip(self.up, self.after, strict=True))):
            texels = after(doubled(up(texels), beside.pop()))
        return self.leave(texels) * UNIT_M

    def complete(self, case: UvCase, space: UvSpace) -> UvMaps:
        """The complete maps of B crops."""
        way = space.fine.gather(self(read_maps(case, space.coarse, self.config)))
        told = base_maps(case, space.fine, self.config) + way
        return UvMaps(*told.split(3, -1))


def save_uv(model: UvNet, path: Path) -> None:
    """Write the network as float16, its config in the metadata."""
    save_weights(model, path, {"uv": asdict(model.config)})


def load_uv(path: Path) -> UvNet:
    """The network in `path`; WeightsError when it is missing, damaged or of another kind."""
    config = read_config(path, "hpsvid's UV inpainting", ("uv",))["uv"]
    known = {field.name for field in fields(UvConfig)}
    model = UvNet(UvConfig(**{name: config[name] for name in known & config.keys()}))
    load_weights(model, path)
    return model.eval()
