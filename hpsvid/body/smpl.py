"""The user's own licensed SMPL files: find them, and read them without running their code.

SMPL's files are pickles, some of them of chumpy objects, and unpickling may call anything. The
reader here lets a pickle name only plain arrays; every other name is refused.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpsvid.body.model import ARRAY_KEYS, Body, body_from_arrays, load_body, read_arrays
from hpsvid.body.skeleton import BLAZEPOSE, JOINT, LANDMARK, SMPL
from hpsvid.common.pickle_files import read_plain_pickle
from hpsvid.common.pickles import plain_array
from hpsvid.common.weights import weights_path
from hpsvid.errors import WeightsError, one_line

FILE_NAMES = (
    "SMPL_NEUTRAL.npz",
    "SMPL_NEUTRAL.pkl",
    "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl",
    "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
)
# below the folder that the user names: smplx's layout, and that of the official archive
FOLDERS = ("", "smpl", "models", "smpl/models", "SMPL_python_v.1.1.0/smpl/models")
_GENDER = re.compile(r"(?:^|_)(?:(?P<female>f|female)|(?P<male>m|male))(?:_|$)", re.IGNORECASE)
GENDERED_NAMES = {
    "m": ("SMPL_MALE.npz", "SMPL_MALE.pkl", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl",
          "basicmodel_m_lbs_10_207_0_v1.0.0.pkl"),
    "f": ("SMPL_FEMALE.npz", "SMPL_FEMALE.pkl", "basicmodel_f_lbs_10_207_0_v1.1.0.pkl",
          "basicModel_f_lbs_10_207_0_v1.0.0.pkl"),
}  # fmt: skip
SMPL_VERTICES = 6890
# Head top, left and right middle finger tip, left and right big toe on SMPL's mesh.
SMPL_LEAVES = (411, 2445, 5905, 3216, 6617)
COLOUR = (150, 166, 186)  # grey-blue, sRGB; licensed files carry no look of their own
# Published ids of surface points on SMPL's mesh (the table of extra joints in smplx).
SMPL_POINTS = {
    "nose": 332,
    "left_eye": 2800,
    "right_eye": 6260,
    "left_ear": 583,
    "right_ear": 4071,
    "left_thumb_tip": 2746,
    "right_thumb_tip": 6191,
    "left_index_tip": 2319,
    "right_index_tip": 5782,
    "left_pinky_tip": 2673,
    "right_pinky_tip": 6133,
    "left_heel": 3387,
    "right_heel": 6787,
    "left_big_toe_tip": 3216,
    "right_big_toe_tip": 6617,
}
# Landmarks without a published id, as weighted means of points and joints on the same rigid
# part. Weights measured on the free body, where the landmarks are known: residual 3-10 mm, mouth
# below 1 mm, hips and elbows 13 mm. {s} is the landmark's own side, {o} the other.
BLENDS = {
    "{s}_eye_inner": {"{s}_eye": 0.8, "{o}_eye": 0.2},
    "{s}_eye_outer": {"{s}_eye": 1.27, "{o}_eye": -0.27},
    "mouth_{s}": {
        "nose": 1.49, "{s}_eye": -0.4, "{o}_eye": -0.51, "{s}_ear": 0.36, "{o}_ear": 0.06,
    },
    "{s}_index": {"{s}_wrist": 0.25, "{s}_hand": 0.24, "{s}_index_tip": 0.51},
    "{s}_pinky": {"{s}_wrist": 0.39, "{s}_hand": 0.08, "{s}_pinky_tip": 0.53},
    "{s}_thumb": {"{s}_wrist": 0.35, "{s}_thumb_tip": 0.65},
    "{s}_foot_index": {"{s}_big_toe_tip": 1.0},
    # not at the joints but where the landmark network sees them (tools/build_body/landmarks.py)
    "{s}_shoulder": {"{s}_shoulder": 0.76, "{s}_collar": 0.31, "neck": -0.07},
    "{s}_hip": {"{s}_hip": 0.99, "{o}_hip": -0.06, "spine1": 0.07},
    "{s}_ankle": {"{s}_ankle": 0.88, "{s}_knee": 0.05, "{s}_foot": 0.07},
    "{s}_wrist": {"{s}_wrist": 1.02, "{s}_elbow": -0.02},
}  # fmt: skip


def find_smpl(option: Path | None) -> Path | None:
    """Path of the user's SMPL file: `option`, else $HPSVID_SMPL, else None (use the free body).

    Either may be the file, or a folder that holds it under a usual name, itself or in one of
    FOLDERS.
    Raises WeightsError when a path was given and there is no model.
    """
    given, origin = option, "--smpl"
    if given is None:
        variable = os.environ.get("HPSVID_SMPL", "")
        if not variable:
            return None
        given, origin = Path(variable), "$HPSVID_SMPL"
    if given.is_file():
        return given
    for folder in FOLDERS:
        for name in FILE_NAMES:
            if (given / folder / name).is_file():
                return given / folder / name
    if given.is_dir():
        problem = "holds no neutral SMPL model"
    else:
        problem = "is no regular file" if given.exists() else "does not exist"
    raise WeightsError(
        f"{origin} {given}: {problem}; expected a .npz or .pkl file, or a folder with one of "
        + ", ".join(FILE_NAMES)
    )


def find_gendered(neutral: Path, gender: str) -> Path | None:
    """The SMPL file for actors of this gender ("m", "f") in the folder of the neutral one."""
    names = GENDERED_NAMES.get(gender[:1].lower(), ())
    return next((neutral.parent / n for n in names if (neutral.parent / n).is_file()), None)


def load_smpl(path: Path) -> Body:
    """Read a SMPL model file, .npz or .pkl (chumpy's included), without running code from it.

    The body's gender is what the file's name says, as the files themselves do not.
    Raises WeightsError when the file is missing, damaged, asks for anything but arrays, or is
    not a 24-joint SMPL-format body of 6890 vertices (or with `leaf_vertices` of its own).
    """
    data = read_arrays(path) if path.suffix == ".npz" else _read_pickle(path)
    if "leaf_vertices" not in data:
        vertices = data["v_template"].size // 3 if "v_template" in data else 0
        if vertices != SMPL_VERTICES:
            raise WeightsError(
                f"{path}: a body of {vertices} vertices, expected SMPL's {SMPL_VERTICES}"
            )
        data = {**_smpl_landmarks(), **data}
    if "colours" not in data and "v_template" in data:
        data["colours"] = np.tile(np.array(COLOUR, np.uint8), (data["v_template"].size // 3, 1))
    return replace(body_from_arrays(data, name=path.stem), gender=_gender(path.stem))


def _gender(stem: str) -> str:
    """The gender that the name of a model file states: "female", "male" or "neutral"."""
    stated = _GENDER.search(stem)
    return "neutral" if stated is None else str(stated.lastgroup)


def _smpl_landmarks() -> dict[str, np.ndarray]:
    """Leaf vertices and landmark rows for SMPL's own mesh."""
    surface = np.zeros((len(BLAZEPOSE.names), SMPL_VERTICES), np.float32)
    joints = np.zeros((len(BLAZEPOSE.names), len(SMPL.parents)), np.float32)

    def add(row: int, point: str, weight: float) -> None:
        if point in SMPL_POINTS:
            surface[row, SMPL_POINTS[point]] += weight
        else:
            joints[row, JOINT[point]] += weight

    blends = {
        name.format(s=side): {p.format(s=side, o=other): w for p, w in parts.items()}
        for name, parts in BLENDS.items()
        for side, other in (("left", "right"), ("right", "left"))
    }
    for name, row in LANDMARK.items():
        for point, weight in blends.get(name, {name: 1.0}).items():
            add(row, point, weight)
    return {
        "leaf_vertices": np.array(SMPL_LEAVES),
        "landmark_regressor": surface,
        "landmark_joints": joints,
    }


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    content = read_plain_pickle(path, "SMPL file", WeightsError)
    arrays = {}
    for key in sorted(ARRAY_KEYS & content.keys()):
        try:
            arrays[key] = plain_array(content[key])
        except Exception as error:
            raise WeightsError(f"{path}: `{key}` is damaged ({one_line(error)})") from error
    return arrays


def load_chosen_body(smpl: Path | None) -> Body:
    """The user's own SMPL file when one is given or set, otherwise the free body."""
    path = find_smpl(smpl)
    return load_body(weights_path("free_body")) if path is None else load_smpl(path)
