"""Shape directions for the lengths of limbs, which the sampled population hardly varies.

MakeHuman's sliders make arms of one length for a stature, and 60 mm of span too short; a survey
(`tools.build_body.survey`) says how long arms and legs are. Each direction moves what lies beyond a
bone's end by a metre and stretches what lies along the bone; stature stays as it is.
"""

import numpy as np

from hpsvid.body.skeleton import JOINT, SMPL

NAMES = ("upper arm", "forearm", "hand", "leg", "knee", "foot")
SIDES = ("left", "right")
ENDS = ("shoulder", "elbow", "wrist", "middle_tip", "hip", "knee", "ankle", "big_toe")


def limb_directions(template: np.ndarray, rest: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Directions (V, 3, 6), metres for a metre more of what `NAMES` says.

    template: (V, 3) m in T-pose; rest: (29, 3) m, its joints and leaves; skin: (V, 24). `leg` is
    the height of the hips, with as much less of a trunk; `knee` that of the knees alone.
    """
    shapes = {name: np.zeros_like(template, np.float64) for name in NAMES}
    for side in SIDES:
        at = {name: rest[JOINT[f"{side}_{name}"]] for name in ENDS}
        arm = _beyond(skin, f"{side}_shoulder")[:, None]
        for name, start, end in (
            ("upper arm", "shoulder", "elbow"), ("forearm", "elbow", "wrist"),
            ("hand", "wrist", "middle_tip"),
        ):  # fmt: skip
            bone = at[end] - at[start]
            shapes[name] += arm * _share(template, at[start], bone)[:, None] * _unit(bone)
        leg = _beyond(skin, f"{side}_hip")
        down = at["ankle"] - at["hip"]
        shapes["leg"][:, 1] -= leg * _share(template, at["hip"], down)
        thigh, shank = (
            _share(template, at[start], at[end] - at[start])
            for start, end in (("hip", "knee"), ("knee", "ankle"))
        )
        shapes["knee"][:, 1] += leg * thigh * (1 - shank)
        foot, ahead = _beyond(skin, f"{side}_ankle"), np.array([0.0, 0.0, 1.0])
        length = (at["big_toe"] - at["ankle"]) * ahead
        shapes["foot"] += (foot * _share(template, at["ankle"], length))[:, None] * ahead
    shapes["leg"][:, 1] -= _above_the_hips(template, rest, skin)
    return np.stack([shapes[name] for name in NAMES], -1)


def _above_the_hips(template: np.ndarray, rest: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """How far up the trunk each vertex lies, 0 at the hips to 1 at the shoulders and arms."""
    legs, arms = (
        sum(_beyond(skin, f"{side}_{top}") for side in SIDES) for top in ("hip", "shoulder")
    )
    hips, shoulders = (
        np.mean([rest[JOINT[f"{side}_{name}"]] for side in SIDES], 0)
        for name in ("hip", "shoulder")
    )
    share = _share(template, hips, (shoulders - hips) * [0, 1, 0])
    return (1 - legs) * (arms + (1 - arms) * share)


def _beyond(skin: np.ndarray, joint: str) -> np.ndarray:
    """Share (V,) of each vertex that moves with a joint or what hangs on it."""
    hanging = [JOINT[joint]]
    for child in range(JOINT[joint] + 1, SMPL.n_rotations):
        if SMPL.parents[child] in hanging:
            hanging.append(child)
    return skin[:, hanging].sum(1, dtype=np.float64)


def _share(points: np.ndarray, start: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """How far along a bone each point (V, 3) lies, 0 to 1, without kinks at its ends."""
    along = np.clip((points - start) @ bone / (bone @ bone), 0, 1)
    return along**2 * (3 - 2 * along)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
