"""The dense backbone: maps of what each pixel shows of the body, and the joints that they tell.

Best of Both Worlds (Wang et al., 2022), Sec. 3.1-3.2, by a network trained on rendered people only;
see weights/dense.md for what it is worth. Its crops are the landmark network's, which it reads as
well: turned along the body, as the look before asks for. What lies between two looks lies on lines
between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.spatial import KDTree
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hpsvid.backbone import Network
from hpsvid.backbone.blazepose import Follower, Look, decoded
from hpsvid.backbone.crop import SIDE, Crop, crop_around_box
from hpsvid.backbone.dense_network import (
    CELLS,
    HEAT_CELLS,
    PIXELS,
    DenseAnswer,
    DenseInput,
    DenseNet,
    joints_of_maps,
    load_dense,
    turns_of,
)
from hpsvid.backbone.geometric import UNSEEN_SIGMA_M, place_in_camera
from hpsvid.backbone.inner_maps import CHANNELS, Reader, read_maps
from hpsvid.backbone.learned import fitted_betas, nothing_seen
from hpsvid.backbone.lifting import FAST_LOOKS_HZ, LOOKS_HZ
from hpsvid.body.model import Body
from hpsvid.body.parts import LSP_JOINTS, part_of_places
from hpsvid.body.skeleton import LIMB_JOINTS, LIMB_LANDMARKS
from hpsvid.common.geometry import unit
from hpsvid.common.series import fill_gaps, spaced_times
from hpsvid.common.threads import thread_count, torch_threads
from hpsvid.common.weights import load_onnx, read_manifest, weights_path
from hpsvid.options import Options
from hpsvid.types import (
    N_BETAS,
    N_JOINTS,
    N_LANDMARKS,
    N_TWISTS,
    Array,
    Camera,
    Frames,
    Observations,
    Source,
    Track,
)

LEAST_CELLS = 40.0  # of 4,096 that must show the person
# sigma of a joint whose place in the picture counts for nothing; bodypose3d's PA-MPJPE is 84.5 mm
# at 0.25 and 81.7 at 0.6
DOUBT_M = 0.6
# of a joint's answer, the share of its part's mean in the joint map, the rest is its own votes'.
# Chosen on held-back renders: 14 joints' MPJPE is 231, 230, 231, 235 mm at 0, 0.15, 0.3, 0.5.
MAPS_SHARE = 0.15
NAME = "dense"
PLACES = 64  # cells of a look of which is kept what place of the body they show
SURE = 0.5  # chance to show the person, of these cells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """One track's looks, in arrays over its T frames; NaN or False where none was."""

    joints: Array  # (T, 29, 3) m, camera axes
    image: Array  # (T, 29, 2) px
    sigma: Array  # (T, 29) m
    twist: Array  # (T, 23, 2)
    betas: Array  # (T, 10)
    looked: Array  # (T,) bool
    shown: Array  # (T,) bool, of the looks: there was somebody
    pts_s: Array  # (T,) s
    crops: Array  # (T, 4) x, y, side px, angle rad
    masks: Array  # (T, 64, 64) uint8 chance to show the person
    places: Array  # (T, PLACES, 3) int16 cell, vertex, mm of doubt


