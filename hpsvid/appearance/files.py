"""Textures as files: `RESULT_personNN_texture.png` beside a result."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hpsvid.appearance.make import Progress, textured
from hpsvid.body.atlas import texture_of
from hpsvid.body.model import Body
from hpsvid.errors import InputError
from hpsvid.types import Motion, Person, Texture
from hpsvid.video.marks import MARK
from hpsvid.video.pictures import read_picture
from hpsvid.video.writer import write_image

_TEXTURE_MARK = f"{MARK} texture"
_SIDES = (16, 8192)  # texels


def texture_path(result: Path, person_id: int) -> Path:
    """Where the texture of a person of a result lies."""
    return result.with_name(f"{result.stem}_person{person_id:02d}_texture.png")


def read_texture(path: Path) -> Texture:
    """A texture, from whatever program. Raises InputError when it is no picture of a sane size."""
    rgb, bits = read_picture(path)
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in rgb.shape[:2]):
        raise InputError(
            f"{path}: {rgb.shape[1]}x{rgb.shape[0]} texels; expected {_SIDES[0]} to {_SIDES[1]} "
            "a side"
        )
    return Texture(rgb=(rgb >> (bits - 8)).astype(np.uint8))


def write_texture(person: Person, path: Path) -> None:
    """Write a person's texture (.png or .jpg), whole or not at all; InputError without one."""
    write_image(path, texture_of(person).rgb, _TEXTURE_MARK)


def with_textures(motion: Motion, body: Body, result: Path | None, progress: Progress) -> Motion:
    """The motion with everyone's texture: the one beside the result, or else made from the clip.

    Raises InputError as `textured`, or when a file is no texture.
    """
    people = []
    for person in motion.people:
        path = None if result is None else texture_path(result, person.track.id)
        if person.texture is None and path is not None and path.exists():
            person = replace(person, texture=read_texture(path))
        people.append(person)
    return textured(replace(motion, people=tuple(people)), body, progress)
