"""Follow every track with the BlazePose landmark network, one crop a person and frame.

The network (Bazarevsky et al., 2020, arXiv:2006.10204; GHUM 3D variant) reads a square crop
and knows nothing of people outside it. So a crop is first taken from the track's box, then from
the network's own landmarks of the frame before, and what comes back is compared with the boxes:
landmarks that left their track's box, or that fit another track's box better, are not believed.
Where the network looks at some frames only, those between two looks lie on lines between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from hpsvid.backbone import Network
from hpsvid.backbone.crop import SIDE, Crop, crop_along_axis, crops_of_box
from hpsvid.backbone.flips import unflip, upright
from hpsvid.backbone.inner_maps import CHANNELS, READ, Reader, read_maps
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.backbone.neighbours import cut_without, guesses
from hpsvid.body.skeleton import LIMB_LANDMARKS
from hpsvid.common.boxes import iou
from hpsvid.common.series import interpolate
from hpsvid.common.weights import load_onnx, read_manifest
from hpsvid.types import N_LANDMARKS, Array, Frames, Source, Track

N_OUTPUTS = 39  # 33 landmarks, 2 that give the next crop, 4 that are not used
HIPS, RIM = 33, 34  # auxiliary landmarks: middle of the hips, rim of the body's circle
HEATMAP_REACH = 3  # cells each way; MediaPipe's kernel of 7
MIN_SCORE = 0.5  # MediaPipe's min_detection_confidence
MIN_OVERLAP = 0.3  # IoU of landmarks and own box; people cut off by the picture reach 0.4
NEIGHBOUR_MARGIN = 0.15  # IoU by which another track's box may fit better: boxes that cross
BETTER_FIT = 0.05  # IoU with the box by which a larger crop's look must fit better
GUESSED = 0.1  # most visibility of a landmark outside the picture or painted over
AMONG = 0.1  # IoU with the box of one who was seen, who may be in the way
CLEARLY_BETTER_FIT = 0.15  # the same, by which one of two claims on a person wins
SAME_PERSON = 0.1  # of the box's height: mean distance of two tracks' landmarks on one person
MOST_GUESSED = 0.5  # of the limbs' landmarks of a look past others
OTHER_PERSON = 0.2  # the same, from which a look past others shows another person


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the network says about one crop; picture pixels, world axes as in Landmarks."""

    image: Array  # (39, 2) px
    world: Array  # (33, 3) m
    visibility: Array  # (33,)
    presence: Array  # (33,)
    score: float
    crop: Crop  # that was looked at
    inner: Array | None = None  # (19, Q) what the reader keeps of the inner maps

    def next_crop(self) -> Crop:
        """The crop that the auxiliary landmarks ask for."""
        return crop_along_axis(self.image[HIPS], self.image[RIM])


