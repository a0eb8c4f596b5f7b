"""The result npz: a whole `Motion` in one file that loads with `allow_pickle=False`.

`header` is JSON text: schema_version, units, axes, frame, the source clip, the camera's source
and the fields of `Motion.provenance` (solver, backbone, weights' sha256, seed, version). Beside
it lie `pts_s`, `K`, `person_ids`, the ground (`world/up`, `world/R`, `world/t`: world point =
R camera point + t) and one group of arrays a person, named `ID/key`.
"""

import json
import re
from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.world import in_world
from hpsvid.common.files import parse_json, read_npz, write_npz
from hpsvid.common.geometry import check_intrinsics
from hpsvid.errors import InputError, one_line
from hpsvid.options import MAX_FPS, ExportOptions
from hpsvid.types import (
    SCHEMA_VERSION,
    Array,
    BodyParams,
    Camera,
    CameraSource,
    Clip,
    Motion,
    Part,
    Person,
    Provenance,
    Surface,
    Track,
    World,
)

# what a reader without hpsvid needs to know; all of it holds for every file of this schema
_CONVENTIONS = {
    "units": {"length": "m", "time": "s", "image": "px", "rotation": "3x3 matrix"},
    "axes": "x right, y down, z forward",
    "frame": "camera; posed vertex + transl = camera point; rotations relative to the parent",
}
_MAX_HEADER_CHARACTERS = 1 << 20  # hpsvid writes about 2,000
_MAX_SIDE = 1 << 16  # px
_LIMITS = {  # of what people do: metres, no more than the way round the earth; betas of SMPL
    "rotmats": 2.0, "betas": 1e4, "transl": 4e7, "joints": 4e7,
}  # fmt: skip
MAX_OFFSET_M = 2.0  # of a vertex from its body
_OWN_KEYS = {"schema_version", "clip", "camera_source", "world", *_CONVENTIONS}
_PROVENANCE_TYPES: dict[str, type] = {
    "hpsvid_version": str, "detector": dict, "backbone": dict, "lifter": str, "solver": str,
    "weights": dict, "body": dict, "seed": int,
}  # fmt: skip


