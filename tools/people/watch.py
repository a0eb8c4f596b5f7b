"""What the real crop-and-track code and landmark network see of a film, inner maps included."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import onnx
import onnxruntime

from hpsvid.backbone.blazepose import BlazePose, Look
from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.backbone.flips import MIRROR, find_flips
from hpsvid.body.skeleton import LIMB_LANDMARKS
from hpsvid.common.weights import weights_path
from hpsvid.types import N_LANDMARKS, Array
from tools.people.truth import HIDDEN, OUTSIDE, PersonTruth

INNER = {"t499": 160, "t614": 192}  # the network's 16 x 16 maps and their channels
MAP_SIDE = 16
LARGEST = 6e4  # of a map's values; float16 ends at 65504
BOX_PAD = 0.06  # of a detector's boxes about the joints, share of the longer side
BOX_UNREST = 0.012  # deviation from frame to frame, share of the longer side
BOX_BIAS = 0.02  # deviation over a sequence
DETECTED = 0.3  # share of the joints that must show for a detector to see a person
ON_SOMEBODY = 0.25  # of a person's height: landmarks farther away on the mean show nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class TappedLook(Look):
    """A look with the crop it was made from and the inner maps at its landmarks."""

    crop: Crop
    inner: dict[str, Array]  # name -> (33, C) float16


class _TappedSession:
    """The landmark network that also keeps its inner maps of the last run."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.maps: dict[str, Array] = {}

    def run(self, names: Sequence[str], feeds: dict[str, Array]) -> list[Array]:
        found = [np.asarray(a) for a in self._session.run([*names, *INNER], feeds)]
        self.maps = dict(zip(INNER, found[len(names) :], strict=True))
        return found[: len(names)]


