"""Files as other tools write them, of a motion that is known."""

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from hpsvid.common.geometry import matrix_to_axis_angle
from hpsvid.foreign.people import MEAN_PELVIS
from hpsvid.types import Array, BodyParams
from tests.factories import make_params

# about the vertical by 30 degrees, then half a turn about x: from a camera's axes to y up
_ANGLE = np.deg2rad(30)
TO_WORLD = np.array([
    [np.cos(_ANGLE), 0, np.sin(_ANGLE)], [0, 1, 0], [-np.sin(_ANGLE), 0, np.cos(_ANGLE)],
]) @ np.diag([1.0, -1, -1])  # fmt: skip
CAMERA_AT = np.array([0.5, 1.4, 3.0])


@dataclass(frozen=True)
class Known:
    """What a file is to say of one person."""

    params: BodyParams  # transl: of a body whose rest pelvis is the family's mean
    frames: Array
    family: str

    @property
    def rest(self) -> Array:
        return np.array(MEAN_PELVIS[self.family])

    @property
    def pelvis(self) -> Array:
        """(T, 3) m in camera axes."""
        return self.params.transl + self.rest

    @property
    def pelvis_world(self) -> Array:
        return self.pelvis @ TO_WORLD.T + CAMERA_AT

    def angles(self, *, world: bool = False, joints: int = 24) -> Array:
        """Axis-angles (T, 3 joints)."""
        rotmats = self.params.rotmats.astype(np.float64).copy()
        if world:
            rotmats[:, 0] = TO_WORLD @ rotmats[:, 0]
        flat = matrix_to_axis_angle(torch.from_numpy(rotmats[:, :joints])).numpy()
        return flat.reshape(len(rotmats), -1)


def known(family: str, seed: int = 0, frames: Array | None = None) -> Known:
    frames = np.arange(8) if frames is None else frames
    return Known(make_params(len(frames), seed), frames, family)


def write_gvhmr(path: Path, person: Known, *, width: int = 640, height: int = 480) -> Path:
    count = len(person.frames)
    K = torch.tensor([[800.0, 0, width / 2], [0, 800, height / 2], [0, 0, 1]])

    def part(world: bool) -> dict[str, torch.Tensor]:
        angles = person.angles(world=world, joints=22)
        transl = (person.pelvis_world if world else person.pelvis) - person.rest
        return {
            "body_pose": torch.from_numpy(angles[:, 3:]).float(),
            "betas": torch.ones(count, 10),
            "global_orient": torch.from_numpy(angles[:, :3]).float(),
            "transl": torch.from_numpy(transl).float(),
        }

    torch.save(
        {
            "smpl_params_global": part(True),
            "smpl_params_incam": part(False),
            "K_fullimg": K.expand(count, 3, 3).contiguous(),
            "net_outputs": {"model_output": {"pred_cam": torch.zeros(1, count, 3)}},
        },
        path,
    )
    return path


def write_wham(path: Path, people: dict[int, Known]) -> Path:
    results: dict[Any, dict[str, Any]] = collections.defaultdict(dict)
    for who, person in people.items():
        results[np.int64(who)].update(
            pose=person.angles().astype(np.float32),
            trans=person.params.transl,
            pose_world=person.angles(world=True).astype(np.float32),
            trans_world=(person.pelvis_world - person.rest).astype(np.float32),
            betas=np.ones((len(person.frames), 10), np.float32),
            verts=np.zeros((len(person.frames), 6890, 3), np.float32),
            frame_ids=person.frames,
        )
    joblib.dump(results, path)
    return path


def write_phalp(path: Path, people: dict[int, Known], *, packed: bool = True) -> Path:
    """Somebody who is not seen in a frame between is there as a ghost of before."""
    frames = {}
    for time in range(max(int(person.frames[-1]) for person in people.values()) + 1):
        lists: dict[str, Any] = {
            key: [] for key in ("tid", "tracked_time", "smpl", "camera", "size", "embedding")
        }
        for who, person in people.items():
            if not person.frames[0] <= time <= person.frames[-1]:
                continue
            row = int(np.searchsorted(person.frames, time, side="right")) - 1
            rotmats = person.params.rotmats[row]
            lists["tid"].append(who)
            lists["tracked_time"].append(time - int(person.frames[row]))
            lists["smpl"].append({
                "global_orient": rotmats[:1], "body_pose": rotmats[1:],
                "betas": np.ones(10, np.float32),
            })  # fmt: skip
            lists["camera"].append(person.params.transl[row])
            lists["size"].append([480, 640])
            lists["embedding"].append(torch.zeros(4))
        frames[f"outputs/img/{time:06d}.jpg"] = {"time": time, "shot": 0, **lists}
    joblib.dump(frames, path, compress=3 if packed else 0)
    return path


def write_romp(path: Path, people: dict[int, Known], *, tracked: bool = True) -> Path:
    results: dict[str, Any] = {}
    tracks: dict[Any, dict[str, list[Any]]] = {}
    last = max(int(person.frames[-1]) for person in people.values())
    for time in range(last + 1):
        rows: dict[str, list[Any]] = {"smpl_thetas": [], "smpl_betas": [], "cam_trans": []}
        for who, person in people.items():
            if time in person.frames:
                row = int(np.searchsorted(person.frames, time))
                values = (person.angles()[row], np.ones(10), person.params.transl[row])
                track = tracks.setdefault(np.int32(who), {"frame_id": []})
                track["frame_id"].append(time)
                for key, value in zip(rows, values, strict=True):
                    rows[key].append(value.astype(np.float32))
                    track.setdefault(key, []).append(value.astype(np.float32))
        results[f"{time:08d}.png"] = {key: np.array(value) for key, value in rows.items()}
    contents: dict[str, Any] = {"results": results, "sequence_results": tracks if tracked else {}}
    np.savez(path, **contents)
    return path
