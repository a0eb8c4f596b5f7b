"""A motion drawn over the frames of its clip."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from hpsvid.body.atlas import UNITS_PER_M, atlas_of, texture_of
from hpsvid.body.model import Body
from hpsvid.body.skeleton import SMPL
from hpsvid.common.raster import NEAR_M
from hpsvid.options import ALPHA, LookName
from hpsvid.render import Renderer
from hpsvid.render.mesh import Mesh
from hpsvid.types import Array, Frames, Motion, Person

# Okabe and Ito, "Color universal design", 2008: seven colours that colour-blind people tell apart
PALETTE = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermillion
    (0, 114, 178),  # blue
)
SHADES = ((0, 0.0), (255, 0.5), (0, 0.45))  # later rounds: mixed with white, then with black
DARKER, LIGHTER = 0.55, 0.45  # how far the darkest and lightest cloth leave a person's colour
LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
DOUBT_M = 0.15  # the least certain: the reddest
DOUBT_COLOURS = (PALETTE[0], PALETTE[4], PALETTE[5])  # sky blue, yellow, vermillion
SHADED = 80  # of 255: white in the shade of both renderers is brighter
_TEXELS_PER_PX = 1.5  # at least, of the texture that is drawn; there are two samples to a pixel
_LEAST_TEXELS = 64
FILLED_OPACITY = 0.45  # of a person in frames where the pose was filled without evidence


def person_colour(person_id: int) -> Array:
    """Colour (3,) uint8 of a person, the same in every run; distinct for 21 ids in a row."""
    towards, part = SHADES[person_id // len(PALETTE) % len(SHADES)]
    colour = np.array(PALETTE[person_id % len(PALETTE)])
    return np.round(colour * (1 - part) + towards * part).astype(np.uint8)


def tinted(look: Array, colour: Array) -> Array:
    """`look` (V, 3) uint8 in shades of one `colour` (3,), as (V, 3) float32.

    The look's median brightness becomes the colour itself; so clothes stay visible on a person
    of one colour.
    """
    brightness = look @ np.array(LUMINANCE) / 255
    middle = np.clip(np.median(brightness), 0.01, 0.99)
    shade = np.interp(brightness, [0, middle, 1], [-DARKER, 0, LIGHTER])[:, None]
    return (colour * (1 - abs(shade)) + 255 * np.maximum(shade, 0)).astype(np.float32)


def doubt_colours(person: Person, body: Body, rows: Array) -> Array:
    """Colours (R, V, 3) float32 that say how far off the surface may be in these frames.

    A joint's doubt is its sigma together with the distance of its evidence; skin follows joints.
    """
    error = np.nan_to_num(person.evidence_error[rows])
    doubt = np.hypot(person.sigma[rows], error)[:, : SMPL.n_rotations]
    of_skin = doubt @ body.skin_weights.numpy().T / DOUBT_M
    at = np.linspace(0, 1, len(DOUBT_COLOURS))
    channels = [np.interp(of_skin, at, channel) for channel in np.array(DOUBT_COLOURS).T]
    return np.stack(channels, -1).astype(np.float32)


def _halved(picture: Array) -> Array:
    """A picture of half the size."""
    high, wide = picture.shape[:2]
    return cv2.resize(picture, (wide // 2, high // 2), interpolation=cv2.INTER_AREA)


class Overlay:
    """Draws the people of `motion` with the surface of `body`.

    look: tint: shades of each person's colour; suit: the body's own colours, where it has any;
    confidence: how far off each part may be; textured: their textures, which they must have.
    """

    def __init__(
        self,
        motion: Motion,
        body: Body,
        renderer: Renderer,
        *,
        alpha: float = ALPHA,
        look: LookName = "tint",
    ) -> None:
        self.motion = motion
        self.body = body
        self.renderer = renderer
        self.alpha = alpha
        self.look = look

    def draw(self, frames: Frames) -> Iterator[Array]:
        """One new picture (H, W, 3) uint8 for each frame, in order.

        Everybody whose track covers a frame is in it, in shades of their colour, fainter where
        the pose was filled without evidence. Surfaces are computed for the whole chunk at once:
        about 0.1 MB a person and frame.
        """
        yield from self.pictures(frames.rgb, self.meshes(frames.index), self.motion.camera.K)

    def meshes(self, index: Array) -> list[list[Mesh]]:
        """Everybody's surface in each of the frames `index` (N,), before the clip's camera."""
        meshes: list[list[Mesh]] = [[] for _ in range(len(index))]
        for person in self.motion.people:
            for place, mesh in self._surfaces(person, index):
                meshes[place].append(mesh)
        return meshes

    def pictures(self, rgb: Array, meshes: list[list[Mesh]], K: Array) -> Iterator[Array]:
        """`meshes` over the pictures `rgb` (N, H, W, 3), seen by a camera K (3, 3)."""

        def draw_one(below: Array, present: list[Mesh]) -> Array:
            return self.renderer.draw(below, present, K, alpha=self.alpha)

        if self.renderer.threads == 1:
            yield from map(draw_one, rgb, meshes)
            return
        with ThreadPoolExecutor(self.renderer.threads) as pool:
            yield from pool.map(draw_one, rgb, meshes)

    def covers(self, meshes: list[list[Mesh]], K: Array, size: tuple[int, int]) -> Iterator[Array]:
        """How much of each pixel `meshes` cover, (H, W) in [0, 1]; size: H, W."""
        black, white = np.zeros((*size, 3), np.uint8), np.full(3, 255.0)
        for present in meshes:
            bright = [replace(mesh, colours=white, opacity=1.0, texture=None) for mesh in present]
            drawn = self.renderer.draw(black, bright, K, alpha=1.0)[..., 0]
            yield np.minimum(drawn / np.float32(SHADED), 1)

    def _surfaces(self, person: Person, index: Array) -> Iterator[tuple[int, Mesh]]:
        """(place in the chunk, mesh) for those frames of `index` (N,) that the track covers."""
        when = index - person.track.frame_index[0]
        places = np.flatnonzero((when >= 0) & (when < len(person.track)))
        if len(places) == 0:
            return
        when = when[places]
        vertices = self.body.vertices_of(person.body, when)
        colours = self._colours(person, when)
        pictured = self._pictures(person) if self.look == "textured" else None
        for place, at, surface, colour in zip(places, when, vertices, colours, strict=True):
            opacity = 1.0 if person.valid[at] else FILLED_OPACITY
            mesh = Mesh(
                vertices=surface, faces=self.body.faces, colours=colour, opacity=opacity,
                **({} if pictured is None else pictured(surface)),
            )  # fmt: skip
            yield int(place), mesh

    def _pictures(self, person: Person) -> Callable[[Array], dict[str, Array]]:
        """A mesh's fields `texture` and `corners`, by its surface (V, 3) m.

        The texture is as fine as the picture shows it: a finer one would glitter.
        """
        corners, sizes = atlas_of(self.body).corners, [texture_of(person).rgb]
        while min(sizes[-1].shape[:2]) >= 2 * _LEAST_TEXELS:
            sizes.append(_halved(sizes[-1]))

        def pictured(surface: Array) -> dict[str, Array]:
            depth_m = max(float(np.median(surface[:, 2])), NEAR_M)
            finest = _TEXELS_PER_PX * float(self.motion.camera.K[0, 0]) / depth_m  # a metre
            finer = [size for size in sizes if len(size) * UNITS_PER_M > finest]
            return {"texture": finer[-1] if finer else sizes[0], "corners": corners}

        return pictured

    def _colours(self, person: Person, rows: Array) -> Sequence[Array]:
        """Colours of a person's surface, (V, 3) or (3,), in each of these frames of its track."""
        if self.look == "confidence":
            return list(doubt_colours(person, self.body, rows))
        own, colour = self.body.colours, person_colour(person.track.id)
        if own is None:
            return [colour] * len(rows)
        look = own.astype(np.float32) if self.look == "suit" else tinted(own, colour)
        return [look] * len(rows)
