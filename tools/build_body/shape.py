"""Shape directions (betas) and the joint regressor, learned from the sampled population."""

import numpy as np
from scipy.optimize import nnls

from hpsvid.body.skeleton import JOINT, SMPL, mirror_name
from hpsvid.types import N_BETAS
from tools.build_body.skeleton import NAMES, SPINE_JOINTS_AND_HEAD

DENSITY = 985.0  # kg per m3 of a human body
FLIP = np.array([-1, 1, 1])
FIT_PEOPLE = 400  # people the joint regressor is fitted to
HELD_OUT = 5  # every fifth person is left out of that fit
SUM_WEIGHT = 100.0  # how hard a regressor row is asked to sum to 1
RIDGE = 1e-2
POOL = {"hip": 900, "knee": 700, "collar": 800, "shoulder": 700, "elbow": 400}
TRUNK = (*SPINE_JOINTS_AND_HEAD, "left_hip", "right_hip", "left_collar", "right_collar")


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume inside a closed mesh, m3."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("fi,fi->", np.cross(a, b), c) / 6)


def stature(vertices: np.ndarray) -> np.ndarray:
    """Height (...,) m of standing bodies (..., V, 3)."""
    return np.ptp(vertices[..., 1], axis=-1)


def shape_space(
    people: np.ndarray, faces: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean body (V, 3) m and ten directions (V, 3, 10) m per unit of beta.

    people: (n, V, 3) m in T-pose on a common pelvis. beta 1 is stature, beta 2 body mass index
    at fixed stature, each by regression; the others are principal components of what is left.
    """
    count = len(people)
    mean = people.mean(0)
    mean = (mean + mean[mirror] * FLIP) / 2
    rest = (people - mean).reshape(count, -1)

    def standard(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / values.std()

    def symmetric(direction: np.ndarray) -> np.ndarray:
        direction = direction.reshape(-1, 3)
        return (direction + direction[mirror] * FLIP) / 2

    tall = stature(people).astype(float)
    mass = np.array([DENSITY * volume(person.astype(float), faces) for person in people])
    height = standard(tall)
    girth = standard(np.log(mass / tall**2))
    girth = standard(girth - height * (height @ girth) / count)
    directions = []
    for score in (height, girth):
        direction = symmetric(score @ rest / count)
        directions.append(direction)
        rest = rest - np.outer(score, direction.reshape(-1)).astype(np.float32)
    spread, scores = np.linalg.eigh(rest.astype(float) @ rest.T)
    for k in range(1, N_BETAS - 1):  # eigh sorts upwards
        deviation = np.sqrt(max(spread[-k], 0) / (count - 1))
        direction = symmetric(rest.T @ scores[:, -k] / np.sqrt(spread[-k]) * deviation)
        if volume(mean + 2 * direction, faces) < volume(mean - 2 * direction, faces):
            direction = -direction  # more volume is positive
        directions.append(direction)
    return mean, np.stack(directions, -1)


def joint_regressor(
    people: np.ndarray, joints: np.ndarray, mean: np.ndarray, skin: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """Rows (24, V), each non-negative with sum 1, that give the joints of a rest mesh.

    people: (n, V, 3) m; joints: (n, 24, 3) m, where they should come out; mean: (V, 3) m;
    skin: (V, 24). Non-negative least squares on surface points near each joint.
    """
    chosen = np.flatnonzero(np.arange(len(people)) % HELD_OUT)[:FIT_PEOPLE]
    rows = np.zeros((SMPL.n_rotations, len(mean)))
    for name in NAMES:
        if name.startswith("right_"):
            continue
        index, central = JOINT[name], name in SPINE_JOINTS_AND_HEAD
        pool = _candidates(name, joints.mean(0)[index], mean, skin)
        points, wanted = people[chosen][:, pool], joints[chosen, index]
        if central:
            points = np.concatenate([points, people[chosen][:, mirror[pool]] * FLIP])
            wanted = np.concatenate([wanted, wanted * FLIP])
        scale = np.sqrt(len(chosen))
        matrix = np.concatenate([
            points.transpose(0, 2, 1).reshape(-1, len(pool)).astype(float),
            np.full((1, len(pool)), SUM_WEIGHT * scale),
            RIDGE * scale * np.eye(len(pool)),
        ])  # fmt: skip
        goal = np.concatenate([wanted.reshape(-1), [SUM_WEIGHT * scale], np.zeros(len(pool))])
        weights = nnls(matrix, goal, maxiter=20_000)[0]
        weights[weights < 1e-4] = 0
        rows[index, pool] = weights / weights.sum()
        if central:
            rows[index] = (rows[index] + rows[index][mirror]) / 2
        else:
            rows[JOINT[mirror_name(name)]] = rows[index][mirror]
    return rows


def _candidates(name: str, centre: np.ndarray, mean: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Vertices that a joint's row may use: around limbs' joints, a slab of the trunk."""
    distance = np.linalg.norm(mean - centre, axis=1)
    if name in SPINE_JOINTS_AND_HEAD:
        level = np.abs(mean[:, 1] - centre[1]) < 0.09
        inner = np.abs(mean[:, 0]) < 0.19
        trunk = skin[:, [JOINT[joint] for joint in TRUNK]].sum(1) > 0.5
        pool = np.flatnonzero(level & inner & trunk)
        pool = pool[np.argsort(distance[pool], kind="stable")]
        return pool[:: max(1, len(pool) // 420)]
    other_limb = skin[:, JOINT[name]] < 0.02
    pool = np.argsort(distance + 0.025 * other_limb, kind="stable")
    pool = pool[: POOL.get(name.split("_")[1], 200)]
    return pool[::2] if len(pool) > 300 else pool
