"""String the steps together: MakeHuman's data in, the arrays of a SMPL-format body out."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsvid.body.skeleton import JOINT, SMPL
from tools.build_body.correctives import Reference, pose_directions
from tools.build_body.decimate import HalfMesh, decimate
from tools.build_body.landmarks import (
    HIDDEN,
    SMOOTHED,
    SMPL_IDS,
    base_points,
    landmark_regressor,
    vertices_of,
)
from tools.build_body.look import suit_colours, texture_coordinates
from tools.build_body.makehuman import EYES, BaseMesh, Rig, read_base, read_rig
from tools.build_body.population import Population, sample_population
from tools.build_body.shape import joint_regressor, shape_space
from tools.build_body.skeleton import (
    NAMES,
    SPINE_BONES,
    SPINE_JOINTS,
    joint_shares,
    limit_influences,
    merge_weights,
    place_joints,
)
from tools.build_body.tpose import (
    GROUPS,
    blend_skin,
    dual_quaternions,
    group_of,
    posed_head,
    to_t_pose,
)

PEOPLE = 1500
SEED = 0
HALF_VERTICES = 3540  # of one side with the mid line; not 6890 in all, see the model card
PELVIS = np.array([0, -0.225, 0.02])  # m, where the rest pelvis lies: about where SMPL has it
# Steps that numbers are rounded to: far below what is visible, above what differs between
# machines; they also make the file small.
TEMPLATE_STEP_M = 2.0**-20
CORRECTIVE_STEP_M = 2.0**-17


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPerson:
    """The mean of the population at full resolution."""

    a_pose: np.ndarray  # (N, 3) m
    t_pose: np.ndarray  # (N, 3) m
    rotations: np.ndarray  # (G, 3, 3) of the turned groups
    offsets: np.ndarray  # (G, 3) m
    skin: np.ndarray  # (N, 24)


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledPeople:
    """The population and its mean before the mesh is thinned: what clothes are fitted to."""

    mesh: BaseMesh
    rig: Rig
    population: Population
    group_weights: np.ndarray  # (N, G) share of each turned group in a base vertex
    frames: tuple[np.ndarray, np.ndarray]  # (people, G, 3, 3), (people, G, 3) m: into the T-pose
    joints: np.ndarray  # (people, 24, 3) m in the T-pose
    mean: MeanPerson


def sample_people(folder: Path) -> SampledPeople:
    """Everyone the free body is learned from, from MakeHuman's data in `folder` (data/mpfb2)."""
    mesh = read_base(folder)
    rig = read_rig(folder, mesh)
    population = sample_population(folder, mesh, PEOPLE, SEED)
    bones = list(rig.parents)
    group_weights = np.zeros((len(mesh.vertices), len(GROUPS)))
    for column, bone in enumerate(bones):
        group_weights[:, group_of(bone, rig.parents)] += rig.weights[:, column]

    heads = _bone_heads(mesh, rig, population)
    frames = to_t_pose(heads)
    joints = place_joints({b: posed_head(heads, frames, b, rig.parents) for b in bones})
    return SampledPeople(
        mesh=mesh,
        rig=rig,
        population=population,
        group_weights=group_weights,
        frames=frames,
        joints=joints,
        mean=_mean_person(mesh, rig, population, group_weights, joints.mean(0)),
    )


def build_body(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Arrays of the free body from MakeHuman's data in `folder` (data/mpfb2).

    Also the correctives' errors by joint (pose_directions).
    """
    sampled = sample_people(folder)
    mesh, rig, person, joints = sampled.mesh, sampled.rig, sampled.mean, sampled.joints
    order, faces = _thin(mesh, person)
    place = {int(vertex): index for index, vertex in enumerate(order)}
    mirror = np.array([place[int(mesh.mirror[vertex])] for vertex in order])
    points = {name: place[v] for name, v in base_points(mesh.mirror).items() if v in place}

    skin = limit_influences(person.skin[order], mirror)
    people = t_posed_people(sampled, order)
    # Everyone's pelvis comes to lie in the same place.
    shift = PELVIS - joints[:, :1]
    people += shift.astype(np.float32)
    joints = joints + shift
    template, directions = shape_space(people, faces, mirror)
    regressor = joint_regressor(people, joints, template, skin, mirror)

    template = rounded(template, TEMPLATE_STEP_M)
    rest = regressor @ template
    reference = _reference(rig, person, order, skin, rest, shift.mean(0)[0])
    correctives, errors = pose_directions(reference, mirror)
    corners: dict[int, set[int]] = {}
    for vertex, texture in zip(mesh.quads.ravel(), mesh.uv_quads.ravel(), strict=True):
        corners.setdefault(int(vertex), set()).add(int(texture))
    uv, uv_faces = texture_coordinates(order[faces], corners, mesh.uv)
    on_mid_line = np.flatnonzero(mirror == np.arange(len(mirror)))
    head_top = on_mid_line[template[on_mid_line, 1].argmax()]
    tips = ("left_middle_tip", "right_middle_tip", "left_big_toe", "right_big_toe")
    eyes = (order >= EYES.start) & (order < EYES.stop)
    # SMPL's own keys, as smplx reads them, then ours. Root's parent as SMPL files have it.
    return {
        "v_template": template.astype(np.float32),
        "shapedirs": rounded(directions, TEMPLATE_STEP_M).astype(np.float32),
        "posedirs": rounded(correctives, CORRECTIVE_STEP_M).astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": skin.astype(np.float32),
        "kintree_table": np.array(
            [[2**32 - 1, *SMPL.parents[1 : SMPL.n_rotations]], range(SMPL.n_rotations)], np.uint32
        ),
        "f": faces.astype(np.uint32),
        "J": rest.astype(np.float32),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
        "mh_vertex_ids": order.astype(np.int32),
        "mirror": mirror.astype(np.int32),
        "leaf_vertices": np.array([head_top, *(points[tip] for tip in tips)], np.int32),
        "landmark_regressor": landmark_regressor(template, skin, rest, points, mirror).astype(
            np.float32
        ),
        "colours": suit_colours(template, rest, eyes),
        "uv": uv.astype(np.float32),
        "uv_faces": uv_faces.astype(np.int32),
        "licence": np.array("CC0-1.0"),
    }, errors


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz whose bytes depend on the arrays alone (no times, keys sorted)."""
    with zipfile.ZipFile(path, "w") as archive:
        for key in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, arrays[key], version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, 9)


