"""ROMP's and BEV's `video_results.npz` (Sun et al., ICCV 2021; Arthur151/ROMP, simple_romp).

`numpy.savez` of two pickled dictionaries: `sequence_results` by track (`frame_id`, and lists of the
rest; there with --temporal_optimize, which tracks) and `results` by frame, whose arrays have a row
a person: `smpl_thetas` (72,), `smpl_betas` (10,) and `cam_trans` (3,) m before a camera with a
focal length of 443.4 px for 512 px of the video's longer side (60 degrees). No rate, no size.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsvid.body.model import Body
from hpsvid.common.pickle_files import holds_objects, read_object_npz
from hpsvid.foreign.people import ForeignResult, smpl_person

TOOL = "ROMP"
_KEYS = ("frame_id", "smpl_thetas", "smpl_betas", "cam_trans")
KEY = "results"  # of the npz
_FOCAL_SHARE = 443.4 / 512


def read(path: Path, body: Body) -> ForeignResult:
    """The result. Raises InputError, and ValueError or KeyError for values that are none."""
    tracks = sorted(_tracks(path).items())
    people = [smpl_person(who, track, body, _KEYS) for who, track in tracks]
    return ForeignResult(
        tool=TOOL, people=people, fps=None,
        focal=lambda width, height: _FOCAL_SHARE * max(width, height),
    )  # fmt: skip


def _tracks(path: Path) -> dict[int, Mapping[str, Any]]:
    """Lists of values by track; without tracks, those of the one person of each picture."""
    tracks = {}
    if holds_objects(path, "sequence_results"):  # results of single pictures do not
        tracks = read_object_npz(path, "sequence_results", "result of ROMP")
    if tracks:
        return {int(who): track for who, track in tracks.items()}
    frames = read_object_npz(path, KEY, "result of ROMP")
    if "smpl_thetas" in frames:  # of one picture
        frames = {"": frames}
    alone: dict[str, list[Any]] = {"frame_id": []}
    for number, frame in enumerate(frames.values()):
        if not frame:
            continue
        if len(frame["smpl_thetas"]) > 1:
            raise ValueError("several people and no tracks; run it with --temporal_optimize")
        alone["frame_id"].append(number)
        for key in _KEYS[1:]:
            alone.setdefault(key, []).append(frame[key][0])
    return {0: alone} if alone["frame_id"] else {}
