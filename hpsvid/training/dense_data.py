"""Crops of rendered people with dense truth, as the dense maps' network is trained on them.

`tools.people.dense` makes the shards. Each crop is looked at twice: as it is, and in a mirror with
light, sharpness, noise and things in the way that were drawn at random. What the landmark network's
inner maps say of both is kept beside the shard, as making it takes longer than a training step.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.backbone.dense_maps import Encoder
from hpsvid.backbone.dense_network import CELLS, DenseInput, turns_of
from hpsvid.body.model import Body
from hpsvid.body.parts import PART_JOINTS, PartsName, mirror_of_parts, part_of_vertices
from hpsvid.body.people import told_betas
from hpsvid.body.skeleton import SMPL, mirror_points, mirror_twists
from hpsvid.common.files import read_npz, staged
from hpsvid.common.geometry import axis_angle_to_matrix, image_of
from hpsvid.common.records import join, take
from hpsvid.errors import InputError
from hpsvid.ik.hybrik import twists
from hpsvid.training.pairs import START_RIDGE, least_squares
from hpsvid.types import Array

KEYS = (
    "file", "ends", "face", "weights", "crop", "rotvec", "betas", "transl", "K", "joint_state",
    "scene", "person",
)  # fmt: skip
LOOKS = 2  # of each crop: as it is; in a mirror and roughened
LARGEST = 6e4  # of an inner map's values; float16 ends at 65504
POSES = 16  # whose vertices are placed at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseTruth:
    """What is true of N crops, in the view's axes (see `DenseAnswer`); maps of 64 x 64 cells."""

    mask: Tensor  # (N, 64, 64) bool, the person shows
    surface: Tensor  # (N, 3, 64, 64) float16 m, place of the T-pose; 0 where nothing shows
    location: Tensor  # (N, 3, 64, 64) float16 m, that place from the pelvis
    part: Tensor  # (N, 64, 64) uint8, its part of the 14 (or 24)
    joints: Tensor  # (N, 29, 3) m from the pelvis
    joints2d: Tensor  # (N, 29, 2) sides of the crop
    joint_state: Tensor  # (N, 29) uint8, 0 where a joint shows
    twist: Tensor  # (N, 23, 2)
    betas: Tensor  # (N, 10)

    def __len__(self) -> int:
        return len(self.mask)

    def joint_map(self, parts: PartsName = 14) -> Tensor:
        """The joint of each cell's part (N, 3, 64, 64) m."""
        joints = self.joints[:, PART_JOINTS[parts]]
        rows = torch.arange(len(self), device=joints.device)[:, None, None]
        return joints[rows, self.part.long()].permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseBatch:
    """What is read of N crops, and what is true."""

    seen: DenseInput
    truth: DenseTruth


def mirrored_truth(truth: DenseTruth, parts: PartsName = 14) -> DenseTruth:
    """The truth of the crops in a mirror."""
    flip = torch.tensor([-1.0, 1, 1], dtype=truth.surface.dtype)[:, None, None]
    swap = torch.tensor(mirror_of_parts(parts), dtype=torch.uint8)
    flat = truth.joints2d[:, SMPL.mirror]
    return DenseTruth(
        mask=truth.mask.flip(-1),
        surface=truth.surface.flip(-1) * flip,
        location=truth.location.flip(-1) * flip,
        part=swap[truth.part.flip(-1).long()],
        joints=mirror_points(truth.joints, SMPL),
        joints2d=torch.stack([1 - flat[..., 0], flat[..., 1]], -1),
        joint_state=truth.joint_state[:, SMPL.mirror],
        twist=mirror_twists(truth.twist),
        betas=truth.betas,
    )


def places_of(arrays: Mapping[str, Array]) -> list[Crop]:
    """Where a shard's crops lie in their pictures."""
    return [Crop(x=x, y=y, side=s, angle=a) for x, y, s, a in arrays["crop"].tolist()]


def rotations_of(arrays: Mapping[str, Array]) -> Tensor:
    """True rotations (N, 24, 3, 3) of a shard's rows in the views of their crops."""
    rotmats = axis_angle_to_matrix(torch.from_numpy(arrays["rotvec"]).float())
    rotmats[:, 0] = turns_of(places_of(arrays), arrays["K"]).mT @ rotmats[:, 0]
    return rotmats