def rounded(values: np.ndarray, step: float) -> np.ndarray:
    """Values in whole steps."""
    return np.round(values / step) * step


def _bone_heads(mesh: BaseMesh, rig: Rig, population: Population) -> dict[str, np.ndarray]:
    """Everyone's bone heads in the A-pose, (people, 3) m by bone."""
    needed = sorted({vertex for ids in rig.heads.values() for vertex in ids})
    place = {vertex: index for index, vertex in enumerate(needed)}
    at = _shaped(mesh, population.displacements, population.strengths, np.array(needed))
    return {b: at[:, [place[vertex] for vertex in ids]].mean(1) for b, ids in rig.heads.items()}


def _shaped(
    mesh: BaseMesh, displacements: np.ndarray, strengths: np.ndarray, vertices: np.ndarray
) -> np.ndarray:
    """The chosen vertices (people, K, 3) m of meshes shaped by `strengths` (people, T)."""
    moved = strengths @ displacements[:, vertices].reshape(len(displacements), -1)
    return (mesh.vertices[vertices].reshape(1, -1) + moved).reshape(len(strengths), -1, 3)


def _mean_person(
    mesh: BaseMesh,
    rig: Rig,
    population: Population,
    group_weights: np.ndarray,
    mean_joints: np.ndarray,
) -> MeanPerson:
    strengths = population.strengths.mean(0)
    a_pose = mesh.vertices + np.tensordot(strengths, population.displacements, 1)
    heads = {bone: a_pose[ids].mean(0)[None] for bone, ids in rig.heads.items()}
    frames = to_t_pose(heads)
    t_pose = blend_skin(a_pose, group_weights, *dual_quaternions(*frames))[0]
    height = {b: posed_head(heads, frames, b, rig.parents)[0, 1] for b in rig.parents}
    ends = (*SPINE_BONES[1:], "neck01")
    middles = {
        bone: (height[bone] + height[end]) / 2 for bone, end in zip(SPINE_BONES, ends, strict=True)
    }
    level = {name: mean_joints[JOINT[name], 1] for name in (*SPINE_JOINTS, "neck")}
    # Pelvis and spine3 hold on a little lower than half way, where people bend least.
    knots = [
        (height["spine05"] + level["spine1"]) / 2 - 0.02,
        (level["spine1"] + level["spine2"]) / 2,
        (level["spine2"] + level["spine3"]) / 2,
        (level["spine3"] + level["neck"]) / 2 - 0.02,
    ]
    rotations, offsets = frames
    return MeanPerson(
        a_pose=a_pose,
        t_pose=t_pose,
        rotations=rotations[0],
        offsets=offsets[0],
        skin=merge_weights(rig.weights, list(rig.parents), middles, knots),
    )


