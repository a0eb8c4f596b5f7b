"""SMPL's 24 joints and skin weights from MakeHuman's 163 bones."""

import numpy as np

from hpsvid.body.skeleton import JOINT, SMPL

NAMES = SMPL.rotation_names
SIDES = (("L", "left_"), ("R", "right_"))
SPINE_BONES = ("spine05", "spine04", "spine03", "spine02", "spine01")  # from the pelvis up
SPINE_JOINTS = ("pelvis", "spine1", "spine2", "spine3")
SPINE_JOINTS_AND_HEAD = (*SPINE_JOINTS, "neck", "head")  # all on the mid line
INFLUENCES = 4  # most joints a vertex follows; what game engines and glTF take

Heads = dict[str, np.ndarray]


def place_joints(heads: Heads) -> np.ndarray:
    """SMPL-like joint centres (people, 24, 3) m from T-posed bone heads (people, 3).

    MakeHuman's bones start elsewhere than SMPL's joints; the shares below put the centres where
    published figures of SMPL have them. The motion capture was fitted to these definitions.
    """
    joints = np.zeros((len(heads["root"]), SMPL.n_rotations, 3))

    def put(name: str, place: np.ndarray) -> None:
        joints[:, JOINT[name]] = place

    hips = {s: 0.7 * heads[f"upperleg01.{s}"] + 0.3 * heads[f"upperleg02.{s}"] for s in "LR"}
    middle = (hips["L"] + hips["R"]) / 2
    put("pelvis", heads["spine04"] * [1, 1, 0] + middle * [0, 0, 1])
    put("spine1", (heads["spine03"] + heads["spine02"]) / 2)
    put("spine2", 0.35 * heads["spine02"] + 0.65 * heads["spine01"])
    put("spine3", heads["spine01"])
    put("neck", heads["neck02"])
    put("head", heads["head"])
    for s, side in SIDES:
        put(side + "hip", 0.86 * hips[s] + 0.14 * middle)
        put(side + "knee", heads[f"lowerleg01.{s}"])
        put(side + "ankle", heads[f"foot.{s}"])
        put(side + "foot", np.mean([heads[f"toe{k}-1.{s}"] for k in (1, 2, 3, 4)], 0))
        put(side + "collar", 0.3 * heads[f"clavicle.{s}"] + 0.7 * heads[f"shoulder01.{s}"])
        put(side + "shoulder", heads[f"upperarm01.{s}"])
        put(side + "elbow", heads[f"lowerarm01.{s}"])
        put(side + "wrist", heads[f"wrist.{s}"])
        knuckles = np.mean([heads[f"finger{k}-1.{s}"] for k in (2, 3, 4)], 0)
        put(side + "hand", 0.12 * heads[f"wrist.{s}"] + 0.88 * knuckles)
    return joints


def joint_shares(bone: str) -> dict[str, float]:
    """SMPL joints that take over a MakeHuman bone's skin weight (spine: merge_weights)."""
    side = {"L": "left_", "R": "right_"}.get(bone.split(".")[-1], "")
    stem = bone.split(".")[0]
    if stem == "neck01":
        return {"spine3": 0.5, "neck": 0.5}
    if stem == "wrist" or stem.startswith(("metacarpal", "finger1")):  # thumbs do not bend
        return {side + "wrist": 1.0}
    prefixes = {
        "root": "pelvis",
        "pelvis": "pelvis",
        "upperleg": side + "hip",
        "lowerleg": side + "knee",
        "foot": side + "ankle",
        "toe": side + "foot",
        "neck0": "neck",
        "clavicle": side + "collar",
        "shoulder01": side + "collar",
        "upperarm": side + "shoulder",
        "lowerarm": side + "elbow",
        "finger": side + "hand",
        "breast": "spine3",
    }
    for prefix, joint in prefixes.items():
        if stem.startswith(prefix):
            return {joint: 1.0}
    return {"head": 1.0}  # jaw, tongue, eyes and the muscles of the face


def merge_weights(
    weights: np.ndarray, bones: list[str], middles: dict[str, float], knots: list[float]
) -> np.ndarray:
    """Skin weights of the 24 joints (N, 24) from those of the bones (N, bones).

    The two chains cut the spine differently, so spine weight goes by height: middles holds the
    height of each spine bone's middle, knots the heights where pelvis, spine1, spine2 and spine3
    carry everything; between two knots the weight passes over linearly.
    """
    merged = np.zeros((len(weights), SMPL.n_rotations))
    on_spine, lever = np.zeros(len(weights)), np.zeros(len(weights))
    for column, bone in enumerate(bones):
        if bone in SPINE_BONES:
            on_spine += weights[:, column]
            lever += weights[:, column] * middles[bone]
        else:
            for joint, share in joint_shares(bone).items():
                merged[:, JOINT[joint]] += share * weights[:, column]
    height = lever / np.maximum(on_spine, 1e-9)
    for index, joint in enumerate(SPINE_JOINTS):
        peak = np.eye(len(SPINE_JOINTS))[index]
        merged[:, JOINT[joint]] += on_spine * np.interp(height, knots, peak)
    return merged


def limit_influences(weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Skin weights (V, 24) with at most INFLUENCES joints a vertex, symmetric, rows sum to 1."""

    def strongest(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        weak = np.argsort(-rows, 1, kind="stable")[:, INFLUENCES:]
        np.put_along_axis(rows, weak, 0, 1)
        return rows / rows.sum(1, keepdims=True)

    rows = strongest(np.where(weights < 0.004, 0, weights))
    rows = strongest((rows + rows[mirror][:, SMPL.mirror_rotations]) / 2)
    # On the mid line the last place can go to one of two equal sides: give it to neither.
    rows = np.where(rows[mirror][:, SMPL.mirror_rotations] > 0, rows, 0)
    rows = (rows + rows[mirror][:, SMPL.mirror_rotations]) / 2
    return rows / rows.sum(1, keepdims=True)