class TappedBlazePose(BlazePose):
    """`hpsvid`'s landmark network and tracking, whose looks carry the inner maps."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__([], threads=threads)
        model = onnx.load(weights_path(self.name))
        for name in INNER:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        options.use_deterministic_compute = True
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._tapped = _TappedSession(session)
        self._session = self._tapped  # type: ignore[assignment]

    def _look(self, rgb: Array, crops: Sequence[Crop]) -> list[Look]:
        looks = super()._look(rgb, crops)
        found: list[Look] = []
        for k, (look, crop) in enumerate(zip(looks, crops, strict=True)):
            points = crop.from_image(look.image[:N_LANDMARKS])
            found.append(
                TappedLook(
                    **{f.name: getattr(look, f.name) for f in fields(Look)},
                    crop=crop,
                    inner={
                        name: sampled(maps[k], points).clip(-LARGEST, LARGEST).astype(np.float16)
                        for name, maps in self._tapped.maps.items()
                    },
                )
            )
        return found


def sampled(maps: Array, points: Array) -> Array:
    """Maps (C, 16, 16) bilinearly at crop pixels (P, 2), edges repeated: (P, C)."""
    place = (points / (SIDE / MAP_SIDE) - 0.5).clip(0, MAP_SIDE - 1)
    low = np.minimum(place.astype(int), MAP_SIDE - 2)
    across, down = (place - low).T
    x, y = low.T
    upper = (1 - across) * maps[:, y, x] + across * maps[:, y, x + 1]
    lower = (1 - across) * maps[:, y + 1, x] + across * maps[:, y + 1, x + 1]
    return ((1 - down) * upper + down * lower).T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """What was seen of one track over T frames; score 0 where nothing was."""

    image: Array  # (T, 33, 2) float32 px
    world: Array  # (T, 33, 3) float32 m
    visibility: Array  # (T, 33)
    presence: Array  # (T, 33)
    score: Array  # (T,)
    crop: Array  # (T, 4) float32: centre x, y and side, px of the picture; angle, rad
    inner: dict[str, Array]  # name -> (T, 33, C) float16
    boxes: Array  # (T, 4) float32 px
    shows: Array  # (T,) int8: the scene's person whom the landmarks lie on; -1 for nobody


def watched(
    network: TappedBlazePose, pictures: Array, people: list[PersonTruth], rng: np.random.Generator
) -> list[Sight]:
    """Follow everybody of a film (T, H, W, 3) from the boxes that a detector would give."""
    frames, height, width = pictures.shape[:3]
    boxes = [detector_boxes(rng, truth, width, height) for truth in people]
    sights = [_blank(frames, b) for b in boxes]
    crops: list[Crop | None] = [None] * len(people)
    for t, picture in enumerate(pictures):
        looks = network.follow(picture, np.stack([b[t] for b in boxes]), crops)
        crops = [look.next_crop() if look else None for look in looks]
        for sight, look in zip(sights, looks, strict=True):
            if isinstance(look, TappedLook):
                _note(sight, t, look)
                sight.shows[t] = shown(look.image[:N_LANDMARKS], people, t)
    times = np.arange(frames) / 30.0
    return [_unflipped(sight, times) for sight in sights]


def detector_boxes(rng: np.random.Generator, truth: PersonTruth, width: int, height: int) -> Array:
    """Boxes (T, 4) px as a detector and a tracker give them: about what shows, a little unsteady.

    Frames in which hardly anything shows get the boxes between their neighbours', as a tracker
    bridges gaps.
    """
    showing = (truth.joint_state != HIDDEN) & (truth.joint_state != OUTSIDE)
    flat = truth.joints2d
    if not showing.any():
        showing[:] = True
    far = np.where(showing[..., None], flat, np.nan)
    detected = showing.mean(1) >= DETECTED
    if not detected.any():
        detected = showing.any(1)
    low, high = np.full((len(flat), 2), np.nan), np.full((len(flat), 2), np.nan)
    low[detected] = np.nanmin(far[detected], 1)
    high[detected] = np.nanmax(far[detected], 1)
    longer = (high - low).max(1, keepdims=True)
    boxes = np.concatenate([low - BOX_PAD * longer, high + BOX_PAD * longer], 1)
    boxes += longer * (
        BOX_UNREST * rng.normal(size=boxes.shape) + BOX_BIAS * rng.normal(size=(1, 4))
    )
    when = np.flatnonzero(detected)
    every = np.arange(len(boxes))
    whole = np.stack([np.interp(every, when, side[when]) for side in boxes.T], 1)
    return whole.clip(0, [width, height, width, height]).astype(np.float32)


def shown(image: Array, people: list[PersonTruth], t: int) -> int:
    """The person whose landmarks lie nearest to `image` (33, 2) px; -1 when none is near."""
    flats = np.stack([truth.landmarks2d[t][LIMB_LANDMARKS] for truth in people])
    away = np.linalg.norm(flats - image[LIMB_LANDMARKS], axis=-1).mean(1)
    size = np.ptp(flats, axis=1).max(1)
    nearest = int((away / np.maximum(size, 1)).argmin())
    return nearest if away[nearest] < ON_SOMEBODY * size[nearest] else -1


def _blank(frames: int, boxes: Array) -> Sight:
    def zeros(*shape: int) -> Array:
        return np.zeros((frames, *shape), np.float32)

    return Sight(
        image=zeros(N_LANDMARKS, 2),
        world=zeros(N_LANDMARKS, 3),
        visibility=zeros(N_LANDMARKS),
        presence=zeros(N_LANDMARKS),
        score=zeros(),
        crop=zeros(4),
        inner={n: np.zeros((frames, N_LANDMARKS, c), np.float16) for n, c in INNER.items()},
        boxes=boxes,
        shows=np.full(frames, -1, np.int8),
    )


def _note(sight: Sight, t: int, look: TappedLook) -> None:
    sight.image[t] = look.image[:N_LANDMARKS]
    sight.world[t] = look.world
    sight.visibility[t] = look.visibility
    sight.presence[t] = look.presence
    sight.score[t] = look.score
    sight.crop[t] = (look.crop.x, look.crop.y, look.crop.side, look.crop.angle)
    for name, values in look.inner.items():
        sight.inner[name][t] = values


def _unflipped(sight: Sight, times: Array) -> Sight:
    """The sight with the network's swaps of left and right undone, as hpsvid does it."""
    swapped = find_flips(sight.image, sight.world, sight.score, times)
    order = np.where(swapped[:, None], MIRROR, np.arange(N_LANDMARKS))
    rows = np.arange(len(times))[:, None]
    for name in ("image", "world", "visibility", "presence"):
        values = getattr(sight, name)
        values[:] = values[rows, order]
    for values in sight.inner.values():
        values[:] = values[rows, order]
    return sight
