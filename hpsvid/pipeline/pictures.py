"""Motion -> pictures: a video over its clip, a folder of PNG files, or a contact sheet."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hpsvid.appearance.make import textured
from hpsvid.body.model import Body
from hpsvid.common.files import check_file
from hpsvid.common.records import take_frames
from hpsvid.common.threads import one_thread
from hpsvid.errors import InputError
from hpsvid.formats.ownership import refuse_foreign
from hpsvid.options import DrawOptions
from hpsvid.pipeline.stages import StageClock
from hpsvid.render import Renderer
from hpsvid.render.overlay import Overlay
from hpsvid.render.views import View, backdrop, in_a_grid
from hpsvid.types import Array, Clip, Motion
from hpsvid.video.marks import OVERLAY_MARK
from hpsvid.video.pictures import is_single_picture
from hpsvid.video.writer import (
    PICTURE_OUT_SUFFIXES,
    PngWriter,
    check_output,
    open_writer,
    write_image,
)

_SHEET_PX = 1920  # width of a contact sheet
_GAP = 4  # px between its pictures


def check_pictures(out: Path, clip: Clip, options: DrawOptions, *, force: bool) -> None:
    """Make sure, before any work, that what the options ask for can be written to `out`.

    With `options.sheet` a picture; a name without suffix is a folder of PNG files; else a video
    (of a picture, a picture). force: overwrite files that hpsvid did not write.
    Raises InputError.
    """
    if options.sheet is not None:
        if out.suffix.lower() not in PICTURE_OUT_SUFFIXES:
            raise InputError(f"{out}: a sheet is a picture; expected .png or .jpg")
        check_file(out)
    elif not out.suffix and not is_single_picture(clip.path):
        PngWriter.check(out, force=force)
    else:
        check_output(out, clip)
    if options.transparent and out.suffix.lower() not in ("", ".png"):
        raise InputError(
            f"{out}: cannot be transparent; `hpsvid draw` writes PNG files that can into a folder, "
            "--out NAME without a suffix"
        )
    backdrop(options, clip)
    refuse_foreign([out], force=force)


@one_thread()
def write_pictures(
    motion: Motion, body: Body, out: Path, renderer: Renderer, options: DrawOptions,
    clock: StageClock,
) -> None:  # fmt: skip
    """Draw a motion as the options say and write it to `out`, whole or not at all.

    out: as `check_pictures` takes it. Raises InputError when the clip no longer matches the motion.
    """
    if options.look == "textured":
        motion = textured(motion, body, clock.progress)  # of those who have none yet
    overlay = Overlay(motion, body, renderer, alpha=options.alpha, look=options.look)
    view = View(overlay, options)
    if options.sheet is not None:
        write_image(out, _sheet(motion, view, options.sheet, clock), OVERLAY_MARK)
        return
    clip, first_s = motion.clip, float(motion.pts_s[0])
    sounds = clip if clip.part is None else replace(clip, part=replace(clip.part, start_s=first_s))
    sounds = replace(sounds, width=view.width, height=view.height)
    sequence = not out.suffix and not is_single_picture(clip.path)
    writer = PngWriter(out, OVERLAY_MARK) if sequence else open_writer(out, sounds, OVERLAY_MARK)
    with writer:
        for picture, pts in _drawn(motion, view, np.arange(len(motion.pts_s)), clock):
            with clock.stage("encode", 1):
                writer.write(picture, pts - first_s)


def _drawn(
    motion: Motion, view: View, wanted: Array, clock: StageClock
) -> Iterator[tuple[Array, float]]:
    """The pictures of these frames of the clip (indices), and their times in s."""
    done, clip = 0, motion.clip
    with closing(clock.read(clip)) as chunks:
        for frames in chunks:
            chosen = take_frames(frames, np.isin(frames.index, wanted))
            with clock.stage("render", len(chosen)):
                pictures = list(view.draw(chosen)) if len(chosen) else []
            yield from zip(pictures, chosen.pts_s.tolist(), strict=True)
            done += len(frames)
            clock.progress("render", done, len(motion.pts_s))
    if done != len(motion.pts_s):
        raise InputError(
            f"{clip.path}: has {done} frames, the motion was made from {len(motion.pts_s)}; "
            "give the clip that the motion came from"
        )


def _sheet(motion: Motion, view: View, count: int, clock: StageClock) -> Array:
    """One picture of up to `count` frames, evenly spaced over those that show somebody."""
    ends = [int(at) for person in motion.people for at in person.track.frame_index[[0, -1]]]
    ends = ends or [0, len(motion.pts_s) - 1]
    wanted = np.unique(np.linspace(min(ends), max(ends), count).round().astype(int))
    columns = int(np.ceil(np.sqrt(len(wanted) * view.height / view.width * 16 / 9)))
    columns = min(max(columns, 1), len(wanted))
    columns = -(-len(wanted) // -(-len(wanted) // columns))  # as few empty places as can be
    wide = (_SHEET_PX - _GAP * (columns + 1)) // columns
    size = (wide, max(1, round(wide * view.height / view.width)))
    small = [
        _with_time(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), pts)
        for picture, pts in _drawn(motion, view, wanted, clock)
    ]
    edge = ((_GAP, 0), (_GAP, 0), (0, 0))
    grid = in_a_grid([np.pad(tile, edge, constant_values=255) for tile in small], columns)
    return np.pad(grid, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _with_time(picture: Array, pts_s: float) -> Array:
    """The picture with its time in a corner."""
    tile, text = np.ascontiguousarray(picture), f"{pts_s:.2f} s"
    for colour, width in ((20, 3), (255, 1)):
        cv2.putText(
            tile, text, (6, len(tile) - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (colour,) * 4, width,
            cv2.LINE_AA,
        )  # fmt: skip
    return tile
