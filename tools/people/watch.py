"""What the real crop-and-track code and landmark network see of a film, inner maps included."""

from dataclasses import dataclass, replace

import numpy as np

from hpsvid.backbone.blazepose import BlazePose, Look
from hpsvid.backbone.crop import SIDE, Crop
from hpsvid.backbone.flips import MIRROR, find_flips
from hpsvid.backbone.inner_maps import MIRROR as SWAP
from hpsvid.backbone.inner_maps import N_CHANNELS, READ
from hpsvid.body.skeleton import LIMB_LANDMARKS
from hpsvid.types import N_LANDMARKS, Array
from tools.people.truth import HIDDEN, OUTSIDE, PersonTruth

FACTS = ("image", "world", "visibility", "presence")  # of a look, by landmark
LARGEST = 6e4  # of a map's values; float16 ends at 65504
BOX_PAD = 0.06  # of a detector's boxes about the joints, share of the longer side
BOX_UNREST = 0.012  # deviation from frame to frame, share of the longer side
BOX_BIAS = 0.02  # deviation over a sequence
DETECTED = 0.3  # share of the joints that must show for a detector to see a person
ON_SOMEBODY = 0.25  # of a person's height: landmarks farther away on the mean show nobody


class Everything:
    """The reader that keeps the inner maps' samples as they are."""

    width = N_CHANNELS

    def __call__(self, samples: Array) -> Array:
        """Samples (N, 19, 352) float16."""
        return samples.clip(-LARGEST, LARGEST).astype(np.float16)


class Watcher(BlazePose):
    """`hpsvid`'s landmark network and tracking, on one thread; its looks keep the inner maps."""

    def __init__(self) -> None:
        super().__init__([], threads=1, reader=Everything())

    def mirrored(self, rgb: Array, look: Look) -> Look:
        """What the network says of the look's crop in a mirror, told of the crop itself.

        Image and world are turned back and every landmark has the name of the same point of the
        body; only the inner maps are those of the mirror image.
        """
        (seen,) = self.look(rgb, [MirroredCrop.of(look.crop)])
        assert seen.inner is not None
        facts = {name: getattr(seen, name)[:N_LANDMARKS][MIRROR] for name in FACTS}
        return replace(seen, **facts, inner=seen.inner[SWAP])


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredCrop(Crop):
    """A crop read from right to left; what is found in it is told of the picture all the same."""

    @classmethod
    def of(cls, crop: Crop) -> "MirroredCrop":
        """The mirror image of a crop."""
        return cls(x=crop.x, y=crop.y, side=crop.side, angle=crop.angle)

    def cut(self, rgb: Array) -> Array:
        """The crop's pixels (256, 256, 3) uint8, right and left exchanged."""
        return Crop.cut(self, rgb)[:, ::-1]

    def to_image(self, points: Array) -> Array:
        """Mirrored crop pixels (..., 2) -> picture pixels (..., 2)."""
        return Crop.to_image(self, points * [-1, 1] + [SIDE, 0])

    def from_image(self, points: Array) -> Array:
        """Picture pixels (..., 2) -> mirrored crop pixels (..., 2)."""
        return Crop.from_image(self, points) * [-1, 1] + [SIDE, 0]

    def turn_back(self, points: Array) -> Array:
        """Turn points (..., 3) from the mirrored crop's axes into the picture's."""
        return Crop.turn_back(self, points * [-1, 1, 1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """What was seen of one track over T frames; score 0 where nothing was."""

    image: Array  # (T, 33, 2) float32 px
    world: Array  # (T, 33, 3) float32 m
    visibility: Array  # (T, 33)
    presence: Array  # (T, 33)
    score: Array  # (T,)
    crop: Array  # (T, 4) float32: centre x, y and side, px of the picture; angle, rad
    inner: Array  # (T, 19, 352) float16, samples of the inner maps
    mirrored: dict[str, Array]  # FACTS and inner of the crops in a mirror
    boxes: Array  # (T, 4) float32 px
    shows: Array  # (T,) int8: the scene's person whom the landmarks lie on; -1 for nobody


def watched(
    network: Watcher,
    pictures: Array,
    people: list[PersonTruth],
    rng: np.random.Generator,
    fps: float,
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
            if look is not None:
                _note(sight, t, look, network.mirrored(picture, look))
                sight.shows[t] = shown(look.image[:N_LANDMARKS], people, t)
    times = np.arange(frames) / fps
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

    inner = np.zeros((frames, len(READ), N_CHANNELS), np.float16)
    widths = {"image": (2,), "world": (3,), "visibility": (), "presence": ()}

    return Sight(
        image=zeros(N_LANDMARKS, 2),
        world=zeros(N_LANDMARKS, 3),
        visibility=zeros(N_LANDMARKS),
        presence=zeros(N_LANDMARKS),
        score=zeros(),
        crop=zeros(4),
        inner=inner,
        mirrored={name: zeros(N_LANDMARKS, *widths[name]) for name in FACTS}
        | {"inner": inner.copy()},
        boxes=boxes,
        shows=np.full(frames, -1, np.int8),
    )


def _note(sight: Sight, t: int, look: Look, mirrored: Look) -> None:
    sight.image[t] = look.image[:N_LANDMARKS]
    sight.world[t] = look.world
    sight.visibility[t] = look.visibility
    sight.presence[t] = look.presence
    sight.score[t] = look.score
    sight.crop[t] = (look.crop.x, look.crop.y, look.crop.side, look.crop.angle)
    sight.inner[t] = look.inner
    for name in (*FACTS, "inner"):
        sight.mirrored[name][t] = getattr(mirrored, name)


def _unflipped(sight: Sight, times: Array) -> Sight:
    """The sight with the network's swaps of left and right undone, as hpsvid does it."""
    facts = {name: getattr(sight, name) for name in FACTS}
    for seen in (facts | {"inner": sight.inner}, sight.mirrored):
        swapped = find_flips(seen["image"], seen["world"], sight.score, times)
        for name, values in seen.items():
            values[swapped] = values[swapped][:, SWAP if name == "inner" else MIRROR]
    return sight
