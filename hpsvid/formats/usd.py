"""Pixar's USD: skinned, animated bodies (UsdSkel), the clip's camera; needs the extra `usd`.

One layer of bytes (.usdc), or that layer packed for phones and headsets (.usdz). Metres, y up;
`--up-axis z` turns the stage. A frame of the file is a time code; the rate is in the stage.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.files import staged_apart
from hpsvid.errors import InputError
from hpsvid.formats.camera import camera_path
from hpsvid.formats.figure import Figure, figures, refuse_overlap
from hpsvid.formats.rig import bone_names
from hpsvid.formats.skin import (
    INFLUENCES,
    check_mesh,
    continuous_quaternions,
    linear_colours,
    skin_of,
)
from hpsvid.options import ExportOptions
from hpsvid.types import Array, Motion

_NO_CLOCK_S = 315_576_000  # 1 January 1980, about the earliest date that a package can hold
_APERTURE = 36.0  # mm, the width of 35 mm film; USD's unit is a tenth of a scene unit


def write_usd(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.usdc` for each person, or `STEM.usdc` with all of them."""
    return _write(motion, body, out_dir / f"{stem}.usdc", options)


def write_usdz(
    motion: Motion, body: Body, out_dir: Path, stem: str, options: ExportOptions
) -> list[Path]:
    """Write `STEM_personNN.usdz` for each person, or `STEM.usdz` with all of them."""
    return _write(motion, body, out_dir / f"{stem}.usdz", options)


def _write(motion: Motion, body: Body, path: Path, options: ExportOptions) -> list[Path]:
    """Raises InputError when usd-core is missing, or as `write_glb`."""
    pxr = _library()
    check_mesh(body, options)
    refuse_overlap(motion, options)
    people = figures(motion, body, options)
    if options.together:
        files = {path: people}
    else:
        name = "{0}_person{1:02d}{2}".format
        files = {path.with_name(name(path.stem, f.id, path.suffix)): [f] for f in people}
    for file, group in files.items():
        with staged_apart(file) as inside:  # the library chooses the kind of file by its suffix
            layer = inside.with_suffix(".usdc")
            _save(pxr, layer, group, motion, body, options)
            if file.suffix == ".usdz":
                os.utime(layer, (_NO_CLOCK_S, _NO_CLOCK_S))  # which the package would state
                pxr.UsdUtils.CreateNewUsdzPackage(str(layer), str(inside))
    return list(files)


def _save(
    pxr: Any,
    layer: Path,
    people: Sequence[Figure],
    motion: Motion,
    body: Body,
    options: ExportOptions,
) -> None:
    """Write a layer with these people; frame 0 is the first row of the first of them."""
    stage = pxr.Usd.Stage.CreateNew(str(layer))
    up = options.up_axis or "y"
    pxr.UsdGeom.SetStageUpAxis(stage, pxr.UsdGeom.Tokens.z if up == "z" else pxr.UsdGeom.Tokens.y)
    pxr.UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    fps = people[0].fps
    start_s = min(figure.start_s for figure in people)
    end_s = max(float(figure.times_s[-1]) for figure in people)
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(round((end_s - start_s) * fps))
    root = pxr.UsdGeom.Xform.Define(stage, "/hpsvid")
    stage.SetDefaultPrim(root.GetPrim())
    stage.GetRootLayer().customLayerData = {
        "made_by": "hpsvid", "fps": fps, "start_s": start_s, "frame": options.frame or "camera",
    }  # fmt: skip
    for figure in people:
        _add_person(pxr, stage, figure, body, options, (figure.times_s - start_s) * fps)
    if options.frame != "in-place":
        _add_camera(pxr, stage, motion, options, (start_s, end_s))
    stage.GetRootLayer().Save()


def _add_person(
    pxr: Any, stage: Any, figure: Figure, body: Body, options: ExportOptions, codes: Array
) -> None:
    """A SkelRoot with skeleton, motion and skinned mesh; codes: (T,) time codes of the rows."""
    place = f"/hpsvid/person{figure.id:02d}"
    root = pxr.UsdSkel.Root.Define(stage, place)
    skeleton = pxr.UsdSkel.Skeleton.Define(stage, f"{place}/skeleton")
    motion = pxr.UsdSkel.Animation.Define(stage, f"{place}/skeleton/motion")
    joints = _joint_paths(options)
    skeleton.CreateJointsAttr(joints)
    offsets = figure.rest - np.where(
        np.array(SMPL.parents)[:, None] >= 0, figure.rest[np.maximum(SMPL.parents, 0)], 0
    )
    matrices = np.tile(np.eye(4), (len(joints), 1, 1))
    matrices[:, 3, :3] = figure.rest  # rows, as USD multiplies from the left
    skeleton.CreateBindTransformsAttr(pxr.Vt.Matrix4dArray.FromNumpy(matrices))
    local = matrices.copy()
    local[:, 3, :3] = offsets
    skeleton.CreateRestTransformsAttr(pxr.Vt.Matrix4dArray.FromNumpy(local))
    motion.CreateJointsAttr(joints)
    leaves = np.tile([0.0, 0, 0, 1], (len(joints) - SMPL.n_rotations, 1))
    motion.CreateScalesAttr(pxr.Vt.Vec3hArray.FromNumpy(np.ones((len(joints), 3), np.float16)))
    turns, ways = motion.CreateRotationsAttr(), motion.CreateTranslationsAttr()
    for code, rotation, pelvis in zip(
        codes.round(6).tolist(), continuous_quaternions(figure.rotmats), figure.pelvis, strict=True
    ):
        every = np.concatenate([rotation, leaves])[:, [3, 0, 1, 2]]
        turns.Set(pxr.Vt.QuatfArray([pxr.Gf.Quatf(*row) for row in every.tolist()]), code)
        moved = np.concatenate([pelvis[None], offsets[1:]]).astype(np.float32)
        ways.Set(pxr.Vt.Vec3fArray.FromNumpy(moved), code)
    if not figure.present.all():
        shown = pxr.UsdGeom.Imageable(root).CreateVisibilityAttr()
        for code, here in zip(codes.tolist(), figure.present, strict=True):
            shown.Set("inherited" if here else "invisible", code)
    pxr.UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets(
        [pxr.Sdf.Path(f"{place}/skeleton/motion")]
    )
    _add_mesh(pxr, stage, figure, body, place)
    lowest, highest = figure.posed[0].min((0, 1)) - 0.5, figure.posed[0].max((0, 1)) + 0.5
    root.CreateExtentAttr([pxr.Gf.Vec3f(*lowest.tolist()), pxr.Gf.Vec3f(*highest.tolist())])


