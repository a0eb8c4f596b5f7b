"""Film a scene: its pictures, and whose surface every pixel shows."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from hpsvid.types import Array
from tools.people.lens import Sensor, compressed, draw_noise
from tools.people.lighting import Lighting
from tools.people.room import View
from tools.people.shading import SAMPLES, Layer, Sunlight, draw_layer, sunlight
from tools.people.shadow import floor_shadow
from tools.people.staging import Scene
from tools.people.surface import Surface, join

NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One exact picture."""

    rgb: Array  # (H, W, 3) float32 0..255, before the lens and the sensor
    owner: Array  # (P, H, W) int16: actor of each sample, then things; NOBODY for background
    nearness: Array  # (P, H, W) float32 1 / m, of the same samples


def exact_frames(scene: Scene, shutter: float) -> Iterator[Frame]:
    """The scene's frames one by one; shutter: share of a frame's time that it is open."""
    shot, actors, props = scene.shot, scene.actors, scene.props
    surfaces = [*(a.character.surface for a in actors), *(p.surface for p in props)]
    counts = [*(a.vertices.shape[1] for a in actors), *(len(p.vertices) for p in props)]
    surface, owner = join(surfaces, counts)
    frames = len(actors[0].vertices)
    middle = frames // 2

    def world(t: int) -> Array:
        things = [prop.at(t, middle) for prop in props]
        return np.concatenate([*(a.vertices[t] for a in actors), *things]).astype(np.float64)

    def in_camera(t: int) -> Array:
        return world(t) @ shot.rotation[t].T + shot.translation[t]

    here, before = in_camera(0), None
    for t in range(frames):
        after = in_camera(t + 1) if t + 1 < frames else None
        pace = _pace(before, here, after)
        # the samples' moments, spread over the opening about the frame's own time
        moments = [shutter * ((k + 0.5) / len(SAMPLES) - 0.5) for k in range(len(SAMPLES))]
        poses = [here + s * pace for s in moments] if shutter else [here] * len(SAMPLES)
        light = scene.backdrop.lighting
        sun = sunlight(world(t), surface, light, (shot.rotation[t], shot.translation[t]))
        layer = lit_layer(poses, surface, shot.view(t), light, sun)
        behind = scene.backdrop.draw(shot.view(t), _floor_dark(scene, t))
        if shutter:
            behind = _panned(behind, scene, t, shutter)
        yield Frame(
            rgb=over(behind, layer),
            owner=owners_of(layer.faces, owner),
            nearness=layer.nearness,
        )
        before, here = here, after if after is not None else here


def _pace(before: Array | None, here: Array, after: Array | None) -> Array:
    """Camera points' movement a frame (V, 3) m: central, one-sided at the ends."""
    if before is not None and after is not None:
        return (after - before) / 2
    if after is not None:
        return after - here
    return here - before if before is not None else np.zeros_like(here)


def lit_layer(
    poses: list[Array], surface: Surface, view: View, light: Lighting, sun: Sunlight
) -> Layer:
    """`draw_layer` in a view, by the world's light; arguments as there."""
    size = (view.width, view.height)
    return draw_layer(poses, surface, view.K, size, light.in_camera(view.rotation), sun)


def over(behind: Array, layer: Layer) -> Array:
    """The layer before a picture (H, W, 3) float32 0..255."""
    return behind * (1 - layer.cover[..., None]) + layer.rgb


def owners_of(faces: Array, owner: Array) -> Array:
    """Whose surface each sample shows, int16, of the face that it sees or -1, any shape.

    owner: (F,), whose each face is.
    """
    return np.where(faces >= 0, owner[np.maximum(faces, 0)], NOBODY).astype(np.int16)


def _floor_dark(scene: Scene, t: int) -> Array:
    """Share of the floor's light that people and things take away."""
    middle = len(scene.actors[0].vertices) // 2
    people = [(a.vertices[t].astype(np.float64), a.character.body.faces) for a in scene.actors]
    things = [(prop.at(t, middle), prop.surface.faces) for prop in scene.props]
    return floor_shadow(people + things, scene.backdrop.floor, scene.backdrop.lamp)


def _panned(picture: Array, scene: Scene, t: int, shutter: float) -> Array:
    """The background blurred along the camera's turn in this frame."""
    shot = scene.shot
    other = min(t + 1, len(shot.rotation) - 1)
    turn = shot.rotation[other] @ shot.rotation[t].T
    ahead = turn @ [0.0, 0, 1]
    shift = shot.K[0, 0] * ahead[:2] / ahead[2] * shutter
    length = float(np.hypot(*shift))
    if length < 1:
        return picture
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for s in np.linspace(-0.5, 0.5, 4 * reach + 1):
        x, y = np.round(s * shift).astype(int) + reach
        kernel[y, x] += 1
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def filmed(scene: Scene, sensor: Sensor, rng: np.random.Generator) -> tuple[Array, list[Frame]]:
    """A scene's pictures (T, H, W, 3) uint8 as a file holds them, and the exact frames.

    The exact frames come back without their pictures, which are large.
    """
    pictures, kept, noise = [], [], draw_noise(rng)
    for frame in exact_frames(scene, sensor.shutter):
        pictures.append(sensor.developed(frame.rgb, noise, rng))
        kept.append(Frame(rgb=frame.rgb[:0], owner=frame.owner, nearness=frame.nearness))
    return compressed(np.stack(pictures), sensor.codec, sensor.quality), kept
