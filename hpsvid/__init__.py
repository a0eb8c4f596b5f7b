"""hpsvid: video of people in, smooth 3D human motion out.

>>> import hpsvid
>>> motion = hpsvid.run("clip.mp4", options=hpsvid.Options(max_people=1))
>>> motion.people[0].joints.shape  # frames, joints, metres in camera axes
(120, 29, 3)
>>> hpsvid.save(motion, "clip.npz")
>>> hpsvid.export(motion, "bvh", "for_blender")
[PosixPath('for_blender/clip_person00.bvh')]
>>> hpsvid.draw(motion, "clip_overlay.mp4")

Importing it loads nothing heavy: each function loads what it needs when it is called.
"""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpsvid.body.keypoints import People2D
    from hpsvid.body.model import Body
    from hpsvid.errors import HpsvidError, InputError
    from hpsvid.options import DrawOptions, ExportOptions, FormatName, Options
    from hpsvid.pipeline.stages import Progress
    from hpsvid.types import Array, Motion

__all__ = [
    "Body",
    "DrawOptions",
    "ExportOptions",
    "HpsvidError",
    "InputError",
    "Motion",
    "Options",
    "People2D",
    "__version__",
    "draw",
    "export",
    "load",
    "load_body",
    "run",
    "save",
    "texture",
    "vertices",
]

_MODULES = {  # where the names are that are loaded when they are asked for
    "Body": "hpsvid.body.model",
    "DrawOptions": "hpsvid.options",
    "ExportOptions": "hpsvid.options",
    "HpsvidError": "hpsvid.errors",
    "InputError": "hpsvid.errors",
    "Motion": "hpsvid.types",
    "Options": "hpsvid.options",
    "People2D": "hpsvid.body.keypoints",
}

StrPath = str | os.PathLike[str]

try:
    __version__ = version("hpsvid")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hpsvid' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def run(
    input: StrPath,
    *,
    options: "Options | None" = None,
    people: "People2D | None" = None,
    progress: "Progress | None" = None,
) -> "Motion":
    """Find and follow the people of a clip: one smooth track of body poses for each.

    input: video, picture or folder of pictures. options: None takes the defaults of `Options`.
    people: boxes or keypoints that another program found, in place of the detector; keypoints also
    say where bodies are in the picture, depth stays the networks'. progress: called as
    progress(stage, frames done, frames in all or None).
    Raises InputError when the clip cannot be read to its end, NoPersonError when nobody is in it,
    WeightsError when a network's file is missing or damaged.

    >>> motion = hpsvid.run("clip.mp4", options=hpsvid.Options(solver="hybrik", fast=True))
    """
    from hpsvid.body.smpl import load_chosen_body
    from hpsvid.options import Options
    from hpsvid.pipeline.make import make_motion
    from hpsvid.pipeline.stages import StageClock, silent
    from hpsvid.video.probe import open_clip

    options = options or Options()
    clip = open_clip(Path(input), options)
    body = load_chosen_body(options.smpl)
    return make_motion(clip, body, options, StageClock(progress or silent), people=people)


def load(path: StrPath, *, clip: StrPath | None = None) -> "Motion":
    """Read a result .npz, as `save` or the command line wrote it; nothing in the file is run.

    clip: where the clip is now, for pictures of it; None: where the result says.
    Raises InputError when it is missing, damaged or not a result of hpsvid, or the clip cannot be
    read or has pictures of another size.

    >>> motion = hpsvid.load("clip.npz")
    >>> motion.people[0].body.rotmats.shape  # frames, joints, rotation relative to the parent
    (120, 24, 3, 3)
    """
    from hpsvid.formats.npz import read_motion

    motion = read_motion(Path(path))
    if clip is None:
        return motion
    from hpsvid.video.probe import with_clip_at

    return with_clip_at(motion, Path(clip))


def save(motion: "Motion", path: StrPath, *, force: bool = False) -> None:
    """Write a motion as a result .npz, whole or not at all; a missing folder is made.

    force: overwrite even a file that hpsvid did not write.
    Raises InputError when `path` is not an .npz, cannot be written, or is another's file.

    >>> hpsvid.save(motion, "results/clip.npz")
    """
    from hpsvid.common.files import check_file, make_parent
    from hpsvid.errors import InputError
    from hpsvid.formats.npz import write_motion
    from hpsvid.formats.ownership import refuse_foreign

    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path}: suffix {path.suffix!r}; expected .npz")
    check_file(path)
    refuse_foreign([path], force=force)
    make_parent(path)
    write_motion(motion, path)


def export(
    motion: "Motion",
    format: "FormatName | Sequence[FormatName]",
    out: StrPath,
    *,
    options: "ExportOptions | None" = None,
    body: "Body | None" = None,
    force: bool = False,
) -> list[Path]:
    """Write a motion as files for other programs; the files written.

    format: "bvh", "glb" or another of `hpsvid export`, or several. out: a folder, where files are
    named after the motion's clip; or the name of the file, when one is written. body: that the
    motion was made with; None takes $HPSVID_SMPL or the free body. force: overwrite even files
    that hpsvid did not write.
    Raises InputError when the format is unknown, an option has no part in it, the motion was made
    with another body, the folder cannot be written, or another's file has such a name.

    >>> hpsvid.export(motion, "bvh", "out", options=hpsvid.ExportOptions(fps=30, rig="mixamo"))
    [PosixPath('out/clip_person00.bvh')]
    >>> hero = hpsvid.ExportOptions(character="hero.vrm")  # your own character moves
    >>> hpsvid.export(motion, "glb", "out", options=hero)
    [PosixPath('out/clip_person00.glb')]
    """
    from hpsvid.character.write import rows_of
    from hpsvid.formats.ownership import refuse_foreign
    from hpsvid.formats.target import target_for
    from hpsvid.options import ExportOptions

    options = options or ExportOptions()
    rows = rows_of([format] if isinstance(format, str) else format, options)
    target = target_for(Path(out), motion.clip.path.stem, rows)
    for row in rows:
        refuse_foreign(target.existing(row, options), force=force)
    body = _body_of(motion, body)
    if options.look == "textured":
        from hpsvid.appearance.make import textured
        from hpsvid.pipeline.stages import silent

        motion = textured(motion, body, silent)  # those who have none yet
    return [file for row in rows for file in target.write(row, motion, body, options)]


