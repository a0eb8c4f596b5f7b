"""Pose blend shapes: what plain linear blend skinning needs to follow a better skinning.

The reference skins MakeHuman's own A-pose by dual quaternions with MakeHuman's weights and
spreads twist along the limbs. SMPL's pose blend shapes are then fitted, joint by joint, so that
linear blend skinning with the 24 joints lands on it (SMPL, Loper et al., 2015, Eq. 9).
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hpsvid.body.skeleton import JOINT, SMPL, mirror_name
from tools.build_body.shape import FLIP
from tools.build_body.skeleton import NAMES
from tools.build_body.tpose import blend_skin, dual_quaternions, unit

EYE = np.eye(3)
POSES = 160  # sampled rotations a joint
TEST_POSES = 60
RIDGE = 2e-3
SMALLEST_M = 4e-4  # vertices that err less stay without a corrective
ROUNDED_M = 2e-5  # smaller entries are dropped
# Share of dual quaternions in the reference (rest: linear); alone they bulge on the outside.
DUAL_SHARE = {"shoulder": 0.8, "elbow": 0.7, "knee": 0.7, "hip": 0.8, "wrist": 0.9}
# Rotations a joint is fitted on, degrees about an axis, outermost first (left side).
RANGES = {
    "shoulder": (("y", -75, 35), ("z", -90, 60), ("x", -70, 70)),
    "elbow": (("z", -8, 8), ("y", -140, 5), ("x", -75, 75)),
    "wrist": (("z", -60, 60), ("y", -30, 30), ("x", -75, 75)),
    "hand": (("z", -60, 25), ("y", -10, 10)),
    "collar": (("z", -25, 30), ("y", -25, 25), ("x", -10, 10)),
    "hip": (("x", -115, 30), ("z", -25, 45), ("y", -35, 35)),
    "knee": (("x", -5, 140), ("z", -5, 5), ("y", -12, 12)),
    "ankle": (("x", -35, 45), ("z", -20, 20), ("y", -20, 20)),
    "foot": (("x", -45, 30),),
    "neck": (("x", -40, 40), ("z", -30, 30), ("y", -50, 50)),
    "head": (("x", -40, 40), ("z", -30, 30), ("y", -50, 50)),
    "spine": (("x", -25, 40), ("z", -25, 25), ("y", -30, 30)),
}
# Where along its bone (0 joint, 1 child) a limb begins to take its twist, and over what length
# it takes all of it; the forearm takes most of the wrist's.
TWIST = {"shoulder": (-0.05, 0.95), "hip": (-0.05, 0.9), "elbow": (-0.12, 0.75)}
CHILD = {"shoulder": "elbow", "elbow": "wrist", "wrist": "hand", "hip": "knee"}
FOREARM_TWIST, FOREARM_START, FOREARM_LENGTH = 0.8, 0.15, 0.8
DESCENDANTS = np.zeros(
    (SMPL.n_rotations, SMPL.n_rotations), bool
)  # [j, k]: k is j or hangs below it
for _k in range(SMPL.n_rotations):
    DESCENDANTS[[_k, *SMPL.ancestors[_k]], _k] = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The mean body, skinned MakeHuman's way. B parts: (SMPL joint, turned group) pairs."""

    a_pose: np.ndarray  # (V, 3) m
    t_pose: np.ndarray  # (V, 3) m
    part_weights: np.ndarray  # (V, B)
    part_joints: np.ndarray  # (B,) the SMPL joint of each part
    rotations: np.ndarray  # (B, 3, 3) A-pose to T-pose
    offsets: np.ndarray  # (B, 3) m
    skin: np.ndarray  # (V, 24)
    joints: np.ndarray  # (24, 3) m


def pose_directions(
    reference: Reference, mirror: np.ndarray, seed: int = 1
) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """SMPL's posedirs (V, 3, 207), m per entry of (R - 1), left-right symmetric.

    Also, for each joint, the distance to the reference on fresh rotations without and with them
    (root mean square over the vertices that have a corrective, mm).
    """
    errors: dict[str, tuple[float, float]] = {}
    rng = np.random.default_rng(seed)
    found = np.zeros((len(mirror), 3, 9 * (SMPL.n_rotations - 1)))
    signs = FLIP[None, :, None] * np.outer(FLIP, FLIP).reshape(9)  # of a mirrored rotation
    for name in NAMES[1:]:
        if name.startswith("right_"):
            continue
        joint = JOINT[name]
        fitted = _fit_joint(reference, joint, _sample(name, rng, POSES))
        errors[name] = _errors(reference, joint, fitted, _sample(name, rng, TEST_POSES))
        other = JOINT[mirror_name(name)]
        if other == joint:
            fitted = (fitted + fitted[mirror] * signs) / 2
        found[:, :, 9 * (joint - 1) : 9 * joint] = fitted
        found[:, :, 9 * (other - 1) : 9 * other] = fitted[mirror] * signs
    found[np.abs(found) < ROUNDED_M] = 0
    return found, errors


