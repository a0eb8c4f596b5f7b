"""Report what a set of shards is a mix of: kinds, postures, layouts, cameras, how much is seen.

python -m tools.people.mix DIR
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from hpsvid.body.skeleton import JOINT
from hpsvid.common.files import read_npz
from hpsvid.types import Array
from tools.people.truth import HIDDEN, OUTSIDE, SEEN, SELF_HIDDEN

FPS = 30.0
KEYS = ("kind", "posture", "arms", "layout", "camera_move", "sex")  # of a shard: text by row


def posture_of(joints: Array) -> str:
    """What a body does for most of a sequence; joints: (T, 29, 3) m, world axes, floor y = 0."""
    names = ("pelvis", "neck", *(f"{s}_{p}" for s in ("left", "right")
                                 for p in ("hip", "knee", "ankle", "foot")))  # fmt: skip
    at = {name: joints[:, JOINT[name]] for name in names}
    trunk = at["neck"] - at["pelvis"]
    tilt = np.degrees(np.arccos(trunk[:, 1] / np.linalg.norm(trunk, axis=1)))
    leg = np.linalg.norm(at["left_hip"] - at["left_knee"], axis=1) + np.linalg.norm(
        at["left_knee"] - at["left_ankle"], axis=1
    )
    height = at["pelvis"][:, 1] / leg
    # how level the lower thigh is: 0 for a hanging one, 1 and more for one that points ahead or up
    thighs = [at[f"{side}_hip"] - at[f"{side}_knee"] for side in ("left", "right")]
    level = 1 - np.maximum(*(thigh[:, 1] / np.linalg.norm(thigh, axis=1) for thigh in thighs))
    speed = np.linalg.norm(np.diff(at["pelvis"][:, [0, 2]], axis=0), axis=1).mean() * FPS
    off = np.minimum(at["left_foot"][:, 1], at["right_foot"][:, 1]) > 0.2  # m, both feet
    if np.median(tilt) > 110:
        return "upside down"
    if np.median(tilt) > 55 and np.median(height) < 0.75:
        return "lying"
    if np.median(height) < 0.75 or np.median(level) > 0.4:
        return "sitting or crouching"
    if off.mean() > 0.1:
        return "in the air"
    if speed > 2.2:  # m/s
        return "running"
    if speed > 0.5:
        return "walking"
    return "bent" if np.median(tilt) > 35 else "standing"


def arms_of(joints: Array, eye: Array) -> str:
    """Where the straighter arm goes for most of a sequence; eye: (T, 3) m, the lens."""
    found = []
    for side in ("left", "right"):
        shoulder, elbow, wrist = (
            joints[:, JOINT[f"{side}_{part}"]] for part in ("shoulder", "elbow", "wrist")
        )
        arm = wrist - shoulder
        reach = np.linalg.norm(arm, axis=1)
        whole = np.linalg.norm(elbow - shoulder, axis=1) + np.linalg.norm(wrist - elbow, axis=1)
        towards = eye - shoulder
        ahead = (arm * towards).sum(1) / reach / np.linalg.norm(towards, axis=1)
        straight = reach / whole > 0.9
        if (straight & (ahead > 0.85)).mean() > 0.4:
            return "to the camera"
        up = np.median(arm[:, 1] / reach)
        found.append("up" if up > 0.6 else "down" if up < -0.6 else "out")
    return "up" if "up" in found else "out" if "out" in found else "down"


def counts_of(shards: list[dict[str, Array]]) -> dict[str, Counter[str]]:
    """Rows by kind, posture, arms, layout, camera move and sex; points by how they are seen."""
    found = {key: Counter[str]() for key in (*KEYS, "landmarks", "frames")}
    names = {SEEN: "seen", SELF_HIDDEN: "behind the own body", HIDDEN: "behind something",
             OUTSIDE: "outside the picture"}  # fmt: skip
    for shard in shards:
        for key in KEYS:
            found[key].update(str(value) for value in shard[key])
        for state, name in names.items():
            found["landmarks"][name] += int((shard["landmark_state"] == state).sum())
        found["frames"]["of people"] += shard["score"].size
        found["frames"]["followed"] += int((shard["score"] > 0).sum())
        known = shard["shows"] >= 0
        right = known & (shard["shows"] == shard["person"][:, None])
        found["frames"]["landmarks on the right person"] += int(right.sum())
        found["frames"]["landmarks on another person"] += int((known & ~right).sum())
    return found


def report(counts: dict[str, Counter[str]]) -> str:
    """The counts as text."""
    lines = []
    for key, counter in counts.items():
        total = max(sum(counter.values()), 1)
        lines.append(key.replace("_", " "))
        for name, count in counter.most_common():
            share = "" if key == "frames" else f" {100 * count / total:5.1f} %"
            lines.append(f"  {name:32}{count:10,}{share}")
    return "\n".join(lines)


def main() -> None:
    """Print the mix of a folder of shards."""
    parser = argparse.ArgumentParser(description="Report what rendered shards are a mix of.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    wanted = (*KEYS, "landmark_state", "score", "shows", "person")
    shards = [read_npz(p, "a shard", wanted) for p in sorted(folder.rglob("shard_*.npz"))]
    print(f"{len(shards)} shards")
    print(report(counts_of(shards)))


if __name__ == "__main__":
    main()
