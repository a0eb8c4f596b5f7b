"""People with a known texture, filmed without light: the truth that textures are held against."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from hpsvid.body.atlas import atlas_of
from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT
from hpsvid.body.texels import Texels, texels_of
from hpsvid.common.geometry import axis_angle_to_matrix, image_of
from hpsvid.common.raster import (
    NEAR_M,
    corner_weights,
    edge_functions,
    homogeneous_px,
    visible_faces,
)
from hpsvid.types import Array, BodyParams, Camera, Clip, Motion, Person, Provenance, Texture, Track
from hpsvid.video.probe import probe

K = np.array([[520.0, 0, 160], [0, 520, 240], [0, 0, 1]])
WIDTH, HEIGHT = 320, 480
GRASS = np.array([40, 200, 60])


def places(texels: Texels, body: Body) -> Array:
    """Where on the T-posed body each texel lies (N, 3) m."""
    return (texels.share[..., None] * body.template.numpy()[body.faces[texels.face]]).sum(1)


def paint_at(at: Array) -> Array:
    """Colours (N, 3) uint8 that go with the place (N, 3) m on the body, and chequers."""
    chequers = np.floor(at / 0.12).sum(1) % 2 * 50
    red = 120 + 60 * np.sin(4 * at[:, 0]) + chequers
    blue = 110 + 60 * np.sin(3 * at[:, 1]) + chequers
    green = 50 + 40 * (at[:, 2] > 0)
    return np.stack([red, green, blue], 1).clip(0, 255).astype(np.uint8)


def sides_at(at: Array) -> Array:
    """Blue on the body's left, red on its right."""
    return np.where(at[:, :1] > 0, [60, 60, 200], [200, 60, 60]).astype(np.uint8)


def painted(body: Body, colour_at: Callable[[Array], Array], size: int = 1024) -> Array:
    """A texture (size, size, 3) uint8 of what `colour_at` says of each place of the body."""
    texels = texels_of(atlas_of(body), size)
    return texels.spread(colour_at(places(texels, body)))


def turning(
    body: Body, frames: int, *, turns: float = 1.0, start: float = 0.0, x_m: float = 0.0,
    z_m: float = 2.3, person_id: int = 0, arms: float = 0.9,
) -> Person:  # fmt: skip
    """Somebody who turns about on the spot, arms lowered by so many rad: away from the trunk."""
    angles = np.zeros((frames, 24, 3))
    for side, sign in (("left", 1), ("right", -1)):
        angles[:, JOINT[f"{side}_shoulder"], 2] = -arms * sign
        angles[:, JOINT[f"{side}_hip"], 2] = 0.12 * sign
    rotmats = axis_angle_to_matrix(torch.from_numpy(angles)).numpy()
    yaw = 2 * np.pi * (start + turns * np.arange(frames) / frames)
    about = np.stack([np.zeros(frames), yaw, np.zeros(frames)], 1)
    upright = np.diag([1.0, -1, -1])
    rotmats[:, 0] = upright @ axis_angle_to_matrix(torch.from_numpy(about)).numpy()
    rest = body.rest_joints(torch.zeros(10))[0].numpy()
    params = BodyParams(
        rotmats=rotmats.astype(np.float32),
        betas=np.zeros(10, np.float32),
        transl=np.tile(np.array([x_m, 0.1, z_m], np.float32) - rest, (frames, 1)),
    )
    joints = body.joints_of(params)
    joints2d = image_of(joints, K).astype(np.float32)
    return Person(
        track=Track(
            id=person_id,
            frame_index=np.arange(frames),
            boxes=np.concatenate([joints2d.min(1) - 12, joints2d.max(1) + 12], 1),
            scores=np.ones(frames, np.float32),
            detected=np.ones(frames, bool),
        ),
        body=params,
        joints=joints,
        joints2d=joints2d,
        sigma=np.full((frames, 29), 0.02, np.float32),
        valid=np.ones(frames, bool),
        reprojection_px=np.ones(frames, np.float32),
        evidence_error=np.full((frames, 29), 0.02, np.float32),
    )


def unlit(below: Array, surfaces: Sequence[Array], textures: Sequence[Array], body: Body) -> Array:
    """Textured surfaces (V, 3) m over a picture, each pixel the nearest texel: no light, no blend.

    Told here pixel by pixel, apart from the renderers.
    """
    picture, corners = below.copy(), atlas_of(body).corners
    count = len(body.faces)
    image = homogeneous_px(np.concatenate(surfaces), K)
    faces = np.concatenate([body.faces + n * len(body.template) for n in range(len(surfaces))])
    edges, scale, boxes = edge_functions(image, faces, WIDTH, HEIGHT, NEAR_M, True)
    seen, _ = visible_faces(edges, scale, boxes, (0, 0, WIDTH, HEIGHT), 1, NEAR_M)
    for row, column in zip(*np.nonzero(seen[..., 0] >= 0), strict=True):
        face = int(seen[row, column, 0])
        share = np.array(corner_weights(edges[face], column + 0.5, row + 0.5))
        u, v = share @ corners[face % count]
        texture = textures[face // count]
        size = len(texture)
        picture[row, column] = texture[
            min(int((1 - v) * size), size - 1), min(int(u * size), size - 1)
        ]
    return picture


def filmed(
    folder: Path, body: Body, people: Sequence[Person], textures: Sequence[Array],
    shown: Sequence[Person] | None = None,
) -> Motion:  # fmt: skip
    """A folder of pictures of these people on grass, as a clip, and the motion that goes with it.

    shown: whom the pictures show where the motion is not quite right.
    """
    frames = len(people[0].track)
    rng = np.random.default_rng(0)
    for n in range(frames):
        grass = GRASS + rng.integers(-12, 13, (HEIGHT, WIDTH, 3))
        surfaces = [body.vertices_of(p.body, slice(n, n + 1))[0] for p in shown or people]
        picture = unlit(grass.clip(0, 255).astype(np.uint8), surfaces, textures, body)
        cv2.imwrite(str(folder / f"{n:04d}.png"), picture[..., ::-1])
    clip = probe(folder, input_fps=10)
    return Motion(
        clip=clip,
        pts_s=np.arange(frames) / 10,
        camera=Camera(K=K, source="given"),
        people=tuple(people),
        provenance=Provenance(hpsvid_version="0", body={"name": body.name, "sha256": body.sha256}),
    )


def plain(colour: Sequence[int], size: int = 64) -> Array:
    """A texture of one colour."""
    return np.tile(np.array(colour, np.uint8), (size, size, 1))


def with_texture(motion: Motion, *rgb: Array) -> Motion:
    """The motion with these textures."""
    people = (
        replace(p, texture=Texture(rgb=picture))
        for p, picture in zip(motion.people, rgb, strict=True)
    )
    return replace(motion, people=tuple(people))


def clip_of(path: Path, frames: int) -> Clip:
    """A clip that is not read."""
    return Clip(
        path=path, width=WIDTH, height=HEIGHT, fps=Fraction(10), rotation=0, audio=False,
        frame_count=frames,
    )  # fmt: skip
