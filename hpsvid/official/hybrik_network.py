"""The authors' image networks for HybrIK: ResNet-34 with three deconvolutions, and HRNet-W48.

Both read a square crop and give a volume of 64^3 cells for each of 29 joints, whose centre of mass
is the joint, and from pooled features shape, twists, camera scale and sigmas. Modules and
parameters are named as in the released checkpoints. Li et al., CVPR 2021, Sec. 3.3 and 4; HRNet:
Wang et al., TPAMI 2020; deconvolutions: Xiao et al., ECCV 2018.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from hpsvid.body.skeleton import SMPL, mirror_points, mirror_twists
from hpsvid.types import N_BETAS, N_JOINTS, N_TWISTS

CELLS = 64  # along each axis of a joint's volume
DEPTH_M = 2.2  # the range of depth that a volume spans
RESNET34_BLOCKS = (3, 4, 6, 3)
HRNET48_WIDTHS = (48, 96, 192, 384)
HRNET_STAGES = ((2, 1), (3, 4), (4, 3))  # branches, modules
HRNET_BLOCKS = 4  # residual blocks of a branch
HEAD_WIDTHS = (32, 64, 128, 256)  # bottlenecks that pool the four branches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a network says about N crops."""

    uvd: Tensor  # (N, 29, 3) right and down from the crop's middle in crop sides, depth in DEPTH_M
    betas: Tensor  # (N, 10)
    twist: Tensor  # (N, 23, 2) cos, sin, of any length
    scale: Tensor  # (N,) crop sides in a metre at depth 0
    sigma: Tensor  # (N, 29) in (0, 1), of uvd's units

    def mirrored(self) -> "Prediction":
        """What the network would have said about the mirrored crops."""
        return Prediction(
            uvd=mirror_points(self.uvd, SMPL),
            betas=self.betas,
            twist=mirror_twists(self.twist),
            scale=self.scale,
            sigma=self.sigma[:, SMPL.mirror],
        )


def predict(net: "HybrIKNet", crops: Tensor) -> Prediction:
    """What `net` says about crops (N, 3, 256, 256), the mean with what it says in the mirror.

    The released code averages the volumes instead, which is the same but for their outermost
    cells, and scrambles them on the way: it shifts a tensor onto itself.
    """
    return average(net(crops), net(crops.flip(-1)).mirrored())


def average(one: Prediction, other: Prediction) -> Prediction:
    """The mean of two predictions about the same crops."""
    return Prediction(
        uvd=(one.uvd + other.uvd) / 2,
        betas=(one.betas + other.betas) / 2,
        twist=(one.twist + other.twist) / 2,
        scale=2 / (1 / one.scale + 1 / other.scale),  # the mean of the distances
        sigma=(one.sigma + other.sigma) / 2,
    )


def soft_argmax(logits: Tensor) -> Tensor:
    """Volumes (N, 29 * 64, 64, 64) -> centres of mass (N, 29, 3) in (-0.5, 0.5), x y z.

    Cell i stands at i / 64 - 0.5, as released.
    """
    volume = logits.reshape(len(logits), N_JOINTS, -1).softmax(-1)
    volume = volume.reshape(-1, N_JOINTS, CELLS, CELLS, CELLS)  # depth, height, width
    place = torch.arange(CELLS, dtype=logits.dtype)
    masses = volume.sum((2, 3)), volume.sum((2, 4)), volume.sum((3, 4))
    return torch.stack([(mass * place).sum(-1) for mass in masses], -1) / CELLS - 0.5


def conv(
    n_in: int, n_out: int, size: int, stride: int = 1, *, bias: bool = False, relu: bool = True
) -> nn.Sequential:
    """Convolution that keeps the picture's size over `stride`, batch norm, ReLU."""
    layers = [
        nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=bias),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers[: 3 if relu else 2])