def write_result(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM.npz`; the body and the options have no part in it."""
    path = out_dir / f"{stem}.npz"
    write_motion(motion, path)
    return [path]


def write_motion(motion: Motion, path: Path) -> None:
    """Write all of a Motion; the file appears whole or not at all, the same motion gives its bytes.

    Raises InputError when the folder cannot be written, ValueError when two people share an id
    or a key of `provenance.other` is the header's own.
    """
    clip = motion.clip
    ids = [person.track.id for person in motion.people]
    if len(set(ids)) != len(ids):
        raise ValueError(f"Motion.people: expected ids that differ, found {ids}")
    if taken := _OWN_KEYS & motion.provenance.other.keys():
        raise ValueError(f"Provenance.other: {sorted(taken)} are the header's own keys")
    header: dict[str, Any] = {
        **_provenance_keys(motion.provenance),
        **_CONVENTIONS,
        "schema_version": motion.schema_version,
        "camera_source": motion.camera.source,
        "clip": {
            "name": clip.path.name,
            "path": clip.path.as_posix(),  # as the user gave it
            "width": clip.width,
            "height": clip.height,
            "fps": str(clip.fps),
            "rotation": clip.rotation,
            "audio": clip.audio,
            "frame_count": clip.frame_count,
            **({} if clip.focal_35mm is None else {"focal_35mm": clip.focal_35mm}),
            **({} if clip.part is None else {"part": asdict(clip.part)}),
        },
    }
    arrays: dict[str, Array] = {
        "pts_s": motion.pts_s,
        "K": motion.camera.K,
        "person_ids": np.array(ids, np.int64),
    }
    if (world := motion.world) is not None:
        header["world"] = {"up_sigma_deg": world.up_sigma_deg, "made_from": world.made_from}
        arrays |= {"world/up": world.up, "world/R": world.R, "world/t": world.t}
        for person in motion.people:
            arrays[f"{person.track.id}/transl_world"] = in_world(person, world).transl
    arrays["header"] = np.array(json.dumps(header, sort_keys=True, ensure_ascii=False))
    for person in motion.people:
        arrays |= {f"{person.track.id}/{key}": a for key, a in _person_arrays(person).items()}
    write_npz(path, arrays)


def read_motion(path: Path) -> Motion:
    """Read what `write_motion` wrote; nothing in the file is ever run.

    Raises InputError when the file is missing, no npz, not of hpsvid, of a newer schema, lacks
    a key, holds an array of another shape or numbers that no motion has (NaN, times that run
    backwards, kilometres where a person has metres).
    """
    arrays = read_npz(path, "a result npz of hpsvid, which hpsvid run makes of a video")
    if "header" not in arrays:
        found = ", ".join(sorted(arrays)[:5]) or "nothing"
        raise InputError(f"{path}: an npz that hpsvid did not write (holds {found}, no `header`)")
    try:
        header = dict(parse_json(_header_text(arrays["header"])))
        version = int(header["schema_version"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path}: its `header` is not hpsvid's JSON with a `schema_version`"
        ) from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema_version is {version}, this hpsvid reads up to {SCHEMA_VERSION}; "
            "update hpsvid"
        )
    try:
        clip = header["clip"]
        motion = Motion(
            clip=Clip(
                path=Path(clip["path"]),
                width=int(clip["width"]),
                height=int(clip["height"]),
                fps=_rate(clip["fps"]),
                rotation=int(clip["rotation"]),
                audio=bool(clip["audio"]),
                frame_count=None if clip["frame_count"] is None else int(clip["frame_count"]),
                focal_35mm=_focal_mm(clip.get("focal_35mm")),  # not in files before 0.2
                part=_part(clip.get("part")),
            ),
            pts_s=arrays["pts_s"],
            camera=Camera(K=arrays["K"], source=cast(CameraSource, header["camera_source"])),
            people=tuple(_person(arrays, i) for i in _person_ids(arrays["person_ids"])),
            provenance=_provenance(header),
            schema_version=version,
            world=_world(arrays, header),
        )
        _check_values(motion)
        return motion
    except KeyError as error:
        raise InputError(
            f"{path}: has no {one_line(error)[:80]}; the file is incomplete, make it again"
        ) from error
    except Exception as error:  # values of any kind may stand where others should
        raise InputError(f"{path}: cannot be read as a result ({one_line(error)[:200]})") from error


def _world(arrays: dict[str, Array], header: dict[str, Any]) -> World | None:
    """Where the ground is; None in results before 0.2. Raises ValueError for what is no ground."""
    if "world/R" not in arrays:
        return None
    world = World(
        up=arrays["world/up"],
        up_sigma_deg=float(header["world"]["up_sigma_deg"]),
        R=arrays["world/R"],
        t=arrays["world/t"],
        made_from=str(header["world"]["made_from"]),
    )
    off = np.abs(world.R @ world.R.mT - np.eye(3)).max(initial=0)
    if not (off < 1e-6 and (np.linalg.det(world.R) > 0).all()):
        raise ValueError("world/R: expected rotations")
    if not (_within(world.t, _LIMITS["transl"]) and abs(np.linalg.norm(world.up) - 1) < 1e-6):
        raise ValueError("world/t, world/up: expected a place on earth and a direction")
    if not 0 <= world.up_sigma_deg <= 180:
        raise ValueError(f"world: up_sigma_deg is {world.up_sigma_deg}, expected 0 to 180")
    return world


def _focal_mm(value: Any) -> float | None:
    """A focal length, mm; None where it is not stated. Raises ValueError for what is none."""
    if value is None:
        return None
    if not 0 < float(value) < 1e5:
        raise ValueError(f"clip: focal_35mm is {value}, expected a length in mm")
    return float(value)


def _part(value: Any) -> Part | None:
    """The part of a clip that a motion covers; None: all. Raises ValueError for what is none."""
    if value is None:
        return None
    end = None if value["end_s"] is None else float(value["end_s"])
    part = Part(start_s=float(value["start_s"]), end_s=end, every=int(value["every"]))
    if not (0 <= part.start_s < 1e9 and part.start_s < (end or 1e9) <= 1e9 and part.every > 0):
        raise ValueError(f"clip: part is {part}")
    return part


def _header_text(header: Array) -> str:
    if header.shape != () or header.dtype.kind != "U":
        raise ValueError(f"{header.dtype} {header.shape} in place of text")
    if header.dtype.itemsize > 4 * _MAX_HEADER_CHARACTERS:
        raise ValueError(f"over {_MAX_HEADER_CHARACTERS} characters")
    return str(header)


def _rate(fps: Any) -> Fraction:
    """A frame rate such as "30000/1001"; Fraction itself would work out "1e999999999"."""
    if isinstance(fps, str) and not re.fullmatch(r"-?\d{1,9}([./]\d{1,9})?", fps):
        raise ValueError(f"fps is {fps[:40]!r}")
    return Fraction(fps)


def _person_ids(ids: Array) -> list[int]:
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or len(set(ids.tolist())) != len(ids):
        found = ids[:9].tolist() if ids.ndim else ids
        raise ValueError(f"person_ids: expected a list of ids that differ, found {found}")
    return ids.tolist()


def _provenance_keys(provenance: Provenance) -> dict[str, Any]:
    """The header's keys; a motion that hpsvid made has all of them, null where one is empty."""
    keys = {f.name: getattr(provenance, f.name) for f in fields(provenance) if f.name != "other"}
    if provenance.hpsvid_version is None:
        keys = {key: value for key, value in keys.items() if value is not None}
    return keys | provenance.other


def _provenance(header: dict[str, Any]) -> Provenance:
    """The inverse of `_provenance_keys`; a value of another type is kept in `other`."""
    other = {key: value for key, value in header.items() if key not in _OWN_KEYS}
    own = {
        key: other.pop(key)
        for key, kind in _PROVENANCE_TYPES.items()
        if key in other and isinstance(other[key], kind | None) and _flat(other[key])
    }
    return Provenance(**own, other=other)


def _flat(value: object) -> bool:
    """Whether a value of the header is no dictionary, or one of text."""
    return not isinstance(value, dict) or all(isinstance(v, str) for v in value.values())


def _check_values(motion: Motion) -> None:
    """Raise ValueError for what has the right shape and yet is no motion."""
    clip, pts_s = motion.clip, motion.pts_s
    if not 0 < clip.fps <= MAX_FPS:
        raise ValueError(f"fps is {clip.fps}, expected more than 0, at most {MAX_FPS}")
    if not (0 < clip.width <= _MAX_SIDE and 0 < clip.height <= _MAX_SIDE):
        raise ValueError(f"a picture of {clip.width} x {clip.height} px")
    if not (_within(pts_s, 1e9) and (pts_s[1:] > pts_s[:-1]).all()):
        raise ValueError("pts_s: expected finite times that increase")
    check_intrinsics(motion.camera.K)
    for person in motion.people:
        first, last = (int(person.track.frame_index[i]) for i in (0, -1))
        if first < 0 or last - first != len(person.track) - 1:
            raise ValueError(f"person {person.track.id}: frame_index goes from {first} to {last}")
        arrays = _person_arrays(person)
        for key, limit in _LIMITS.items():
            if not _within(arrays[key], limit):
                raise ValueError(
                    f"{person.track.id}/{key}: holds numbers that are not finite or over {limit:g}"
                )
        if person.contacts is not None and not _within(person.contacts - 0.5, 0.5):
            raise ValueError(f"{person.track.id}/contacts: expected numbers from 0 to 1")
        if person.surface is not None and not _within(person.surface.offsets, MAX_OFFSET_M):
            raise ValueError(f"{person.track.id}/offsets: expected at most {MAX_OFFSET_M:g} m")


def _within(values: Array, limit: float) -> bool:
    """Whether all values are numbers from -limit to limit; no copy of large arrays is made."""
    return len(values) == 0 or bool(-limit <= values.min() and values.max() <= limit)


def _person_arrays(person: Person) -> dict[str, Array]:
    """One person's arrays by key."""
    track, params = person.track, person.body
    # results before 0.2, and clips of one shot, do not have it
    shot = {"shot_start": np.array(track.shot_start)} if track.shot_start else {}
    contacts = {} if person.contacts is None else {"contacts": person.contacts}
    offsets = {} if person.surface is None else {"offsets": person.surface.offsets}
    return (
        shot
        | contacts
        | offsets
        | {
            "frame_index": track.frame_index,
            "boxes": track.boxes,
            "scores": track.scores,
            "detected": track.detected,
            "rotmats": params.rotmats,
            "betas": params.betas,
            "transl": params.transl,
            "joints": person.joints,
            "joints2d": person.joints2d,
            "sigma": person.sigma,
            "valid": person.valid,
            "reprojection_px": person.reprojection_px,
            "evidence_error": person.evidence_error,
        }
    )


def _person(arrays: dict[str, Array], person_id: int) -> Person:
    """The inverse of `_person_arrays`."""

    def get(key: str) -> Array:
        return arrays[f"{person_id}/{key}"]

    offsets = arrays.get(f"{person_id}/offsets")
    try:
        return Person(
            track=Track(
                id=person_id,
                frame_index=get("frame_index"),
                boxes=get("boxes"),
                scores=get("scores"),
                detected=get("detected"),
                shot_start=int(arrays.get(f"{person_id}/shot_start", 0)),
            ),
            body=BodyParams(rotmats=get("rotmats"), betas=get("betas"), transl=get("transl")),
            joints=get("joints"),
            joints2d=get("joints2d"),
            sigma=get("sigma"),
            valid=get("valid"),
            reprojection_px=get("reprojection_px"),
            evidence_error=arrays.get(  # results before 0.2 do not have it
                f"{person_id}/evidence_error", np.full_like(get("sigma"), np.nan)
            ),
            contacts=arrays.get(f"{person_id}/contacts"),  # results before 0.2 do not have it
            surface=None if offsets is None else Surface(offsets=offsets),
        )
    except ValueError as error:
        raise ValueError(f"person {person_id}: {error}") from error