def truth_of_shard(arrays: Mapping[str, Array], body: Body, parts: PartsName = 14) -> DenseTruth:
    """The maps of a shard's rows, from the faces that show and the pose."""
    data = {key: torch.from_numpy(value) for key, value in arrays.items() if value.ndim > 1}
    rotmats = axis_angle_to_matrix(data["rotvec"].float())
    betas, transl = data["betas"], data["transl"].float()
    crops = places_of(arrays)
    turn = turns_of(crops, arrays["K"])
    joints = body.joints(rotmats, betas, transl)
    flat = image_of(joints.numpy(), arrays["K"][:, None])
    flat = np.stack([c.from_image(points) / SIDE for c, points in zip(crops, flat, strict=True)])
    shown = arrays["face"] >= 0
    corners = body.faces[arrays["face"][shown]]  # (M, 3)
    first = arrays["weights"][shown].astype(np.float32) / 255
    weights = np.concatenate([first, 1 - first.sum(-1, keepdims=True)], -1)
    row = np.nonzero(shown)[0]
    location = np.empty((len(row), 3), np.float32)
    for start in range(0, len(rotmats), POSES):
        batch = slice(start, start + POSES)
        posed = body.vertices(rotmats[batch], betas[batch], transl[batch])
        posed = ((posed - joints[batch, :1]) @ turn[batch]).numpy()
        mine = (row >= start) & (row < start + POSES)
        places = posed[row[mine, None] - start, corners[mine]]
        location[mine] = (places * weights[mine][..., None]).sum(1)
    surface = (body.template.numpy()[corners] * weights[..., None]).sum(1)
    part = part_of_vertices(body, parts)[corners[np.arange(len(row)), weights.argmax(1)]]
    relative = (joints - joints[:, :1]) @ turn
    return DenseTruth(
        mask=torch.from_numpy(shown),
        surface=_map_of(shown, surface),
        location=_map_of(shown, location),
        part=_map_of(shown, part[:, None].astype(np.uint8))[:, 0],
        joints=relative,
        joints2d=torch.from_numpy(flat.astype(np.float32)),
        joint_state=data["joint_state"],
        twist=twists(rotmats, body.rest_joints(betas)),
        betas=told_betas(betas, body),
    )


def _map_of(shown: Array, values: Array) -> Tensor:
    """Values (M, C) of the cells that are shown, in maps (N, C, 64, 64); float ones as float16."""
    kind = np.uint8 if values.dtype == np.uint8 else np.float16
    out = np.zeros((*shown.shape, values.shape[1]), kind)
    out[shown] = values
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(out, -1, 1)))


def roughened(rng: np.random.Generator, picture: Array) -> tuple[Array, Array]:
    """A crop (256, 256, 3) uint8 in other light, less sharp, behind things; and the cells (64, 64)
    bool that those cover.

    Things in the way: as in Sarandi et al., 2018, shapes of plain and noisy colours.
    """
    out = picture.astype(np.float32)
    covered = np.zeros((CELLS, CELLS), np.uint8)
    if rng.random() < 0.5:
        for _ in range(rng.integers(1, 4)):
            cover(rng, out, covered)
    out = 255 * (out / 255).clip(0, 1) ** float(np.exp(0.25 * rng.normal()))
    out = out * np.exp(0.12 * rng.normal(size=3) + 0.15 * rng.normal()) + 12 * rng.normal()
    if rng.random() < 0.2:
        out = 0.8 * out.mean(-1, keepdims=True) + 0.2 * out
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 2.5)))
    if rng.random() < 0.4:
        out += rng.normal(size=out.shape) * rng.uniform(2, 14)
    out = out.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, file = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])
        out = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return out, covered.astype(bool)


def cover(rng: np.random.Generator, picture: Array | None, covered: Array) -> None:
    """Draw a box, an oval or a bar into a crop, where there is one, and the cells it covers."""
    x, y = rng.uniform(0.1, 0.9, 2) * SIDE
    size = rng.uniform(0.06, 0.24, 2) * SIDE
    if rng.random() < 0.25:
        size = np.array([0.04 * SIDE, SIDE])
    shape = np.zeros((SIDE, SIDE), np.uint8)
    turn = float(rng.uniform(0, 180))
    if rng.random() < 0.5:
        cv2.ellipse(shape, ((float(x), float(y)), tuple((2 * size).tolist()), turn), 1, -1)
    else:
        corners = cv2.boxPoints(((float(x), float(y)), tuple((2 * size).tolist()), turn))
        cv2.fillPoly(shape, [corners.astype(np.int32)], 1)
    if picture is not None:
        inside = shape > 0
        coarse = rng.normal(size=(9, 9, 3)).astype(np.float32)
        grain = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        colour = rng.uniform(20, 235, 3) + rng.uniform(0, 40) * grain
        picture[inside] = colour[inside]
    step = SIDE // CELLS
    covered |= shape[step // 2 :: step, step // 2 :: step]


READ: dict[str, tuple[type, float]] = {
    "inner": (np.float16, 1), "heat": (np.uint8, 255), "marks": (np.float16, 1),
    "pixels": (np.uint8, 255),
}  # fmt: skip
"""How DenseInput's arrays lie on the disk, (LOOKS, N, ...): their type, and what 1.0 is there."""
COVERED = "covered"  # beside them: cells (LOOKS, N, 64, 64) bool behind things that were drawn in


def looks_of(shard: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The looks at a shard's crops, made where they do not lie beside the shard yet."""
    paths = {name: shard.with_suffix(f".{name}.npy") for name in (*READ, COVERED)}
    if not all(path.exists() for path in paths.values()):
        for name, values in _look(shard, arrays).items():
            with staged(paths[name]) as beside, beside.open("wb") as stream:
                np.save(stream, values)
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}


def crops_of(arrays: Mapping[str, Array]) -> Iterator[Array]:
    """A shard's crops (256, 256, 3) uint8, one after the other."""
    for file in np.split(arrays["file"], arrays["ends"][:-1]):
        yield np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1]