def _add_mesh(pxr: Any, stage: Any, figure: Figure, body: Body, place: str) -> None:
    """The body in its own shape, in the rest pose, bound to the person's skeleton."""
    skin = skin_of(figure, body)
    mesh = pxr.UsdGeom.Mesh.Define(stage, f"{place}/body")
    mesh.CreatePointsAttr(pxr.Vt.Vec3fArray.FromNumpy(skin.vertices))
    mesh.CreateFaceVertexCountsAttr(
        pxr.Vt.IntArray.FromNumpy(np.full(len(body.faces), 3, np.int32))
    )
    mesh.CreateFaceVertexIndicesAttr(
        pxr.Vt.IntArray.FromNumpy(body.faces.reshape(-1).astype(np.int32))
    )
    mesh.CreateNormalsAttr(pxr.Vt.Vec3fArray.FromNumpy(skin.normals))
    mesh.SetNormalsInterpolation(pxr.UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(pxr.UsdGeom.Tokens.none)
    colour = mesh.CreateDisplayColorPrimvar(pxr.UsdGeom.Tokens.vertex)
    colour.Set(pxr.Vt.Vec3fArray.FromNumpy(linear_colours(body).astype(np.float32)))
    low, high = skin.vertices.min(0), skin.vertices.max(0)
    mesh.CreateExtentAttr(pxr.Vt.Vec3fArray.FromNumpy(np.stack([low, high])))
    binding = pxr.UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([pxr.Sdf.Path(f"{place}/skeleton")])
    indices = binding.CreateJointIndicesPrimvar(False, INFLUENCES)
    indices.Set(pxr.Vt.IntArray.FromNumpy(skin.joints.reshape(-1).astype(np.int32)))
    weights = binding.CreateJointWeightsPrimvar(False, INFLUENCES)
    weights.Set(pxr.Vt.FloatArray.FromNumpy(skin.weights.reshape(-1)))


def _add_camera(
    pxr: Any, stage: Any, motion: Motion, options: ExportOptions, span_s: tuple[float, float]
) -> None:
    """The clip's camera, at the origin in its own frame, where it was in the world."""
    camera = pxr.UsdGeom.Camera.Define(stage, "/hpsvid/camera")
    width, height = motion.clip.width, motion.clip.height
    fx, fy = float(motion.camera.K[0, 0]), float(motion.camera.K[1, 1])
    camera.CreateFocalLengthAttr(_APERTURE * fx / width)
    camera.CreateHorizontalApertureAttr(_APERTURE)
    camera.CreateVerticalApertureAttr(_APERTURE * height / width * fx / fy)
    path, fps = camera_path(motion, options, span_s), stage.GetTimeCodesPerSecond()
    transform = camera.AddTransformOp()
    for time_s, turn, place in zip(path.times_s, path.turns, path.places, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[3, :3] = turn.T, place
        when = () if len(path.turns) == 1 else (float((time_s - span_s[0]) * fps),)
        transform.Set(pxr.Gf.Matrix4d(matrix.tolist()), *when)


def _joint_paths(options: ExportOptions) -> list[str]:
    """Each joint's path from the root, the way that UsdSkel tells parents; no : and . in names."""
    paths: list[str] = []
    for name, parent in zip(bone_names(options.rig), SMPL.parents, strict=True):
        plain = name.replace(":", "_").replace(".", "_")
        paths.append(plain if parent < 0 else f"{paths[parent]}/{plain}")
    return paths


def check_usd(options: ExportOptions) -> None:
    """Raise InputError when usd-core is missing."""
    _library()


def _library() -> Any:
    """The modules of usd-core."""
    try:
        import pxr
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel, UsdUtils, Vt  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--format usd needs the package usd-core, which is not installed; "
            "pip install 'hpsvid[usd]'"
        ) from error
    return pxr