class Follower:
    """Looks at people where they are in a frame, and asks whether to believe what is seen."""

    network: Network  # landmarks, chances and score of crops, as `BlazePose` has them

    def follow(
        self,
        rgb: Array,
        boxes: Array,
        crops: Sequence[Crop | None],
        turns: Sequence[int] | None = None,
    ) -> list[Look | None]:
        """The believable look at each person of one frame, or None.

        boxes: (B, 4) px, people's; crops: what their looks at the frame before asked for
        (`Look.next_crop`), None to look afresh; turns: quarter turns clockwise of the bodies, as
        `Track.turns` has them.
        """
        height, width = rgb.shape[:2]
        looks: list[Look | None] = [None] * len(boxes)

        def keep_believed(places: list[int], offered: list[Look]) -> None:
            """Of each place's believable looks the first, or one that fits its box better."""
            best = np.zeros(len(boxes))
            for place, look in zip(places, offered, strict=True):
                overlap = iou(hull(look, width, height)[None], boxes[place][None]).item()
                fits = is_believable(look, boxes, place, width, height)
                if fits and (looks[place] is None or overlap > best[place] + BETTER_FIT):
                    looks[place], best[place] = look, overlap

        followed = [(place, crop) for place, crop in enumerate(crops) if crop is not None]
        keep_believed([place for place, _ in followed], self.look(rgb, [c for _, c in followed]))
        fresh = [
            (place, crop)
            for place, look in enumerate(looks)
            if look is None
            for crop in crops_of_box(boxes[place], turns[place] if turns else 0, width, height)
        ]
        # the box's crop is upright and roughly sized; a second look along the body's axis
        first = self.look(rgb, [crop for _, crop in fresh])
        hits = [
            (place, look.next_crop())
            for (place, _), look in zip(fresh, first, strict=True)
            if look.score >= MIN_SCORE
        ]
        keep_believed([place for place, _ in hits], self.look(rgb, [c for _, c in hits]))
        looks[:] = drop_doubles(looks, boxes, crops, (width, height))
        for place in _among(looks, boxes):
            people = [look.image[:N_LANDMARKS] for look in looks if look is not None]
            left = self._look_past(rgb, boxes[place], turns[place] if turns else 0, people)
            keep_believed([place] * len(left), left)
        looks[:] = drop_doubles(looks, boxes, crops, (width, height))
        return [None if look is None else doubt_outside(look, width, height) for look in looks]

    def _look_past(self, rgb: Array, box: Array, turn: int, people: list[Array]) -> list[Look]:
        """Looks at who else is in a box than the people seen at landmarks (33, 2) px.

        Landmarks where those were painted over are guesses; looks that mostly guess are left out.
        """
        first = self.look(rgb, crops_of_box(box, turn, rgb.shape[1], rgb.shape[0]), people)
        crops = [look.next_crop() for look in first if look.score >= MIN_SCORE]
        seen = []
        for look in self.look(rgb, crops, people):
            guessed = guesses(look.image[:N_LANDMARKS], look.crop, people)
            apart = min(_apart(look.image, other) for other in people)
            if apart >= OTHER_PERSON * (box[3] - box[1]) and (
                guessed[LIMB_LANDMARKS].mean() <= MOST_GUESSED
            ):
                seen.append(_doubted(look, guessed))
        return seen

    def look(self, rgb: Array, crops: Sequence[Crop], without: Sequence[Array] = ()) -> list[Look]:
        """Run the network on all crops at once, people at landmarks (33, 2) px painted over."""
        if not crops:
            return []
        pixels = np.stack([cut_without(rgb, crop, without) for crop in crops])
        answers = zip(*self.network(pixels), strict=True)
        return [self.told(crop, answer) for crop, answer in zip(crops, answers, strict=True)]

    def told(self, crop: Crop, answer: Sequence[Array]) -> Look:
        """What the network's answer about a crop says of the picture."""
        points, world, chance, score, *inner = answer
        return Look(
            image=crop.to_image(points),
            world=crop.turn_back(world),
            visibility=chance[:, 0],
            presence=chance[:, 1],
            score=float(score),
            crop=crop,
            inner=inner[0] if inner else None,
        )