def _thin(mesh: BaseMesh, person: MeanPerson) -> tuple[np.ndarray, np.ndarray]:
    """Base-mesh vertices that are kept, in the order of the built body, and its faces (F, 3)."""
    points, count = person.t_pose, len(mesh.vertices)
    quads = mesh.quads
    first = np.linalg.norm(points[quads[:, 0]] - points[quads[:, 2]], axis=1)
    second = np.linalg.norm(points[quads[:, 1]] - points[quads[:, 3]], axis=1)
    shorter = (first <= second)[:, None]
    triangles = np.concatenate([
        np.where(shorter, quads[:, [0, 1, 2]], quads[:, [0, 1, 3]]),
        np.where(shorter, quads[:, [0, 2, 3]], quads[:, [1, 2, 3]]),
    ])  # fmt: skip
    across = mesh.vertices[:, 0]
    on_seam = np.abs(across) < 1e-5
    keep, smoothed = np.zeros(count, bool), np.zeros(count, bool)
    keep[list(base_points(mesh.mirror).values())] = True
    smoothed[vertices_of(SMOOTHED)] = True
    kept, half = decimate(
        HalfMesh(
            points=points,
            triangles=triangles[across[triangles].min(1) > -1e-5],
            on_seam=on_seam,
            keep=keep,
            remove_first=smoothed,
            importance=_importance(mesh, person),
            skin=person.skin,
        ),
        HALF_VERTICES,
    )
    order = np.concatenate([kept, mesh.mirror[kept[~on_seam[kept]]]])
    place = np.zeros(count, np.int64)
    place[order] = np.arange(len(order))
    faces = np.concatenate([place[half], place[mesh.mirror[half[:, ::-1]]]])
    return _at_smpl_ids(order, faces, base_points(mesh.mirror))


def _importance(mesh: BaseMesh, person: MeanPerson) -> np.ndarray:
    """Factor on each vertex' surface error: more on face and hands, hardly any where hidden."""
    owner = np.array(NAMES)[person.skin.argmax(1)]
    across, up, front = np.abs(mesh.vertices[:, 0]), mesh.vertices[:, 1], mesh.vertices[:, 2]
    head = owner == "head"
    importance = np.ones(len(owner))
    importance[head] = 3.0
    importance[head & (front > 0.08) & (up > 0.62) & (up < 0.76)] = 6.0  # eyes, nose, mouth
    importance[head & (across > 0.062) & (front < 0.06)] = 1.0  # ears
    for part, factor in (("foot", 0.9), ("hand", 2.2), ("wrist", 1.6)):
        importance[np.isin(owner, [f"left_{part}", f"right_{part}"])] = factor
    hidden = vertices_of(HIDDEN)
    importance[np.union1d(hidden, mesh.mirror[hidden])] *= 0.002
    importance[EYES] *= 0.5
    return importance


def _at_smpl_ids(
    order: np.ndarray, faces: np.ndarray, points: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Swap vertices so that SMPL's ids of well-known points name the same points here."""
    old_of = np.arange(len(order))  # new index -> old
    for name, wanted in SMPL_IDS.items():
        now = int(np.flatnonzero(order[old_of] == points[name])[0])
        old_of[[now, wanted]] = old_of[[wanted, now]]
    new_of = np.argsort(old_of)
    return order[old_of], new_of[faces]


def t_posed_people(sampled: SampledPeople, order: np.ndarray) -> np.ndarray:
    """Everyone in T-pose at the base vertices `order` (V,): (people, V, 3) m float32."""
    displacements, strengths = sampled.population.displacements, sampled.population.strengths
    people = np.zeros((len(strengths), len(order), 3), np.float32)
    weights = sampled.group_weights[order]
    real, dual = dual_quaternions(*sampled.frames)
    for start in range(0, len(people), 100):  # keeps memory small
        part = slice(start, start + 100)
        rest = _shaped(sampled.mesh, displacements, strengths[part], order)
        people[part] = blend_skin(rest, weights, real[part], dual[part])
    return people


def _reference(
    rig: Rig,
    person: MeanPerson,
    order: np.ndarray,
    skin: np.ndarray,
    rest: np.ndarray,
    shift: np.ndarray,
) -> Reference:
    """The mean person cut into parts: pairs of SMPL joint and turned MakeHuman group."""
    parts: dict[tuple[int, int], np.ndarray] = {}
    for column, bone in enumerate(rig.parents):
        if bone in SPINE_BONES:
            continue
        for joint, share in joint_shares(bone).items():
            key = (JOINT[joint], group_of(bone, rig.parents))
            sofar = parts.setdefault(key, np.zeros(len(order)))
            parts[key] = sofar + share * rig.weights[order, column]
    full = person.skin[order]
    for joint in SPINE_JOINTS:  # the spine's share, as it was merged by height
        key = (JOINT[joint], 0)
        others = [w for (j, g), w in parts.items() if j == key[0] and (j, g) != key]
        parts[key] = np.maximum(full[:, JOINT[joint]] - np.sum(others, 0), 0)
    weights = np.stack(list(parts.values()), 1)
    groups = [group for _, group in parts]
    return Reference(
        a_pose=person.a_pose[order],
        t_pose=person.t_pose[order] + shift,
        part_weights=weights / weights.sum(1, keepdims=True),
        part_joints=np.array([joint for joint, _ in parts]),
        rotations=person.rotations[groups],
        offsets=person.offsets[groups] + shift,
        skin=skin,
        joints=rest,
    )
