"""Named points on the base mesh, and BlazePose's 33 landmarks on the built body."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from hpsvid.body.skeleton import BLAZEPOSE, JOINT, mirror_name

# Vertices of MakeHuman's base mesh, found by geometric rules (foremost, lowest, outermost point
# of the bone's region) and looked at; the right side is the mirror image.
BASE_POINTS = {
    "nose": 297,
    "left_eye": 14598,  # front of the eyeball
    "left_eye_inner": 11488,
    "left_eye_outer": 13376,
    "left_mouth": 10404,
    "left_ear": 12125,
    "left_thumb_tip": 9348,
    "left_thumb_knuckle": 10306,
    "left_index_tip": 8595,
    "left_index_knuckle": 9772,
    "left_middle_tip": 8787,
    "left_ring_tip": 8979,
    "left_pinky_tip": 9197,
    "left_pinky_knuckle": 9820,
    "left_heel": 12442,
    "left_big_toe": 12756,
    "left_second_toe": 13133,
    "left_small_toe": 13209,
}
# Vertex ids that tools for SMPL use for these points; the built body keeps to them.
SMPL_IDS = {
    "nose": 332,
    "right_eye": 6260,
    "left_eye": 2800,
    "right_ear": 4071,
    "left_ear": 583,
    "right_thumb_tip": 6191,
    "right_index_tip": 5782,
    "right_middle_tip": 5905,
    "right_ring_tip": 6016,
    "right_pinky_tip": 6133,
    "left_thumb_tip": 2746,
    "left_index_tip": 2319,
    "left_middle_tip": 2445,
    "left_ring_tip": 2556,
    "left_pinky_tip": 2673,
    "left_big_toe": 3216,
    "left_small_toe": 3226,
    "left_heel": 3387,
    "right_big_toe": 6617,
    "right_small_toe": 6624,
    "right_heel": 6787,
}
# Base vertices of the left half and the mid line that no view from outside shows: mouth cavity,
# eye sockets, backs of the eyeballs. Found by rasterising 32 views of the body; first-last runs.
HIDDEN = """
537 554 557 571 574 588 591 608 625 642 659 676 693 710 7189 7191-7192 7194-7195 7197 7204-7206
7271-7272 7274-7276 7278 7280-7290 7293-7299 7301-7305 7307 7309-7313 7316-7320 7324-7326
7339-7341 7350 7354-7356 7365 7369-7371 7384-7385 7399-7400 7414-7416 7422 7424-7425 7429-7431
7752 7778-7779 7781 7784 7790 7795 7797-7807 7809 7812-7831 7835-7856 7859-7882 7884-7906
7909-7932 7934-7948 7950-7956 7958-7973 7976-7980 7982 7984-7998 8002 8004-8029 8031-8032
8034-8046 10375-10381 10387 10395-10398 11718-11740 11913-11922 11951-11952 11961 13375 13379
14601-14603 14610-14612 14619-14621 14629 14655-14660 14664-14668
"""
# Nipples: thinned first, so that the body is a smooth mannequin.
SMOOTHED = "1762-1793 8434-8465"


def vertices_of(runs: str) -> list[int]:
    """The ids in a text of numbers and first-last runs."""
    ids: list[int] = []
    for run in runs.split():
        first, _, last = run.partition("-")
        ids.extend(range(int(first), int(last or first) + 1))
    return ids


def base_points(mirror: np.ndarray) -> dict[str, int]:
    """BASE_POINTS of both sides; mirror: (N,) of the base mesh."""
    return BASE_POINTS | {
        mirror_name(name): int(mirror[vertex])
        for name, vertex in BASE_POINTS.items()
        if name.startswith("left_")
    }


def landmark_regressor(
    template: np.ndarray,
    skin: np.ndarray,
    joints: np.ndarray,
    points: dict[str, int],
    mirror: np.ndarray,
) -> np.ndarray:
    """Rows (33, V), non-negative with sum 1, of BlazePose's landmarks on the surface.

    template: (V, 3) m; skin: (V, 24); joints: (24, 3) m; points: vertex of each named point;
    mirror: (V,). Face, heels and toes are vertices; knuckles lie between back and palm;
    shoulders, elbows, wrists, hips, knees and ankles are means of a band of skin around the
    joint, which follow a posed mesh better than the sparse joint regressor, and lie where the
    landmark network sees them.
    """

    def vertices(*ids: int) -> np.ndarray:
        row = np.zeros(len(template))
        row[list(ids)] = 1 / len(ids)
        return row

    def knuckle(finger: str) -> np.ndarray:
        back = points[f"left_{finger}_knuckle"]
        hand = skin[:, [JOINT["left_wrist"], JOINT["left_hand"]]].sum(1) > 0.5
        away = template - template[back]
        under = hand & (away[:, 1] < -0.008) & (np.hypot(away[:, 0], away[:, 2]) < 0.012)
        below = np.flatnonzero(under)
        return vertices(back, int(below[away[below, 1].argmin()]))

    left = {
        f"left_{name}": _band_row(template, skin, joints[JOINT[f"left_{name}"]], band)
        for name, band in BANDS.items()
    }
    left |= {f"left_{finger}": knuckle(finger) for finger in ("pinky", "index", "thumb")}
    left["left_foot_index"] = vertices(points["left_big_toe"], points["left_second_toe"])
    left["mouth_left"] = vertices(points["left_mouth"])
    rows = []
    for name in BLAZEPOSE.names:
        here = "mouth_left" if name == "mouth_right" else name.replace("right_", "left_")
        row = left[here] if here in left else vertices(points[here])
        rows.append(row if here == name else row[mirror])
    return np.stack(rows)


class Band(NamedTuple):
    """A band of skin around a joint of the left side."""

    axis: tuple[float, float, float]
    parts: tuple[str, ...]  # joints whose skin counts
    half_height: float  # m, along the axis
    radius: float  # m
    seen: tuple[float, float, float]  # m, from the joint: left, up, ahead on the rest body


# `seen` is where blazepose_heavy sees a joint on clothed, rendered people (tools.people.landmarks):
# shoulders inside the joint, hips and ankles above it. Knees are seen where they are.
BANDS = {
    "shoulder": Band(
        (1, 0.3, 0), ("left_shoulder", "left_collar", "spine3"), 0.03, 0.12, (-0.019, -0.003, 0.006)
    ),
    "elbow": Band((1, 0, 0), ("left_shoulder", "left_elbow"), 0.02, 0.2, (0, -0.001, 0.012)),
    "wrist": Band((1, 0, 0), ("left_elbow", "left_wrist"), 0.015, 0.2, (0.005, -0.001, 0.003)),
    "hip": Band((0.2, 1, 0), ("left_hip", "pelvis"), 0.05, 0.18, (0.006, 0.017, 0.008)),
    "knee": Band((0, 1, 0), ("left_hip", "left_knee"), 0.03, 0.2, (0, 0, 0)),
    "ankle": Band((0, 1, 0), ("left_knee", "left_ankle"), 0.02, 0.2, (0, 0.020, 0.011)),
}


def _band_row(template: np.ndarray, skin: np.ndarray, centre: np.ndarray, band: Band) -> np.ndarray:
    """Nearly even weights on a band of skin whose mean lies where `centre`, a joint, is seen."""
    goal_point = centre + band.seen
    away = template - centre
    inside = np.abs(away @ (np.array(band.axis) / np.linalg.norm(band.axis))) < band.half_height
    inside &= np.linalg.norm(away, axis=1) < band.radius
    inside &= skin[:, [JOINT[part] for part in band.parts]].sum(1) > 0.5
    ids = np.flatnonzero(inside)
    count = len(ids)
    even = 0.02 * np.sqrt(count)  # pull towards equal weights, against 30 for the mean
    matrix = np.concatenate([template[ids].T * 30, np.full((1, count), 100), even * np.eye(count)])
    goal = np.concatenate([goal_point * 30, [100], np.full(count, even / count)])
    weights = nnls(matrix, goal, maxiter=50_000)[0]
    row = np.zeros(len(template))
    row[ids] = weights / weights.sum()
    return row