class BlazePose(Follower):
    """Landmarks of all tracks of a clip; frames come in order, each once.

    tracks: the people to follow; a frame outside every track costs nothing.
    fast: the "full" network, not "heavy": four times as fast, it flips and jitters more.
    threads: on the CPU; None takes all cores (with two, heavy takes 13 ms a crop instead of 24).
    device: as in `load_onnx`.
    looks_hz: how often the network looks, and at each track's ends besides; None: at every frame.
    It goes by the frames' times: a clip whose frames come now fast, now slowly is seen as often.
    reader: what to keep of the heavy network's inner maps; None: nothing.
    Raises WeightsError when the network's file is missing or damaged.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        *,
        fast: bool = False,
        threads: int | None = None,
        device: str = "auto",
        looks_hz: float | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.name = "blazepose_full" if fast else "blazepose_heavy"
        self._session = load_onnx(self.name, threads, device)
        self.network = self._answer
        self._tracks = list(tracks)
        self._looks_hz = looks_hz
        self.reader = reader
        self._last_s = self._last_look_s = -np.inf  # of the frames so far
        self._first = [int(track.frame_index[0]) for track in tracks]
        self._ends = {int(track.frame_index[end]) for track in tracks for end in (0, -1)}
        self._crops: list[Crop | None] = [None] * len(tracks)
        self._landmarks = [self._blank(track) for track in tracks]
        self._looked = [np.zeros(len(track), bool) for track in tracks]
        self.pts_s = [np.zeros(len(track)) for track in tracks]  # of each track's frames, s

    @property
    def provenance(self) -> Source:
        """Name and sha256 of the network, and how often it looked."""
        return {
            "name": self.name,
            "sha256": read_manifest()[self.name].sha256,
            "looks_hz": "all" if self._looks_hz is None else str(self._looks_hz),
        }

    def blank_inner(self, *frames: int) -> Array | None:
        """Zeros (*frames, 19, Q) where the reader's words go; None without a reader."""
        if self.reader is None:
            return None
        return np.zeros((*frames, len(READ), self.reader.width), np.float16)

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip."""
        for rgb, index, pts in zip(frames.rgb, frames.index, frames.pts_s, strict=True):
            self._observe(rgb, int(index), float(pts))

    def landmarks(self) -> list[Landmarks]:
        """What was seen of each track, over its full length; score 0 where nothing was."""
        return [
            fill_between_looks(unflip(upright(landmarks, pts_s), pts_s), looked, pts_s)
            for landmarks, looked, pts_s in zip(
                self._landmarks, self._looked, self.pts_s, strict=True
            )
        ]

    def _blank(self, track: Track) -> Landmarks:
        n = len(track)
        return Landmarks(
            track_id=track.id,
            frame_index=track.frame_index,
            image=np.zeros((n, N_LANDMARKS, 2), np.float32),
            world=np.zeros((n, N_LANDMARKS, 3), np.float32),
            visibility=np.zeros((n, N_LANDMARKS), np.float32),
            presence=np.zeros((n, N_LANDMARKS), np.float32),
            score=np.zeros(n, np.float32),
            lean=np.zeros(n, np.float32) if self.reader else None,
            inner=self.blank_inner(n),
        )

    def _observe(self, rgb: Array, index: int, pts: float) -> None:
        alive = [
            i for i, track in enumerate(self._tracks) if 0 <= index - self._first[i] < len(track)
        ]
        for i in alive:
            self.pts_s[i][index - self._first[i]] = pts
        due = self._is_due(pts)
        if not alive or not (due or index in self._ends):
            return
        boxes = np.stack([self._tracks[i].boxes[index - self._first[i]] for i in alive])
        crops = [self._crops[i] for i in alive]
        turns = [_turns_at(self._tracks[i], index - self._first[i]) for i in alive]
        looks = self.follow(rgb, boxes, crops, turns)
        for i, look in zip(alive, looks, strict=True):
            place = index - self._first[i]
            self._looked[i][place] = True
            self._crops[i] = look.next_crop() if look else None
            if look:
                landmarks = self._landmarks[i]
                landmarks.image[place] = look.image[:N_LANDMARKS]
                landmarks.world[place] = look.world
                landmarks.visibility[place] = look.visibility
                landmarks.presence[place] = look.presence
                landmarks.score[place] = look.score
                if landmarks.lean is not None and landmarks.inner is not None:
                    landmarks.lean[place] = look.crop.angle
                    landmarks.inner[place] = look.inner

    def _is_due(self, pts: float) -> bool:
        """Whether a look at this frame comes nearer to the asked rate than one at the next."""
        step, self._last_s = pts - self._last_s, pts
        if self._looks_hz and pts - self._last_look_s + step / 2 < 1 / self._looks_hz:
            return False
        self._last_look_s = pts
        return True

    def _answer(self, pixels: Array) -> tuple[Array, ...]:
        """What the network says about crops (N, 256, 256, 3) uint8.

        Landmarks (N, 39, 2) crop px, (N, 33, 3) m, chances (N, 33, 2) to be visible and present,
        score (N,); with a reader, what it keeps of the inner maps (N, 19, Q).
        """
        inner_names = list(CHANNELS) if self.reader else []
        landmarks, score, world, heatmaps, *maps = self._session.run(
            ["landmarks", "score", "world", "heatmaps", *inner_names],
            {"crops": pixels.astype(np.float32) / 255},
        )
        points, world, chance = decoded(*map(np.asarray, (landmarks, world, heatmaps)))
        answer = (points, world, chance, np.asarray(score)[:, 0])
        if self.reader is None:
            return answer
        maps = [np.asarray(values) for values in maps]
        return *answer, self.reader(read_maps(maps, points[:, :N_LANDMARKS]))


def decoded(landmarks: Array, world: Array, heatmaps: Array) -> tuple[Array, Array, Array]:
    """Landmarks (N, 39, 2) crop px, (N, 33, 3) m and chances (N, 33, 2) of raw outputs."""
    landmarks = landmarks.reshape(-1, N_OUTPUTS, 5)
    return (
        refine(landmarks[..., :2], heatmaps),
        world.reshape(-1, N_OUTPUTS, 3)[:, :N_LANDMARKS],
        expit(landmarks[:, :N_LANDMARKS, 3:]),
    )


def refine(points: Array, heatmaps: Array) -> Array:
    """Move landmarks (N, 39, 2) to the middle of their heatmaps' mass nearby.

    points: crop px; heatmaps: (N, 64, 64, 39) logits. A landmark whose heatmap is nowhere sure
    stays. As in MediaPipe's RefineLandmarksFromHeatmap; on the calibrated clip it takes the
    regressed points from 19 and 15 to 16 and 10 px median error, and a third off their jitter.
    """
    people, side = len(heatmaps), heatmaps.shape[1]
    stride = SIDE / side
    near = np.arange(-HEATMAP_REACH, HEATMAP_REACH + 1)
    cell = np.floor(points / stride)
    cols, rows = (cell[..., axis, None] + near for axis in (0, 1))  # (N, 39, 7)
    inside_cols, inside_rows = ((c >= 0) & (c < side) for c in (cols, rows))
    logits = heatmaps[
        np.arange(people)[:, None, None, None],
        rows.clip(0, side - 1).astype(np.int64)[..., :, None],
        cols.clip(0, side - 1).astype(np.int64)[..., None, :],
        np.arange(points.shape[1])[:, None, None],
    ]
    mass = inside_rows[..., :, None] * inside_cols[..., None, :] * expit(logits)
    total = np.maximum(mass.sum((-2, -1)), 1e-6)
    middle = np.stack([(mass.sum(-2) * cols).sum(-1), (mass.sum(-1) * rows).sum(-1)], -1)
    sure = mass.max((-2, -1)) >= 0.5
    on_map = ((cell >= 0) & (cell < side)).all(-1)
    return np.where((sure & on_map)[..., None], middle / total[..., None] * stride, points)


def _turns_at(track: Track, place: int) -> int:
    return 0 if track.turns is None else int(track.turns[place])


def hull(look: Look, width: int, height: int) -> Array:
    """The box (4,) px about a look's landmarks, cut at the picture's edges as a detector's is."""
    points = look.image[:N_LANDMARKS]
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high]).clip(0, [width, height, width, height])


