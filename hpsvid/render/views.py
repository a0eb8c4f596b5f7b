"""Pictures of a motion: over its clip or without it, from the clip's camera or from elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hpsvid.body.skeleton import JOINT, SMPL
from hpsvid.common.geometry import image_of
from hpsvid.errors import InputError
from hpsvid.options import DrawOptions, ViewName
from hpsvid.render.ground import gridded, ground_lines
from hpsvid.render.lenses import OF_THE_CLIP, LensAt, lens_of, placed
from hpsvid.render.mesh import Mesh
from hpsvid.render.overlay import Overlay, person_colour
from hpsvid.render.shadow import shaded
from hpsvid.types import Array, Clip, Frames, Motion
from hpsvid.video.pictures import read_picture

_BACKGROUND = (236, 236, 233)  # sRGB, behind bodies that are drawn alone
_BONE = 0.006  # width of a bone, of the picture's height
_LETTERS = 0.035  # height of a label, of the picture's
_SHIFT = 4  # cv2 draws in sixteenths of a pixel


class View:
    """Draws the frames of a motion's clip as the options say.

    overlay and skeleton: meshes and bones over the clip; mesh: bodies alone, as the camera saw
    them; side, top and orbit: bodies alone from where the camera was not. Several views of a frame
    lie side by side in one picture, from four on in two rows. `options.sheet` has no part in it.
    Raises InputError when the background cannot be read, or the ground that shadows and the grid
    need is not known.
    """

    def __init__(self, overlay: Overlay, options: DrawOptions) -> None:
        self.overlay = overlay
        self.options = options
        motion, count = overlay.motion, len(options.views)
        self._columns = count if count < 4 else (count + 1) // 2
        self.width = motion.clip.width * self._columns
        self.height = motion.clip.height * -(-count // self._columns)
        self._lenses = {view: lens_of(view, motion) for view in options.views}
        self._backdrop = backdrop(options, motion.clip)
        wants = "--shadow" if options.shadow else "--grid"
        if (options.shadow or options.grid) and motion.world is None:
            raise InputError(
                f"{wants}: this result does not say where the ground is; make it again from the "
                f"clip, or leave {wants} out"
            )
        self._grid = ground_lines(motion) if options.grid else None

    def draw(self, frames: Frames) -> Iterator[Array]:
        """One new picture uint8 for each frame, in order.

        (height, width, 3), or 4 with how much covers the background where that is transparent.
        """
        if not self.options.transparent:
            yield from self._drawn(frames, self._backdrop)
            return
        black, white = (self._drawn(frames, _plain(frames.rgb[0], (v, v, v))) for v in (0, 255))
        yield from (_matte(*pair) for pair in zip(black, white, strict=True))

    def _drawn(self, frames: Frames, backdrop: Array | None) -> Iterator[Array]:
        meshes = []
        if self.options.shadow or self.options.grid or set(self.options.views) - {"skeleton"}:
            meshes = self.overlay.meshes(frames.index)
        panes = [self._pane(view, frames, meshes, backdrop) for view in self.options.views]
        for pictures in zip(*panes, strict=True):
            yield in_a_grid(pictures, self._columns)

    def _pane(
        self, view: ViewName, frames: Frames, meshes: list[list[Mesh]], backdrop: Array | None
    ) -> Iterator[Array]:
        """The pictures (H, W, 3) of one view, over `backdrop` (H, W, 3) or what the view has."""
        motion, lens_at = self.overlay.motion, self._lenses[view]
        if backdrop is None and view in ("overlay", "skeleton"):
            below = frames.rgb
        else:
            plain = _plain(frames.rgb[0], _BACKGROUND) if backdrop is None else backdrop
            below = np.broadcast_to(plain, frames.rgb.shape)
        if self.options.shadow:
            below = self._shaded(below, frames, meshes, lens_at)
        K = lens_at(int(frames.index[0])).K
        if view not in OF_THE_CLIP:
            meshes = _from_elsewhere(motion, meshes, frames, lens_at)
        if self._grid is not None:
            covers = self.overlay.covers(meshes, K, below.shape[1:3])
            lenses = (lens_at(int(index)) for index in frames.index)
            places = zip(below, lenses, covers, strict=True)
            below = np.stack([gridded(rgb, self._grid, lens, cover) for rgb, lens, cover in places])
        if view == "skeleton":
            pictures = self._skeletons(below, frames)
        else:
            pictures = self._meshes(np.ascontiguousarray(below), meshes, K)
        for picture, index in zip(pictures, frames.index, strict=True):
            yield self._labelled(picture, int(index), lens_at)

    def _shaded(
        self, below: Array, frames: Frames, meshes: list[list[Mesh]], lens_at: LensAt
    ) -> Array:
        motion = self.overlay.motion
        return np.stack(
            [
                shaded(
                    rgb,
                    [placed(motion, mesh.vertices, int(index)) for mesh in present],
                    lens_at(int(index)),
                )
                for rgb, present, index in zip(below, meshes, frames.index, strict=True)
            ]
        )

    def _skeletons(self, below: Array, frames: Frames) -> Iterator[Array]:
        width = max(1, round(_BONE * below.shape[1]))
        for rgb, index in zip(below, frames.index, strict=True):
            picture = rgb.copy()
            for person in self.overlay.motion.people:
                row = int(index - person.track.frame_index[0])
                if 0 <= row < len(person.track):
                    colour = person_colour(person.track.id).tolist()
                    _draw_bones(picture, person.joints2d[row], colour, width)
            yield picture

    def _meshes(self, below: Array, meshes: list[list[Mesh]], K: Array) -> Iterator[Array]:
        if self.options.soft == 0:
            yield from self.overlay.pictures(below, meshes, K)
            return
        black, white = (
            self.overlay.pictures(np.full_like(below, value), meshes, K) for value in (0, 255)
        )
        for rgb, dark, light in zip(below, black, white, strict=True):
            yield _softened(rgb, dark, light, self.options.soft)

    def _labelled(self, picture: Array, index: int, lens_at: LensAt) -> Array:
        """The picture with everybody's name above their head, where names are wanted."""
        names, motion = self.options.names, self.overlay.motion
        if names is None:
            return picture
        image = Image.fromarray(picture)
        pen, size = ImageDraw.Draw(image), max(8, round(_LETTERS * len(picture)))
        font, lens = ImageFont.load_default(size), lens_at(index)
        for person in motion.people:
            row = index - int(person.track.frame_index[0])
            if not 0 <= row < len(person.track):
                continue
            head = person.joints[row, JOINT["head_top"]][None]
            point = lens.sees(placed(motion, head, index))
            if point[0, 2] <= 0:
                continue
            x, y = image_of(point, lens.K)[0]
            pen.text(
                (x, y - size / 2), names.get(person.track.id, str(person.track.id)), font=font,
                fill=tuple(person_colour(person.track.id).tolist()), anchor="mb",
                stroke_width=max(1, size // 10), stroke_fill=(20, 20, 20),
            )  # fmt: skip
        return np.asarray(image)


def in_a_grid(pictures: Sequence[Array], columns: int) -> Array:
    """Pictures of one size (H, W, C), row by row; places that are left over are light grey."""
    if len(pictures) == 1:
        return pictures[0]
    spare = np.full_like(pictures[0], 255)
    spare[..., :3] = _BACKGROUND
    filled = [*pictures, *[spare] * (-len(pictures) % columns)]
    rows = [filled[at : at + columns] for at in range(0, len(filled), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _plain(rgb: Array, colour: tuple[int, int, int]) -> Array:
    """A picture of the size of `rgb` in one colour."""
    return np.broadcast_to(np.array(colour, np.uint8), rgb.shape)


def backdrop(options: DrawOptions, clip: Clip) -> Array | None:
    """The picture (H, W, 3) that the options put behind the bodies; None: the view's own.

    Raises InputError when there is no such picture.
    """
    if options.background is None or options.transparent:
        return None
    size = (clip.height, clip.width, 3)
    if options.colour is not None:
        return _plain(np.empty(size, np.uint8), options.colour)
    path = Path(options.background)
    if not path.exists():
        raise InputError(
            f"--background {options.background}: expected transparent, a colour such as #ffffff, "
            "or a picture that is there"
        )
    rgb = read_picture(path)[0]
    share = max(clip.height / len(rgb), clip.width / rgb.shape[1])  # covers the frame
    wide, high = (max(n, round(share * m)) for n, m in
                  ((clip.width, rgb.shape[1]), (clip.height, len(rgb))))  # fmt: skip
    whole = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_AREA)
    top, left = (high - clip.height) // 2, (wide - clip.width) // 2
    return whole[top : top + clip.height, left : left + clip.width]


def _from_elsewhere(
    motion: Motion, meshes: list[list[Mesh]], frames: Frames, lens_at: LensAt
) -> list[list[Mesh]]:
    """The meshes before another camera."""
    return [
        [
            replace(
                mesh,
                vertices=lens_at(int(index)).sees(placed(motion, mesh.vertices, int(index))),
            )
            for mesh in present
        ]
        for present, index in zip(meshes, frames.index, strict=True)
    ]


def _matte(black: Array, white: Array) -> Array:
    """What was drawn, (H, W, 4): the same drawing over black and over white (H, W, 3) says it."""
    cover = 255 - (white.astype(np.int16) - black).max(-1, keepdims=True).clip(0, 255)
    colour = np.round(black * (255 / np.maximum(cover, 1))).clip(0, 255)
    return np.concatenate([np.where(cover > 0, colour, 0), cover], -1).astype(np.uint8)


def _softened(below: Array, black: Array, white: Array, reach: float) -> Array:
    """The drawing over `below`, fading out within `reach` px of its edges."""
    cover = 1 - (white.astype(np.float32) - black) / 255
    inside = (cover.max(-1) > 0).astype(np.uint8)
    fade = np.clip(cv2.distanceTransform(inside, cv2.DIST_L2, 5) / reach, 0, 1)[..., None]
    return np.round(below * (1 - cover * fade) + black * fade).clip(0, 255).astype(np.uint8)


def _draw_bones(picture: Array, joints: Array, colour: list[int], width: int) -> None:
    """Bones and joints of one person, joints (29, 2) px, into a picture."""
    places = np.round(np.clip(joints, -1e4, 1e4) * (1 << _SHIFT)).astype(int)
    for joint, parent in enumerate(SMPL.parents):
        if parent >= 0:
            start, end = places[parent].tolist(), places[joint].tolist()
            cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)
    for place in places.tolist():
        cv2.circle(picture, place, width << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)
