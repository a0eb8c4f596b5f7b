"""Keypoints that another program found, in place of the landmark network's own 2D.

They say where a body is in the picture and nothing of depth, so that they move the network's
landmarks: in the picture onto the keypoints, in its 3D by as much across the view, while depth
stays the network's. Landmarks that a layout does not have (fingers, and in COCO's the feet) go
along with the nearest that it has. Frames between two with keypoints are moved as these are.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.keypoints import LAYOUTS, SURE, LayoutName, People2D
from hpsvid.body.skeleton import BLAZEPOSE, LANDMARK, LIMB_LANDMARKS
from hpsvid.common.boxes import iou
from hpsvid.types import N_LANDMARKS, Array, Track

MIN_OVERLAP = 0.3  # IoU of a track's box with that of keypoints
LONGEST_GAP_S = 0.25  # between two frames with keypoints, over which their move is interpolated
_HIPS = [LANDMARK["left_hip"], LANDMARK["right_hip"]]
# where the layouts' names differ from the landmarks', and what each landmark goes along with
_SAME = {"left_big_toe": "left_foot_index", "right_big_toe": "right_foot_index"}
_LEADERS = {
    "pinky": "wrist", "index": "wrist", "thumb": "wrist", "heel": "ankle", "foot_index": "ankle",
    "eye_inner": "eye", "eye_outer": "eye", "eye": "ear", "ear": "shoulder",
}  # fmt: skip


def keypoints_of_tracks(tracks: Sequence[Track], people: People2D) -> list[Array]:
    """For each track the landmarks (T, 33, 3) px, px, confidence that were given, 0 where none."""
    names = LAYOUTS[people.layout]
    columns = [(n, LANDMARK[to]) for n, name in enumerate(names)
               if (to := _SAME.get(name, name)) in LANDMARK]  # fmt: skip
    source, target = (list(part) for part in zip(*columns, strict=True))
    told = [np.zeros((len(track), N_LANDMARKS, 3), np.float32) for track in tracks]
    for frame, points in people.points_of.items():
        boxes = people.box_of[frame]
        points = points[(points[..., 2] >= SURE).sum(1) >= 3]  # those that have a box
        rows = [frame - int(track.frame_index[0]) for track in tracks]
        alive = [n for n, row in enumerate(rows) if 0 <= row < len(tracks[n])]
        if not alive or len(points) == 0:
            continue
        own = np.stack([tracks[n].boxes[rows[n]] for n in alive]).astype(np.float64)
        overlap = iou(own, boxes[:, :4].astype(np.float64))
        for place, person in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[place, person] >= MIN_OVERLAP:
                n = alive[place]
                told[n][rows[n], target] = points[person][source]
    return told


def with_keypoints(
    landmarks: Landmarks, told: Array, pts_s: Array, layout: LayoutName
) -> Landmarks:
    """The landmarks of one track moved onto keypoints (T, 33, 3); pts_s: (T,) s.

    Frames in which the network saw nobody stay unseen: nothing says how deep the body lies there.
    """
    sure = (told[..., 2] >= SURE) & (landmarks.score > 0)[:, None]
    move = np.where(sure[..., None], told[..., :2] - landmarks.image, 0)
    known = sure.copy()
    for n in np.flatnonzero(sure.any(0)):
        move[:, n], known[:, n] = _between(move[:, n], sure[:, n], pts_s)
    leaders = _leaders(layout)
    move, known = move[:, leaders], known[:, leaders]
    trunk = move[:, _HIPS].mean(1, keepdims=True)  # 3D is about the middle of the hips
    world = landmarks.world.copy()
    world[..., :2] += (move - trunk) / _px_per_m(landmarks)[:, None, None]
    chance = np.clip(told[..., 2], 0, 1)
    return replace(
        landmarks,
        image=(landmarks.image + move).astype(np.float32),
        world=world.astype(np.float32),
        visibility=np.where(sure, chance, landmarks.visibility).astype(np.float32),
        presence=np.where(sure, 1, landmarks.presence).astype(np.float32),
    )


def _between(move: Array, sure: Array, pts_s: Array) -> tuple[Array, Array]:
    """Moves (T, 2) also between frames that have one (T,), and which frames have one now."""
    at = np.flatnonzero(sure)
    after = np.searchsorted(at, np.arange(len(sure)))
    inside = (after > 0) & (after < len(at)) & ~sure
    near = np.zeros(len(sure), bool)
    near[inside] = pts_s[at[after[inside]]] - pts_s[at[after[inside] - 1]] <= LONGEST_GAP_S
    filled = np.stack([np.interp(pts_s, pts_s[at], move[at, axis]) for axis in (0, 1)], 1)
    return np.where((sure | near)[:, None], filled, 0), sure | near


def _leaders(layout: LayoutName) -> list[int]:
    """For each landmark the one whose move it makes: itself where the layout has it."""
    has = {_SAME.get(name, name) for name in LAYOUTS[layout]}

    def leader(name: str) -> str:
        while name not in has:
            side, _, part = name.partition("_")
            if part not in _LEADERS:
                return "nose"  # of the mouth
            name = f"{side}_{_LEADERS[part]}"
        return name

    return [LANDMARK[leader(name)] for name in BLAZEPOSE.names]


def _px_per_m(landmarks: Landmarks) -> Array:
    """Pixels (T,) of a metre at each body, by its limbs in the picture and in 3D."""
    image, world = (
        points[:, LIMB_LANDMARKS] - points[:, LIMB_LANDMARKS].mean(1, keepdims=True)
        for points in (landmarks.image, landmarks.world[..., :2])
    )
    return np.maximum((image * world).sum((1, 2)) / np.maximum((world**2).sum((1, 2)), 1e-9), 1)
