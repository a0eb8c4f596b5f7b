"""Which frames of a clip show a person well, from many sides and over the whole clip."""

import numpy as np

from hpsvid.common.boxes import areas
from hpsvid.types import Array, Clip, Person

COUNT = 28  # frames that a texture is made of
_TURN = np.deg2rad(30)  # a person seen from this much elsewhere shows something new
_APART_S = 1.5  # a pose this much later, too
_ERROR_M = 0.05  # of the evidence: a body that fits as people usually do
_BLUR_PX = 8.0  # that a joint moves from frame to frame: then its picture is blurred
_CUT = 0.02  # of the picture's size: nearer to its edge, a box is cut by it


def chosen_rows(person: Person, pts_s: Array, clip: Clip, count: int = COUNT) -> Array:
    """Rows of the person's track, in order: up to `count` that show them well, each another way.

    pts_s: (F,) s, the clip's. The best frame first, then always the one that adds most: good of
    itself, and far in time and direction from those chosen. A frame without evidence is none.
    """
    worth = _worth(person, clip)
    seconds = pts_s[person.track.frame_index]
    seconds = seconds / min(_APART_S, max(float(np.ptp(seconds)), 1e-6) / 4)
    heading = headings(person)
    new = np.ones(len(worth))
    rows: list[int] = []
    while len(rows) < min(count, int((worth > 0).sum())):
        row = int((worth * new).argmax())
        rows.append(row)
        turned = np.angle(np.exp(1j * (heading - heading[row]))) / _TURN
        near = np.exp(-(turned**2) - 0.25 * (seconds - seconds[row]) ** 2)
        new *= 1 - 0.9 * near
        worth[row] = 0
    return np.sort(np.array(rows, np.int64))


def headings(person: Person) -> Array:
    """From which side the camera sees the person (T,) rad: 0 from the front, pi from behind."""
    forward = person.body.rotmats[:, 0, :, 2].astype(np.float64)  # SMPL's rest pose faces +z
    pelvis = person.joints[:, 0].astype(np.float64)
    away = np.arctan2(pelvis[:, 0], pelvis[:, 2])
    return np.arctan2(forward[:, 0], -forward[:, 2]) + away


def fit(person: Person) -> Array:
    """How well the body fits what was seen (T,), in (0, 1]."""
    error = np.nan_to_num(person.evidence_error, nan=_ERROR_M).mean(1)
    return 1 / (1 + (error / _ERROR_M) ** 2)


def _worth(person: Person, clip: Clip) -> Array:
    """How much a frame shows of a person (T,); 0 where the pose was filled."""
    boxes = person.track.boxes.astype(np.float64)
    joints = person.joints2d.astype(np.float64)
    size = np.array([clip.width, clip.height])
    inside = ((joints > 0) & (joints < size)).all(2).mean(1)
    whole = (boxes[:, :2] > _CUT * size).all(1) & (boxes[:, 2:] < (1 - _CUT) * size).all(1)
    moved = np.zeros(len(joints))
    if len(joints) > 1 and not clip.photos:
        step = np.linalg.norm(np.diff(joints, axis=0), axis=2)
        step = np.sort(step, axis=1)[:, -len(step[0]) // 4 :].mean(1)  # of the quickest quarter
        moved = np.maximum(np.append(step, step[-1]), np.append(step[0], step))
    large = np.sqrt(areas(boxes).clip(0))
    large = large / max(float(large.max()), 1e-6)
    worth = fit(person) * inside * np.where(whole, 1, 0.6) * large / (1 + (moved / _BLUR_PX) ** 2)
    return np.where(person.valid, worth, 0)
