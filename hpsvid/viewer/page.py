"""The page of `hpsvid view`: one self-contained HTML file.

It holds the clip (small, H.264), everyone's body as a .glb, the numbers behind the plots and the
files that its buttons hand out. three.js (MIT) lies beside this module as `tools.viewer.bundle`
made it.
"""

import base64
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from markupsafe import Markup

from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.files import written_whole
from hpsvid.common.templating import render
from hpsvid.errors import InputError
from hpsvid.formats import FORMATS, check_body_of
from hpsvid.formats.angles import joint_angles
from hpsvid.formats.figure import Figure, figures
from hpsvid.formats.glb import glb_of
from hpsvid.formats.tables import CONTACTS, joint_speeds, plain
from hpsvid.options import ExportOptions, FormatName, SkinName
from hpsvid.types import Motion
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter

_LONG_SIDE = 720  # px of the embedded video
_LEVEL = 6  # of gzip
_DOWNLOADS: tuple[FormatName, ...] = ("glb", "bvh", "csv")
Progress = Callable[[str, int, int | None], None]


def write_page(
    motion: Motion, body: Body, path: Path, *, video: bool, progress: Progress,
    look: SkinName = "suit",
) -> None:  # fmt: skip
    """Write the page to `path`, whole or not at all.

    video: embed the clip, `motion.clip.path`, which must be the motion's. look: the bodies in their
    suit, or with the textures that the people must have. progress: called as
    progress(stage, frames done, frames in all). Raises InputError when the clip cannot be read or
    is another's, WeightsError and InputError as the exports.
    """
    options = ExportOptions(frame="camera" if motion.world is None else "world", look=look)
    together = replace(options, together=True)
    check_body_of([FORMATS["glb"]], body, together)
    people = figures(motion, body, options)
    data = {
        "clip": motion.clip.path.name,
        "fps": float(motion.clip.fps),
        "first_s": float(motion.pts_s[0]),  # where the video starts on the clip's clock
        "last_s": float(motion.pts_s[-1]),
        "start_s": min(figure.start_s for figure in people),
        "floor": _floor(people, options),
        "joint_names": SMPL.names,
        "contact_names": CONTACTS,
        "people": [_numbers(figure) for figure in people],
        "glb": _packed(glb_of(people, motion, body, together)),
        "video": _packed(_small_video(motion, progress)) if video else None,
        "files": _files(motion, body, options),
    }
    folder = Path(__file__).parent
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    page = render(
        "hpsvid.viewer",
        "view.html",
        title=motion.clip.path.name,
        style=Markup((folder / "templates" / "view.css").read_text("utf-8")),
        three=Markup((folder / "three.min.js").read_text("utf-8")),
        script=Markup((folder / "templates" / "view.js").read_text("utf-8")),
        data=Markup(text),
    )
    with written_whole(path) as stream:
        stream.write(page.encode())


def _floor(people: list[Figure], options: ExportOptions) -> float:
    """Height of the grid, m: the ground's, or the lowest joint's where that is not known."""
    if options.frame == "world":
        return 0.0
    return min(float(figure.posed[0][..., 1].min()) for figure in people)


def _numbers(figure: Figure) -> dict[str, Any]:
    """What the timeline and the plots show of one person."""
    person, rows = figure.person, figure.rows
    contacts = person.contacts
    return {
        "id": figure.id,
        "fps": figure.fps,
        "start_s": figure.start_s,
        "seen": person.valid[rows].astype(int).tolist(),
        "sigma": plain(person.sigma[rows], 3),
        "error": plain(person.evidence_error[rows], 3),
        "contacts": None if contacts is None else plain(contacts[rows], 2),
        "angles": {name: plain(values, 1) for name, values in joint_angles(figure).items()},
        "speeds": plain(joint_speeds(figure), 3),
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _files(motion: Motion, body: Body, options: ExportOptions) -> list[dict[str, str]]:
    """The files that buttons hand out: name and content (gzip, base64)."""
    made = []
    with tempfile.TemporaryDirectory(prefix="hpsvid_view_") as folder:
        for name in _DOWNLOADS:
            for path in FORMATS[name].write(
                motion, body, Path(folder), motion.clip.path.stem, options
            ):
                content = gzip.compress(path.read_bytes(), _LEVEL, mtime=0)
                made.append({"name": path.name, "content": _packed(content)})
    return made


def _small_video(motion: Motion, progress: Progress) -> bytes:
    """The clip as an .mp4 of H.264 with a long side of at most 720 px, at its own times."""
    clip, total, done = motion.clip, len(motion.pts_s), 0
    share = min(1.0, _LONG_SIDE / max(clip.width, clip.height))
    width, height = (max(2, round(side * share / 2) * 2) for side in (clip.width, clip.height))
    with tempfile.TemporaryDirectory(prefix="hpsvid_view_") as folder:
        path = Path(folder) / "a.mp4"
        with VideoWriter(path, width=width, height=height, fps=clip.fps) as writer:
            for frames in read_frames(clip):
                for rgb, pts_s in zip(frames.rgb, frames.pts_s, strict=True):
                    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
                    writer.write(small, float(pts_s - motion.pts_s[0]))
                done += len(frames)
                progress("video", done, total)
            if done != total:
                raise InputError(
                    f"{clip.path}: has {done} frames, the motion was made from {total}; give the "
                    "clip that the motion came from with --video, or --no-video"
                )
        return path.read_bytes()
