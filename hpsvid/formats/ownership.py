"""Whose a file is: hpsvid overwrites what it wrote itself, and nothing else unless it is forced."""

import json
import mmap
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hpsvid.common.files import check_file, read_npz, regular_file
from hpsvid.errors import InputError
from hpsvid.video.marks import MARK, comment_of

# what `hpsvid.formats.bvh` writes and other programs do not: a root at zero with five decimals, its
# channels in this order, and a frame time with nine
_BVH_ROOT = re.compile(
    r"HIERARCHY\nROOT \S+\n\{\n\tOFFSET 0\.00000 0\.00000 0\.00000\n\tCHANNELS 6 "
    r"Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
)
_BVH_TIME = re.compile(r"\nFrame Time: \d+\.\d{9}\n")
_BVH_HEAD = 65_536  # bytes; the hierarchy takes 5 kB
_MAKERS = {  # how the files of a suffix name hpsvid
    ".glb": re.compile(
        rb"^glTF.{16}\{\"asset\":\{\"version\":\"2.0\",\"generator\":\"hpsvid\"", re.DOTALL
    ),
    ".html": re.compile(rb'^<!doctype html>\n<meta name="generator" content="hpsvid">'),
    ".csv": re.compile(rb"^person,frame,time_s,seen,pelvis_x_m,"),
    ".json": re.compile(
        rb'^\{\s*("made_by":"hpsvid"|"hpsvid_version": "|"info":\{"description":"hpsvid: )'
    ),
    # `hpsvid.common.checkpoints`; other programs' metadata have more, or no JSON there
    ".safetensors": re.compile(rb'^.{8}\{"__metadata__":\{"config":"\{[^}]*\}"\}', re.DOTALL),
    ".chan": re.compile(rb"^1(\t-?\d+\.\d{8}){7}\n"),  # `hpsvid.formats.camera`
    ".trc": re.compile(rb"^PathFileType\t4\t\(X/Y/Z\)\t[^\n]* by hpsvid\n"),
    ".mot": re.compile(rb"^[^\n]* by hpsvid\nversion=1\n"),
    ".c3d": re.compile(rb"^.P.{0,65536}COMPANY.{0,64}hpsvid", re.DOTALL),
    # what is made for a library of others says so in a property, wherever it lies
    ".fbx": re.compile(rb"made_by.{0,64}hpsvid", re.DOTALL),
    ".usdc": re.compile(rb"hpsvid.{0,4096}made_by|made_by.{0,4096}hpsvid", re.DOTALL),
    ".usdz": re.compile(rb"hpsvid.{0,4096}made_by|made_by.{0,4096}hpsvid", re.DOTALL),
}
_AMASS_KEYS = {"poses_root", "poses_body", "start_s", "body_model"}  # of `hpsvid.formats.amass`


def written_by_hpsvid(path: Path) -> bool:
    """Whether hpsvid wrote this output, told by its content; False when that is not sure.

    Truth that tools rendered is no output, though it has a result's form.
    """
    with suppress(InputError, OSError, ValueError, TypeError):
        if path.suffix.lower() == ".npz":
            arrays = read_npz(path, "an output of hpsvid", {"header", *_AMASS_KEYS})
            if "header" in arrays:
                return "hpsvid_version" in json.loads(str(arrays["header"]))
            return arrays.keys() >= _AMASS_KEYS
        if path.suffix.lower() == ".bvh":
            with regular_file(path).open("rb") as stream:
                head = stream.read(_BVH_HEAD).decode("ascii")
            return bool(_BVH_ROOT.match(head) and _BVH_TIME.search(head))
        if maker := _MAKERS.get(path.suffix.lower()):
            with (
                regular_file(path).open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                return bool(maker.search(content))
        return comment_of(path).startswith(MARK)
    return False


def refuse_foreign(paths: Iterable[Path], *, force: bool) -> None:
    """Raise InputError when one of the outputs is there and hpsvid did not write it.

    force: overwrite it all the same. For use before any work.
    """
    for path in paths:
        if not force and path.is_file() and not written_by_hpsvid(path):
            raise InputError(
                f"{path}: is there already and not written by hpsvid; name another place, or "
                "overwrite it with --force"
            )


def check_outputs(paths: Iterable[Path], *, force: bool) -> None:
    """Raise InputError, before any work, unless all of them can and may be written.

    force: overwrite files of others, too.
    """
    for path in paths:
        check_file(path)
        refuse_foreign([path], force=force)