class Residual(nn.Module):
    """A residual block (He et al., CVPR 2016) of convolutions (output, size, stride)."""

    def __init__(self, n_in: int, convolutions: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        width, stride = n_in, 1
        for i, (n_out, size, step) in enumerate(convolutions, 1):
            convolution = nn.Conv2d(width, n_out, size, step, size // 2, bias=False)
            self.add_module(f"conv{i}", convolution)
            self.add_module(f"bn{i}", nn.BatchNorm2d(n_out))
            width, stride = n_out, stride * step
        self.depth = len(convolutions)
        changes = width != n_in or stride != 1
        self.downsample = conv(n_in, width, 1, stride, relu=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = y.relu()
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


def basic(n_in: int, n_out: int, stride: int = 1) -> Residual:
    """Two 3x3 convolutions."""
    return Residual(n_in, [(n_out, 3, stride), (n_out, 3, 1)])


def bottleneck(n_in: int, width: int) -> Residual:
    """1x1, 3x3 and 1x1 convolutions, four times `width` out."""
    return Residual(n_in, [(width, 1, 1), (width, 3, 1), (4 * width, 1, 1)])


class ResNet(nn.Module):
    """The trunk of a ResNet of basic blocks: (N, 3, H, W) -> (N, 8 W0, H / 32, W / 32)."""

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        n_in = width
        for i, count in enumerate(blocks):
            n_out = width * 2**i
            layer = [basic(n_in, n_out, 1 if i == 0 else 2)]
            layer += [basic(n_out, n_out) for _ in range(1, count)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
            n_in = n_out
        self.layers = len(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's features."""
        x = self.bn1(self.conv1(x)).relu()
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for i in range(self.layers):
            x = getattr(self, f"layer{i + 1}")(x)
        return x


class Exchange(nn.Module):
    """One module of HRNet: a residual branch at each resolution, then all of them exchanged."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(basic(width, width) for _ in range(HRNET_BLOCKS))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_carry(widths, source, to) for source in range(len(widths)))
            for to in range(len(widths))
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """Features of each resolution, finest first -> the same."""
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        sums = []
        for row in self.fuse_layers:
            assert isinstance(row, nn.ModuleList)
            total = row[0](xs[0])
            for carry, x in zip(row[1:], xs[1:], strict=True):
                total = total + carry(x)
            sums.append(total.relu())
        return sums


def _carry(widths: Sequence[int], source: int, to: int) -> nn.Module:
    """What brings branch `source` to the resolution and width of branch `to`."""
    if source == to:
        return nn.Identity()
    if source > to:
        up = nn.Upsample(scale_factor=2 ** (source - to), mode="nearest")
        return nn.Sequential(*conv(widths[source], widths[to], 1, relu=False), up)
    halvings = [conv(widths[source], widths[source], 3, 2) for _ in range(to - source - 1)]
    return nn.Sequential(*halvings, conv(widths[source], widths[to], 3, 2, relu=False))


class HRNet(nn.Module):
    """HRNet: (N, 3, H, W) -> heatmaps (N, `n_out`, H / 4, W / 4) and pooled features (N, F)."""

    def __init__(
        self,
        n_out: int,
        widths: Sequence[int],
        stages: Sequence[tuple[int, int]],
        heads: Sequence[int],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(bottleneck(64, 64), *(bottleneck(256, 64) for _ in range(3)))
        self.transition1 = nn.ModuleList(
            [conv(256, widths[0], 3), nn.Sequential(conv(256, widths[1], 3, 2))]
        )
        for i, (branches, modules) in enumerate(stages, 2):
            stage = nn.Sequential(*(Exchange(widths[:branches]) for _ in range(modules)))
            self.add_module(f"stage{i}", stage)
            if i > 2:  # a coarser branch grows out of the coarsest so far
                grown = nn.Sequential(conv(widths[branches - 2], widths[branches - 1], 3, 2))
                kept = [nn.Identity() for _ in range(branches - 1)]
                self.add_module(f"transition{i - 1}", nn.ModuleList([*kept, grown]))
        self.stages = len(stages)
        wide = [4 * head for head in heads]
        self.incre_modules = nn.ModuleList(
            nn.Sequential(bottleneck(width, head))
            for width, head in zip(widths, heads, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            conv(fine, coarse, 3, 2, bias=True) for fine, coarse in pairwise(wide)
        )
        self.final_feat_layer = conv(wide[-1], 2 * wide[-1], 1, bias=True)
        self.final_layer = nn.Conv2d(widths[0], n_out, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps of the finest branch, features of all branches."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.layer1(x)
        xs = [grow(x) for grow in self.transition1]
        for i in range(2, 2 + self.stages):
            if i > 2:
                transition = getattr(self, f"transition{i - 1}")
                xs = [step(y) for step, y in zip(transition, [*xs, xs[-1]], strict=True)]
            xs = getattr(self, f"stage{i}")(xs)
        pooled = self.incre_modules[0](xs[0])
        rest = zip(self.downsamp_modules, self.incre_modules[1:], xs[1:], strict=True)
        for downsample, widen, y in rest:
            pooled = widen(y) + downsample(pooled)
        return self.final_layer(xs[0]), self.final_feat_layer(pooled).mean((2, 3))


class HybrIKNet(nn.Module, ABC):
    """What both networks share: the heads that read pooled features."""

    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, n_features: int, n_camera: int) -> None:
        super().__init__()
        self.register_buffer("init_shape", torch.zeros(N_BETAS))
        self.register_buffer("init_cam", torch.zeros(n_camera))
        self.decshape = nn.Linear(n_features, N_BETAS)
        self.decphi = nn.Linear(n_features, 2 * N_TWISTS)
        self.deccam = nn.Linear(n_features, n_camera)
        self.decsigma = nn.Linear(n_features, N_JOINTS)

    @abstractmethod
    def _look(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, 256, 256) -> joints' volumes (N, 29 * 64, 64, 64), features (N, F)."""

    def forward(self, crops: Tensor) -> Prediction:
        """Crops (N, 3, 256, 256), normalised (see `hpsvid.official.hybrik_evidence`)."""
        volumes, features = self._look(crops)
        return Prediction(
            uvd=soft_argmax(volumes),
            betas=self.decshape(features) + self.init_shape,
            twist=self.decphi(features).unflatten(-1, (N_TWISTS, 2)),
            scale=(self.deccam(features) + self.init_cam)[:, 0],
            sigma=self.decsigma(features).sigmoid(),
        )


class HybrIKResNet(HybrIKNet):
    """ResNet-34, three deconvolutions, two linear layers without activation before the heads.

    Its camera's shift is not used: the released code takes it out of the joints again.
    """

    def __init__(self) -> None:
        super().__init__(1024, 3)
        self.preact = ResNet(RESNET34_BLOCKS, 64)
        layers: list[nn.Module] = []
        for n_in in (512, 256, 256):
            layers.append(nn.ConvTranspose2d(n_in, 256, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(256), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(256, N_JOINTS * CELLS, 1)
        self.fc1 = nn.Linear(512, 1024)
        self.fc2 = nn.Linear(1024, 1024)

    def _look(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = self.preact(crops)
        return self.final_layer(self.deconv_layers(x)), self.fc2(self.fc1(x.mean((2, 3))))


class HybrIKHRNet(HybrIKNet):
    """HRNet-W48, the heads directly on its features."""

    def __init__(
        self, widths: Sequence[int] = HRNET48_WIDTHS, heads: Sequence[int] = HEAD_WIDTHS
    ) -> None:
        super().__init__(8 * heads[-1], 1)
        self.preact = HRNet(N_JOINTS * CELLS, widths, HRNET_STAGES, heads)

    def _look(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        return self.preact(crops)