def doubt_outside(look: Look, width: int, height: int) -> Look:
    """The look with low visibility for landmarks outside the picture (px), which are guesses."""
    points = look.image[:N_LANDMARKS]
    outside = ((points < 0) | (points > [width, height])).any(1)
    return _doubted(look, np.asarray(outside))


def _doubted(look: Look, guessed: Array) -> Look:
    """The look with low visibility for landmarks that are guessed, (33,) bool."""
    visibility = np.where(guessed, np.minimum(look.visibility, GUESSED), look.visibility)
    return replace(look, visibility=visibility)


def is_believable(look: Look, boxes: Array, own: int, width: int, height: int) -> bool:
    """Whether a look shows a person, and the one of box `own` of all `boxes` (B, 4)."""
    if look.score < MIN_SCORE:
        return False
    (overlap,) = iou(hull(look, width, height)[None], boxes)
    others = np.delete(overlap, own)
    return bool(
        overlap[own] >= MIN_OVERLAP
        and (len(others) == 0 or others.max() <= overlap[own] + NEIGHBOUR_MARGIN)
    )


def _apart(image: Array, other: Array) -> float:
    """Mean distance of the limbs' landmarks of two people, px."""
    apart = image[LIMB_LANDMARKS] - other[LIMB_LANDMARKS]
    return float(np.linalg.norm(apart, axis=-1).mean())


