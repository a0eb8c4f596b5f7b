"""A motion drawn over the frames of its clip."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hpsvid.body.model import Body
from hpsvid.options import ALPHA
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


class Overlay:
    """Draws the people of `motion` with the surface of `body`."""

    def __init__(
        self, motion: Motion, body: Body, renderer: Renderer, *, alpha: float = ALPHA
    ) -> None:
        self.motion = motion
        self.body = body
        self.renderer = renderer
        self.alpha = alpha

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

    def _surfaces(self, person: Person, index: Array) -> Iterator[tuple[int, Mesh]]:
        """(place in the chunk, mesh) for those frames of `index` (N,) that the track covers."""
        when = index - person.track.frame_index[0]
        places = np.flatnonzero((when >= 0) & (when < len(person.track)))
        if len(places) == 0:
            return
        when = when[places]
        vertices = self.body.vertices_of(person.body, when)
        colour = person_colour(person.track.id)
        if self.body.colours is not None:
            colour = tinted(self.body.colours, colour)
        for place, at, surface in zip(places, when, vertices, strict=True):
            opacity = 1.0 if person.valid[at] else FILLED_OPACITY
            yield (
                int(place),
                Mesh(vertices=surface, faces=self.body.faces, colours=colour, opacity=opacity),
            )