class Encoder:
    """The landmark network as the dense network's encoder, and the pixels beside it.

    threads, device: as in `load_onnx`. Raises WeightsError when its file is missing or damaged.
    """

    def __init__(self, threads: int | None = None, device: str = "auto") -> None:
        self._session = load_onnx("blazepose_heavy", threads, device)

    def __call__(self, crops: Array) -> DenseInput:
        """What is read of crops (N, 256, 256, 3) uint8."""
        return self.look(crops)[0]

    def look(self, crops: Array) -> tuple[DenseInput, tuple[Array, ...]]:
        """What is read of crops (N, 256, 256, 3) uint8, and what `BlazePose.network` says."""
        crops = crops.astype(np.float32) / 255
        names = ["landmarks", "world", "heatmaps", "score", *CHANNELS]
        said = [np.asarray(part) for part in self._session.run(names, {"crops": crops})]
        points, world, chance = decoded(*said[:3])
        marks = np.concatenate([points[:, :N_LANDMARKS] / SIDE, world, chance], -1)
        heat = torch.from_numpy(expit(said[2])).permute(0, 3, 1, 2)
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)
        seen = DenseInput(
            inner=torch.from_numpy(np.concatenate(said[4:], 1)),
            heat=avg_pool2d(heat, heat.shape[-1] // HEAT_CELLS),
            marks=torch.from_numpy(marks.astype(np.float32)),
            pixels=avg_pool2d(pixels, SIDE // PIXELS),
        )
        return seen, (points, world, chance, said[3][:, 0])


class DenseMaps:
    """The network with its encoder: crops in, maps out.

    threads, device: as in `load_onnx`. Raises WeightsError when a file is missing or damaged.
    """

    def __init__(self, body: Body, threads: int | None = None, device: str = "auto") -> None:
        self.model: DenseNet = load_dense(weights_path(NAME))
        self._threads = thread_count(threads)
        self._encoder = Encoder(threads, device)
        self._body = body
        self._vertices = KDTree(body.template.numpy())

    def maps(self, crops: Array) -> DenseAnswer:
        """Maps and joints of crops (N, 256, 256, 3) uint8."""
        return self._told(self._encoder(crops))

    def _told(self, seen: DenseInput) -> DenseAnswer:
        with torch_threads(self._threads), torch.inference_mode():
            return self.model(seen)

    def joints(self, answer: DenseAnswer) -> Tensor:
        """Joints (N, 29, 3) m, those of the 14 parts that show pulled to their cells' mean."""
        part = part_of_places(answer.surface.permute(0, 2, 3, 1), self._body, 14)
        told, seen = joints_of_maps(answer, part)
        joints = answer.joints.clone()
        share = MAPS_SHARE * seen[..., None]
        joints[:, LSP_JOINTS] += share * (told - joints[:, LSP_JOINTS])
        return joints

    def __call__(self, crops: Array) -> tuple[Array, ...]:
        """What a backbone keeps of crops (N, 256, 256, 3) uint8: joints (N, 29, 3) m in the view's
        axes, (N, 29, 2) crop px, sigma (N, 29) m, twists (N, 23, 2), betas (N, 10), masks (N, 64,
        64) uint8 and places (N, PLACES, 3) int16; then what the landmark network says
        (`BlazePose.network`).
        """
        seen, landmarks = self._encoder.look(crops)
        return (*self._kept(seen), *landmarks)

    def with_inner(self, crops: Array, reader: Reader | None) -> tuple[Array, ...]:
        """The same, and what a reader keeps of the landmark network's inner maps (N, 19, Q)."""
        seen, landmarks = self._encoder.look(crops)
        if reader is None:
            return (*self._kept(seen), *landmarks)
        inner = read_maps([seen.inner.numpy()], landmarks[0][:, :N_LANDMARKS])
        return (*self._kept(seen), *landmarks, reader(inner))

    def _kept(self, seen: DenseInput) -> tuple[Array, ...]:
        answer = self._told(seen)
        told = (
            self.joints(answer), answer.joints2d * SIDE, answer.sigma, unit(answer.twist),
            answer.betas, (answer.mask.sigmoid() * 255).round().to(torch.uint8),
        )  # fmt: skip
        return (*(values.numpy() for values in told), self.places(answer))

    def places(self, answer: DenseAnswer) -> Array:
        """Of the cells that show each person PLACES, evenly spread: (N, PLACES, 3) int16.

        The cell's number, row by row, the vertex nearest to its place on the T-pose, and how far
        off it is thought to be, mm; -1 where no more cells show the person.
        """
        chance = answer.mask.sigmoid().flatten(1).numpy()
        surface = answer.surface.flatten(2).transpose(1, 2).numpy()
        doubt = (1000 * answer.spread).flatten(1).numpy()
        places = np.full((len(chance), PLACES, 3), -1, np.int16)
        for row, shown in enumerate(chance > SURE):
            cells = np.flatnonzero(shown)
            cells = cells[np.linspace(0, len(cells) - 1, min(len(cells), PLACES)).astype(int)]
            vertices = self._vertices.query(surface[row, cells])[1]
            places[row, : len(cells)] = np.stack([cells, vertices, doubt[row, cells]], -1)
        return places


@dataclass(frozen=True, slots=True, kw_only=True)
class _DenseLook(Look):
    """A look at a crop, and what the dense network says of it."""

    dense: tuple[Array, ...]  # joints, 2D, sigma, twist, betas, mask, places


class _DenseFollower(Follower):
    """Follows people by the landmarks that the dense network reads beside its maps."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def told(self, crop: Crop, answer: Sequence[Array]) -> Look:
        """As of the landmark network, which answers last, with what the dense one says."""
        *dense, points, world, chance, score = answer
        look = super().told(crop, (points, world, chance, score))
        return _DenseLook(
            **{f.name: getattr(look, f.name) for f in fields(look)}, dense=tuple(dense)
        )


class DenseBackbone:
    """`hpsvid.backbone.Backbone` by dense maps. Raises WeightsError without its networks."""

    def __init__(
        self, tracks: Sequence[Track], camera: Camera, body: Body, options: Options,
        maps: DenseMaps | None = None,
    ) -> None:  # fmt: skip
        """maps: loaded already, of this body."""
        self._follower = _DenseFollower(maps or DenseMaps(body, options.threads, options.device))
        self._keeps_maps = options.align
        self._looks_hz = FAST_LOOKS_HZ if options.fast else LOOKS_HZ
        self._camera, self._body, self._tracks = camera, body, list(tracks)
        self._seen = [_blank(len(track)) for track in tracks]
        self._next: list[Crop | None] = [None] * len(tracks)  # what each last look asks for
        self._last_s = -np.inf  # of the frames so far
        self._next_s = -np.inf  # when the next look is due

    @property
    def network(self) -> Network:
        """`DenseMaps`; may be wrapped."""
        return self._follower.network

    @network.setter
    def network(self, network: Network) -> None:
        self._follower.network = network

    @property
    def provenance(self) -> Source:
        """Name and sha256 of the network, and how often it looked."""
        return {
            "name": NAME,
            "sha256": read_manifest()[NAME].sha256,
            "looks_hz": str(self._looks_hz),
        }

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip, LOOKS_HZ times a second, and at tracks' ends."""
        for rgb, index, pts in zip(frames.rgb, frames.index, frames.pts_s, strict=True):
            step, self._last_s = pts - self._last_s, pts
            due = pts + step / 2 >= self._next_s
            if due:
                self._next_s = pts + 1 / self._looks_hz
            places = []
            for number, (track, seen) in enumerate(zip(self._tracks, self._seen, strict=True)):
                place = int(index - track.frame_index[0])
                if 0 <= place < len(track):
                    seen.pts_s[place] = pts
                    if due or place in (0, len(track) - 1):
                        places.append((number, place))
            if places:
                self._look(rgb, places)

    def _look(self, rgb: Array, places: list[tuple[int, int]]) -> None:
        """Look at the tracks of these numbers, each at its own frame."""
        tracks = [(self._tracks[number], place) for number, place in places]
        boxes = np.stack([track.boxes[place] for track, place in tracks])
        turns = [0 if track.turns is None else int(track.turns[place]) for track, place in tracks]
        crops = [self._next[number] for number, _ in places]
        looks = self._follower.follow(rgb, boxes, crops, turns)
        for i, ((number, place), look) in enumerate(zip(places, looks, strict=True)):
            self._next[number] = look.next_crop() if look else None
            if look is None:  # not believed as landmarks; the maps may still show the person
                (look,) = self._follower.look(rgb, [crop_around_box(boxes[i], turns[i])])
            assert isinstance(look, _DenseLook)
            self._note(self._seen[number], place, look)

    def _note(self, seen: _Seen, place: int, look: _DenseLook) -> None:
        joints, flat, sigma, twist, betas, mask, places = look.dense
        turn = turns_of([look.crop], self._camera.K)[0].numpy()
        seen.looked[place] = True
        seen.shown[place] = mask.astype(np.float64).sum() >= 255 * LEAST_CELLS
        if self._keeps_maps:
            crop = look.crop
            seen.crops[place] = crop.x, crop.y, crop.side, crop.angle
            seen.masks[place], seen.places[place] = mask, places
        seen.joints[place] = joints @ turn.T
        seen.image[place] = look.crop.to_image(flat)
        seen.sigma[place], seen.twist[place], seen.betas[place] = sigma, twist, betas

    def observations(self) -> list[Observations]:
        """Each track's over its full length; frames beside a look that saw nobody are not valid."""
        return [
            self._told(track, seen) for track, seen in zip(self._tracks, self._seen, strict=True)
        ]

    def _told(self, track: Track, seen: _Seen) -> Observations:
        good = seen.looked & seen.shown
        if not good.any():
            return nothing_seen(track.id, track.frame_index)
        times = spaced_times(seen.pts_s)
        joints, image, sigma, twist, betas = (
            fill_gaps(values, good, times).astype(np.float32)
            for values in (seen.joints, seen.image, seen.sigma, seen.twist, seen.betas)
        )
        valid = _beside(seen.looked, seen.shown)
        sigma[~valid] = UNSEEN_SIGMA_M
        sure = (1 - sigma / DOUBT_M).clip(0, 1) * valid[:, None]
        flat = np.zeros((len(track), N_LANDMARKS, 3), np.float32)
        flat[:, LIMB_LANDMARKS, :2] = image[:, LIMB_JOINTS]
        flat[:, LIMB_LANDMARKS, 2] = sure[:, LIMB_JOINTS]
        told, K = torch.from_numpy(joints), torch.from_numpy(self._camera.K).float()
        pelvis = place_in_camera(told, torch.from_numpy(image), torch.from_numpy(sure), K)
        shape = betas if self._body.free else fitted_betas(told, self._body).numpy()
        return Observations(
            track_id=track.id,
            frame_index=track.frame_index,
            joints=joints,
            sigma=sigma,
            twist=unit(torch.from_numpy(twist)).numpy(),
            betas=shape,
            landmarks2d=flat,
            pelvis=pelvis.numpy(),
            valid=valid,
            crops=np.where(good[:, None], seen.crops, np.nan) if self._keeps_maps else None,
            masks=seen.masks if self._keeps_maps else None,
            places=seen.places if self._keeps_maps else None,
        )


def _beside(looked: Array, shown: Array) -> Array:
    """Frames (T,) bool of which the looks before and after, or at them, saw somebody."""
    looks = np.flatnonzero(looked)
    frames = np.arange(len(looked))
    after = np.searchsorted(looks, frames).clip(0, len(looks) - 1)
    before = (np.searchsorted(looks, frames, "right") - 1).clip(0, None)
    return shown[looks[after]] & shown[looks[before]]


def _blank(total: int) -> _Seen:
    def blank(*shape: int) -> Array:
        return np.full((total, *shape), np.nan, np.float32)

    return _Seen(
        joints=blank(N_JOINTS, 3),
        image=blank(N_JOINTS, 2),
        sigma=blank(N_JOINTS),
        twist=blank(N_TWISTS, 2),
        betas=blank(N_BETAS),
        looked=np.zeros(total, bool),
        shown=np.zeros(total, bool),
        pts_s=np.zeros(total),
        crops=blank(4),
        masks=np.zeros((total, CELLS, CELLS), np.uint8),
        places=np.full((total, PLACES, 3), -1, np.int16),
    )