def draw(
    motion: "Motion",
    out: StrPath,
    *,
    options: "DrawOptions | None" = None,
    body: "Body | None" = None,
    force: bool = False,
    progress: "Progress | None" = None,
) -> None:
    """Draw every person's mesh over the motion's clip, `motion.clip.path`, with its audio.

    out: .mp4, .mov or .mkv; of a single picture also .png or .jpg; a name without suffix is a
    folder of PNG files; with `options.sheet` a .png or .jpg. body: that the motion was made
    with; None takes $HPSVID_SMPL or the free body. force: overwrite even a file that hpsvid did not
    write. Raises InputError when the clip is not there or is not the motion's, the motion was made
    with another body, or `out` cannot be written.

    >>> hpsvid.draw(motion, "clip_overlay.mp4", options=hpsvid.DrawOptions(view="overlay,orbit"))
    """
    from hpsvid.options import DrawOptions
    from hpsvid.pipeline.pictures import check_pictures, write_pictures
    from hpsvid.pipeline.stages import StageClock, silent
    from hpsvid.render import load_renderer

    options, out = options or DrawOptions(), Path(out)
    check_pictures(out, motion.clip, options, force=force)
    body, renderer = _body_of(motion, body), load_renderer(options.renderer)
    write_pictures(motion, body, out, renderer, options, StageClock(progress or silent))


def texture(
    motion: "Motion",
    *,
    result: StrPath | None = None,
    person: int | None = None,
    body: "Body | None" = None,
    force: bool = False,
    progress: "Progress | None" = None,
) -> "Motion":
    """The motion with everyone's texture, made from its clip, for `look="textured"`.

    `motion.people[0].texture.rgb` is a picture (1024, 1024, 3) uint8 in the free body's layout.
    result: write them beside this result .npz, too, as RESULT_personNN_texture.png, where the
    command line finds them. person: only this one's. body: that the motion was made with; None
    takes the free body. force: overwrite even files that hpsvid did not write.
    Raises InputError when the clip is not there or not the motion's, nobody is seen in any frame,
    the body is another or has no texture layout, or a file cannot be written.

    >>> motion = hpsvid.texture(motion)
    >>> hpsvid.export(motion, "glb", "out", options=hpsvid.ExportOptions(look="textured"))
    [PosixPath('out/clip_person00.glb')]
    """
    from hpsvid.appearance.files import texture_path, write_texture
    from hpsvid.appearance.make import textured
    from hpsvid.edit import person_of
    from hpsvid.formats.ownership import check_outputs
    from hpsvid.pipeline.stages import silent

    ids = [p.track.id for p in motion.people] if person is None else [person]
    paths = {} if result is None else {number: texture_path(Path(result), number) for number in ids}
    for number in ids:
        person_of(motion, number)
    check_outputs(paths.values(), force=force)
    motion = textured(motion, _body_of(motion, body), progress or silent, ids=ids)
    for number, path in paths.items():
        write_texture(person_of(motion, number), path)
    return motion


def vertices(motion: "Motion", frame: int, *, body: "Body | None" = None) -> "dict[int, Array]":
    """Everybody's surface in a frame of the clip: (V, 3) float32 m in camera axes, by person.

    frame: counted from 0. body: that the motion was made with; None takes $HPSVID_SMPL or the free
    body; its `faces` join the vertices. Raises InputError when the clip has no such frame, or the
    motion was made with another body.

    >>> hpsvid.vertices(motion, 30)[0].shape
    (6939, 3)
    """
    from hpsvid.errors import InputError

    if not 0 <= frame < len(motion.pts_s):
        raise InputError(f"frame {frame}: expected 0 to {len(motion.pts_s) - 1}")
    body = _body_of(motion, body)
    rows = {person: frame - int(person.track.frame_index[0]) for person in motion.people}
    return {
        person.track.id: body.vertices_of(person.body, slice(row, row + 1))[0]
        for person, row in rows.items()
        if 0 <= row < len(person.track)
    }


def load_body(smpl: StrPath | None = None) -> "Body":
    """Your own SMPL file, or one in the folder `smpl`; None takes $HPSVID_SMPL or the free body.

    Raises WeightsError when it is missing or damaged.

    >>> hpsvid.load_body("SMPL_NEUTRAL.pkl").name
    'SMPL_NEUTRAL'
    """
    from hpsvid.body.smpl import load_chosen_body

    return load_chosen_body(None if smpl is None else Path(smpl))


def _body_of(motion: "Motion", body: "Body | None") -> "Body":
    """The body to show a motion with. Raises InputError when it was made with another one."""
    from hpsvid.edit import check_body

    body = body or load_body()
    check_body(motion, body)
    return body