def _among(looks: Sequence[Look | None], boxes: Array) -> list[int]:
    """Those who are not seen and whose box (B, 4) px lies partly on that of one who is."""
    seen = np.array([look is not None for look in looks])
    touched = (iou(boxes, boxes) * seen > AMONG).any(1)
    return [int(place) for place in np.flatnonzero(touched & ~seen)]


def drop_doubles(
    looks: Sequence[Look | None],
    boxes: Array,
    crops: Sequence[Crop | None],
    picture: tuple[int, int],
) -> list[Look | None]:
    """Take a person that two tracks claim from the one that it fits worse.

    boxes: (B, 4) px, the tracks'; crops: what the frame before asked for; picture: width and
    height, px. The claim that fits its own box clearly better wins: a track whose landmarks went
    over to a neighbour does not keep them. Of equal ones the claim nearer to where its track was
    going wins; a track that has no past loses.
    """

    def fits_worse(i: int, j: int, look: Look, other: Look) -> bool:
        own, its = (
            iou(hull(claim, *picture)[None], boxes[k][None]).item()
            for claim, k in ((look, i), (other, j))
        )
        if abs(own - its) > CLEARLY_BETTER_FIT:
            return own < its
        return _surprise(look, crops[i]) > _surprise(other, crops[j])

    kept = list(looks)
    sizes = boxes[:, 3] - boxes[:, 1]
    for i, look in enumerate(looks):
        for j in range(i + 1, len(looks)):
            other = looks[j]
            if look is None or other is None or kept[i] is None or kept[j] is None:
                continue
            if _apart(look.image, other.image) < SAME_PERSON * min(sizes[i], sizes[j]):
                kept[i if fits_worse(i, j, look, other) else j] = None
    return kept


def _surprise(look: Look, crop: Crop | None) -> float:
    """How far a look's body lies from the crop that was to hold it, in crop sides."""
    if crop is None:
        return float("inf")
    asked = look.next_crop()
    moved = np.hypot(asked.x - crop.x, asked.y - crop.y) / crop.side
    return float(moved + abs(np.log(asked.side / crop.side)))


def fill_between_looks(landmarks: Landmarks, looked: Array, pts_s: Array) -> Landmarks:
    """Landmarks of the frames without a look, interpolated between the looks around them.

    looked: (T,) bool; pts_s: (T,) s. A frame stays unseen where either look saw nothing.
    """
    looks = np.flatnonzero(looked)
    between = np.flatnonzero(~looked)
    following = np.searchsorted(looks, between)
    inside = (following > 0) & (following < len(looks))
    between, following = between[inside], following[inside]
    if len(between) == 0:
        return landmarks
    before, after = looks[following - 1], looks[following]

    def filled(values: Array) -> Array:
        whole = values.copy()
        whole[between] = interpolate(pts_s[between], pts_s[looks], values[looks], values.dtype)
        return whole

    score = landmarks.score.copy()
    score[between] = np.minimum(score[before], score[after])
    if landmarks.lean is not None and landmarks.inner is not None:
        lean = landmarks.lean.copy()
        lean[between] = lean[before]  # an angle may jump by a whole turn
        landmarks = replace(landmarks, lean=lean, inner=filled(landmarks.inner))
    return replace(
        landmarks,
        image=filled(landmarks.image),
        world=filled(landmarks.world),
        visibility=filled(landmarks.visibility),
        presence=filled(landmarks.presence),
        score=score,
    )