def _look(shard: Path, arrays: Mapping[str, Array]) -> dict[str, Array]:
    encoder = Encoder(threads=1)
    covered = np.zeros((LOOKS, len(arrays["ends"]), CELLS, CELLS), bool)
    rng = np.random.default_rng(list(shard.name.encode()))
    said: list[dict[str, Array]] = []
    for row, plain in enumerate(crops_of(arrays)):
        rough, covered[1, row] = roughened(rng, np.ascontiguousarray(plain[:, ::-1]))
        # one by one, as they are looked at in a video
        both = join(*(encoder(crop[None]) for crop in (plain, rough)))
        said.append({name: getattr(both, name).numpy() for name in READ})
    looks = {COVERED: covered}
    for name, (kind, unit) in READ.items():
        values = np.stack([parts[name] for parts in said], 1).clip(-LARGEST, LARGEST)
        looks[name] = (np.round(values * unit) if unit > 1 else values).astype(kind)
    return looks


class DenseShards:
    """All shards of a folder: truth in memory, looks on the disk."""

    def __init__(self, folder: Path, body: Body) -> None:
        """Raises InputError when there are none or one is damaged."""
        paths = sorted(folder.glob("shard_*.npz"))
        if not paths:
            raise InputError(
                f"{folder}: holds no crops with dense truth (shard_*.npz); make some with "
                f"`python -m tools.people.dense --out {folder}`"
            )
        self._paths = paths
        truths, self._looks, places = [], [], []
        for number, path in enumerate(paths):
            arrays = read_npz(path, "a shard of tools.people.dense", KEYS)
            truths.append(truth_of_shard(arrays, body))
            self._looks.append(looks_of(path, arrays))
            places += [(number, row) for row in range(len(truths[-1]))]
        self.truth: DenseTruth = join(*truths)
        self._places = np.array(places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def shards(self) -> Iterator[tuple[dict[str, Array], Array]]:
        """Each shard's arrays, and its rows among all."""
        for number, path in enumerate(self._paths):
            arrays = read_npz(path, "a shard of tools.people.dense", KEYS)
            yield arrays, np.flatnonzero(self._places[:, 0] == number)

    def batch(self, rows: Array, look: int) -> DenseBatch:
        """Rows (B,) as they are (look 0), or roughened and in a mirror (look 1)."""
        where = self._places[rows]

        def read(name: str) -> Array:
            return np.stack([self._looks[s][name][look, row] for s, row in where])

        truth = take(self.truth, torch.from_numpy(rows))
        if look == 1:
            truth = mirrored_truth(truth)
        truth.mask.logical_and_(~torch.from_numpy(read(COVERED)))
        seen = {
            name: torch.from_numpy(read(name)).float() / unit for name, (_, unit) in READ.items()
        }
        return DenseBatch(seen=DenseInput(**seen), truth=truth)

    def usual_range(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (352,) of the inner maps; a channel that hardly varies gets a tenth of
        the usual spread at least.
        """
        some = np.concatenate([looks["inner"][0, ::9] for looks in self._looks]).astype(np.float32)
        spread = some.std((0, 2, 3))
        return (
            torch.from_numpy(some.mean((0, 2, 3))),
            torch.from_numpy(spread + 0.1 * spread.mean()),
        )

    def linear_starts(self) -> tuple[Tensor, Tensor]:
        """Joints as sums of landmarks (29, 33), in the picture and in space: least squares."""
        marks = np.concatenate([looks["marks"][0] for looks in self._looks]).astype(np.float32)
        told = torch.from_numpy(marks)
        pairs = (
            (told[..., :2] - 0.5, self.truth.joints2d - 0.5),
            (told[..., 2:5], self.truth.joints),
        )
        flat, space = (
            least_squares(
                x.transpose(1, 2).flatten(0, 1), y.transpose(1, 2).flatten(0, 1), START_RIDGE
            ).T
            for x, y in pairs
        )
        return flat, space

    def batches(self, size: int, seed: int) -> Iterator[DenseBatch]:
        """Endless random batches, half of each of either look."""
        rng = np.random.default_rng(seed)
        while True:
            rows = rng.integers(len(self), size=size)
            yield join(self.batch(rows[: size // 2], 0), self.batch(rows[size // 2 :], 1))
