"""Other pictures of a motion: skeletons, bodies alone, and from other sides."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from hpsvid.body.skeleton import SMPL
from hpsvid.body.world import to_world
from hpsvid.options import ViewName
from hpsvid.render.overlay import Overlay, person_colour
from hpsvid.types import Array, Frames, Motion

_BACKGROUND = (236, 236, 233)  # sRGB, behind bodies that are drawn alone
_BONE = 0.006  # width of a bone, of the picture's height
_ROOM_M = 1.3  # around the pelves, so that whole bodies are in the picture
_SHIFT = 4  # cv2 draws in sixteenths of a pixel
_CAMERA_TO_Y_UP = np.diag([1.0, -1.0, -1.0])
# rows: the virtual camera's x right, y down, z forward in a world with y up
_SIDE = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])  # looks along -x
_TOP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # looks down


class View:
    """Draws the frames of a motion's clip as a view of it.

    skeleton: bones over the clip; mesh: bodies alone, as the camera saw them; side and top: bodies
    alone from where the camera was not, by a still camera that sees all of the motion; beside: the
    overlay, and the side view to its right, in a picture twice as wide.
    """

    def __init__(self, overlay: Overlay, view: ViewName) -> None:
        self.overlay = overlay
        self.view = view
        clip = overlay.motion.clip
        self.width = clip.width * (2 if view == "beside" else 1)

    def draw(self, frames: Frames) -> Iterator[Array]:
        """One new picture (H, W, 3) uint8 for each frame, in order; beside: (H, 2 W, 3)."""
        if self.view == "skeleton":
            yield from self._skeletons(frames)
        elif self.view == "mesh":
            meshes = self.overlay.meshes(frames.index)
            K = self.overlay.motion.camera.K
            yield from self.overlay.pictures(_blank(frames), meshes, K)
        elif self.view in ("side", "top"):
            yield from self._elsewhere(frames, _SIDE if self.view == "side" else _TOP)
        elif self.view == "beside":
            pairs = zip(self.overlay.draw(frames), self._elsewhere(frames, _SIDE), strict=True)
            yield from (np.concatenate(pair, axis=1) for pair in pairs)
        else:
            yield from self.overlay.draw(frames)

    def _skeletons(self, frames: Frames) -> Iterator[Array]:
        width = max(1, round(_BONE * frames.rgb.shape[1]))
        for rgb, index in zip(frames.rgb, frames.index, strict=True):
            picture = rgb.copy()
            for person in self.overlay.motion.people:
                row = int(index - person.track.frame_index[0])
                if 0 <= row < len(person.track):
                    colour = person_colour(person.track.id).tolist()
                    _draw_bones(picture, person.joints2d[row], colour, width)
            yield picture

    def _elsewhere(self, frames: Frames, turn: Array) -> Iterator[Array]:
        """Bodies before a still camera whose axes are the rows of `turn`."""
        motion = self.overlay.motion
        height, width = frames.rgb.shape[1:3]
        place, K = _camera_that_sees_all(motion, turn, width, height)
        meshes = [
            [
                replace(mesh, vertices=(_placed(motion, mesh.vertices, index) @ turn.T + place)
                        .astype(np.float32))
                for mesh in present
            ]
            for present, index in zip(self.overlay.meshes(frames.index), frames.index, strict=True)
        ]  # fmt: skip
        yield from self.overlay.pictures(_blank(frames), meshes, K)


def _blank(frames: Frames) -> Array:
    return np.broadcast_to(np.array(_BACKGROUND, np.uint8), frames.rgb.shape).copy()


def _placed(motion: Motion, points: Array, index: int) -> Array:
    """Points (V, 3) of the camera in a world with y up: the ground's where it is known."""
    if motion.world is None:
        return points @ _CAMERA_TO_Y_UP
    return to_world(points[None], motion.world, np.array([index]))[0]


def _camera_that_sees_all(
    motion: Motion, turn: Array, width: int, height: int
) -> tuple[Array, Array]:
    """Where the world's origin is before that camera (3,), and its matrix (3, 3) px."""
    ways = [
        _placed(motion, person.joints[row, :1], int(index))
        for person in motion.people
        for row, index in enumerate(person.track.frame_index)
    ]
    seen = np.concatenate(ways) @ turn.T
    low, high = seen.min(0) - _ROOM_M, seen.max(0) + _ROOM_M
    middle, (wide, tall, deep) = (low + high) / 2, high - low
    focal = 1.5 * max(width, height)  # a narrow lens: little perspective
    distance = focal * max(wide / width, tall / height) + deep / 2
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return np.array([0, 0, distance]) - middle, K


def _draw_bones(picture: Array, joints: Array, colour: list[int], width: int) -> None:
    """Bones and joints of one person, joints (29, 2) px, into a picture."""
    places = np.round(np.clip(joints, -1e4, 1e4) * (1 << _SHIFT)).astype(int)
    for joint, parent in enumerate(SMPL.parents):
        if parent >= 0:
            start, end = places[parent].tolist(), places[joint].tolist()
            cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)
    for place in places.tolist():
        cv2.circle(picture, place, width << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)
