"""Which tool wrote a file, and what it says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsvid.body.model import Body
from hpsvid.common.files import read_npz
from hpsvid.common.pickle_files import holds_objects, read_result_pickle
from hpsvid.errors import HpsvidError, InputError, one_line
from hpsvid.foreign import bvh, gvhmr, phalp, romp, smplx, wham
from hpsvid.foreign.people import ForeignResult, as_motion
from hpsvid.official.checkpoint_file import read_checkpoint
from hpsvid.types import Clip, Motion

KNOWN = (
    "GVHMR (.pt), WHAM or 4D-Humans (.pkl), ROMP (.npz), motion capture as AMASS or SMPL-X have it "
    "(.npz), or .bvh"
)


def read_foreign(
    path: Path, body: Body, *, clip: Clip | None = None, fps: float | None = None
) -> Motion:
    """The Motion that another tool's file holds; nothing in the file is run.

    clip: of the video that it was made from, for its size, rate and pictures; fps: frame rate,
    whatever the video or the file say. Raises InputError when the file is of no known layout,
    damaged, or says no rate and nor do `fps` and `clip`; NoPersonError when nobody is in it.
    """
    try:
        return as_motion(_read(path, body, fps), path, body, clip, fps)
    except HpsvidError:
        raise
    except Exception as error:  # values of any kind may stand where arrays should
        missing = "has no " if isinstance(error, KeyError) else ""
        raise InputError(
            f"{path}: cannot be read as a result ({missing}{one_line(error)[:160]})"
        ) from error


def _read(path: Path, body: Body, fps: float | None) -> ForeignResult:
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return bvh.read(path, body)
    if suffix == ".npz":
        return _read_npz(path, body, fps)
    if suffix in (".pt", ".pth"):
        content = read_checkpoint(path)
        if isinstance(content, Mapping) and content.keys() >= gvhmr.KEYS:
            return gvhmr.read(content, body)
    elif suffix in (".pkl", ".pickle"):
        content = read_result_pickle(path, "result of WHAM or 4D-Humans")
        parts = [part for part in content.values() if isinstance(part, Mapping)]
        if parts and len(parts) == len(content):
            for layout in (wham, phalp):
                if all(part.keys() >= layout.KEYS for part in parts):
                    return layout.read(content, body)
    else:
        raise InputError(f"{path}: suffix {path.suffix!r}; expected a file of {KNOWN}")
    raise InputError(f"{path}: holds {_keys(content)}; expected a file of {KNOWN}")


def _read_npz(path: Path, body: Body, fps: float | None) -> ForeignResult:
    if holds_objects(path, romp.KEY):
        return romp.read(path, body)
    if "header" in read_npz(path, f"a file of {KNOWN}", {"header"}):
        raise InputError(f"{path}: is a result of hpsvid already; use it as it is")
    return smplx.read(path, body, fps)


def _keys(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    return ", ".join(sorted(str(key)[:20] for key in content)[:5]) or "nothing"