def _fit_joint(reference: Reference, joint: int, rotations: np.ndarray) -> np.ndarray:
    """Ridge regression of the missing displacement (V, 3, 9) on the entries of R - 1."""
    count = len(rotations)
    wanted = _skin_reference(reference, joint, rotations)
    rest = _skin_reference(reference, joint, EYE[None])[0]
    blended, shift = _linear_blend(reference, joint, rotations)
    missing = wanted - (np.einsum("nvij,vj->nvi", blended, rest) + shift)
    active = np.flatnonzero(np.abs(missing).max((0, 2)) > SMALLEST_M)
    blended, missing = blended[:, active], missing[:, active]
    features = (rotations - EYE).reshape(count, 9)
    gram = np.einsum("nvki,nvkj->nvij", blended, blended)
    right = np.einsum("nvki,nvk->nvi", blended, missing)
    normal = np.einsum("na,nb,nvij->vaibj", features, features, gram, optimize=True)
    normal = normal.reshape(len(active), 27, 27) / count + RIDGE * np.eye(27)
    goal = np.einsum("na,nvi->vai", features, right).reshape(len(active), 27, 1) / count
    solved = np.linalg.solve(normal, goal).reshape(len(active), 9, 3)
    fitted = np.zeros((len(reference.skin), 3, 9))
    fitted[active] = solved.transpose(0, 2, 1)
    return fitted


def _errors(
    reference: Reference, joint: int, fitted: np.ndarray, rotations: np.ndarray
) -> tuple[float, float]:
    wanted = _skin_reference(reference, joint, rotations)
    rest = _skin_reference(reference, joint, EYE[None])[0]
    blended, shift = _linear_blend(reference, joint, rotations)
    bend = np.einsum("vik,nk->nvi", fitted, (rotations - EYE).reshape(-1, 9))
    active = np.any(fitted != 0, axis=(1, 2))

    def distance(shape: np.ndarray) -> float:
        off = wanted - (np.einsum("nvij,nvj->nvi", blended, shape) + shift)
        return 1e3 * float(np.sqrt((off[:, active] ** 2).sum(-1).mean()))

    return distance(np.broadcast_to(rest, bend.shape)), distance(rest + bend)


def _linear_blend(
    reference: Reference, joint: int, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blended matrices (n, V, 3, 3) and shifts (n, V, 3) of SMPL's skinning, one joint turned."""
    share = reference.skin[:, DESCENDANTS[joint]].sum(1)[None, :, None]
    centre = reference.joints[joint]
    blended = (1 - share)[..., None] * EYE + share[..., None] * rotations[:, None]
    return blended, share * (centre - rotations @ centre)[:, None]


def _skin_reference(reference: Reference, joint: int, rotations: np.ndarray) -> np.ndarray:
    """The reference's vertices (n, V, 3) with one joint turned by `rotations` (n, 3, 3)."""
    part, side = NAMES[joint].split("_")[-1], NAMES[joint].split("_")[0] + "_"
    centre = reference.joints[joint]
    still = np.broadcast_to(EYE, rotations.shape)
    below = DESCENDANTS[joint][reference.part_joints]
    turns = [rotations if moved else still for moved in below]
    groups = list(range(len(turns)))
    weights = list(reference.part_weights.T)

    def split(owner: int, twisted: np.ndarray, share: np.ndarray) -> None:
        """Give `share` of the vertices' weight on joint `owner`'s parts to the turn `twisted`."""
        for index in np.flatnonzero(reference.part_joints == owner):
            turns.append(twisted)
            groups.append(int(index))
            weights.append(weights[index] * share)
            weights[index] = weights[index] * (1 - share)

    if part in CHILD:
        elbow = JOINT.get(side + "elbow", 0)
        start, end = (elbow, joint) if part == "wrist" else (joint, JOINT[side + CHILD[part]])
        bone = reference.joints[end] - reference.joints[start]
        axis, length = unit(bone), np.linalg.norm(bone)
        along = (reference.t_pose - reference.joints[start]) @ axis / length
        swing, twist = _swing_twist(rotations, axis)
        if part == "wrist":
            split(elbow, twist, FOREARM_TWIST * _ease((along - FOREARM_START) / FOREARM_LENGTH))
        else:
            begin, over = TWIST[part]
            split(joint, swing, 1 - _ease((along - begin) / over))

    turned = np.stack(turns, 1)  # (n, B', 3, 3) about `centre`
    moved = turned @ reference.rotations[groups]
    offsets = turned @ (reference.offsets[groups] - centre)[..., None]
    offsets = offsets[..., 0] + centre
    table = np.stack(weights, 1)
    skinned = blend_skin(reference.a_pose, table, *dual_quaternions(moved, offsets))
    dual_share = DUAL_SHARE.get(part, 1.0)
    if dual_share == 1:
        return skinned
    blended = np.einsum("vb,nbij,vj->nvi", table, moved, reference.a_pose, optimize=True)
    linear = blended + table @ offsets
    return dual_share * skinned + (1 - dual_share) * linear


def _swing_twist(rotations: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R = swing @ twist, twist about `axis` of the rest frame."""
    quaternions = Rotation.from_matrix(rotations).as_quat()  # scalar last
    twist = np.concatenate([(quaternions[:, :3] @ axis)[:, None] * axis, quaternions[:, 3:]], 1)
    matrices = Rotation.from_quat(twist).as_matrix()
    return rotations @ np.swapaxes(matrices, 1, 2), matrices


def _ease(share: np.ndarray) -> np.ndarray:
    """Smooth step from 0 to 1."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _sample(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    part = name.split("_")[-1]
    ranges = RANGES["spine" if part.startswith("spine") else part]
    turns = Rotation.identity(count)
    for axis, low, high in ranges:
        angles = rng.uniform(low, high, (count, 1))
        turns = turns * Rotation.from_euler(axis, angles, degrees=True)
    return turns.as_matrix()
