"""Where a body's surface lies in a picture: the layout of its textures."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hpsvid.body.model import Body
from hpsvid.common.files import read_npz
from hpsvid.common.weights import weights_path
from hpsvid.errors import InputError, WeightsError
from hpsvid.types import Array, Person, Texture

UNITS_PER_M = 0.55  # how large the layout shows most of the body; the face twice as large
_NAME = "free_body_atlas"
_KEYS = ("uv", "uv_faces", "mirror", "faces_sha256")


@dataclass(frozen=True, kw_only=True, eq=False)
class Atlas:
    """A texture layout: U points, and the triangles that go with a body's F faces."""

    uv: Array  # (U, 2) float32, from the lower left
    uv_faces: Array  # (F, 3) int64 into uv, corner by corner with the body's faces
    mirror: Array  # (V,) int64, the vertex on the body's other side

    @cached_property
    def corners(self) -> Array:
        """Texture points (F, 3, 2) float32 of each face's corners."""
        return self.uv[self.uv_faces]

    def owners(self, faces: Array) -> Array:
        """The vertex (U,) int64 that each texture point belongs to; faces: (F, 3), the body's."""
        owners = np.zeros(len(self.uv), np.int64)
        owners[self.uv_faces.ravel()] = faces.ravel()
        return owners


def atlas_of(body: Body) -> Atlas:
    """The layout of the free body's textures.

    Raises InputError for another body, WeightsError when the shipped file is missing or damaged.
    """
    atlas, faces_sha256 = _shipped()
    if hashlib.sha256(body.faces.tobytes()).hexdigest() != faces_sha256:
        raise InputError(
            f"body {body.name}: has no texture layout; only the free body's people have textures "
            "(leave out --smpl and $HPSVID_SMPL when the result is made)"
        )
    return atlas


def texture_of(person: Person) -> Texture:
    """A person's texture. Raises InputError when there is none."""
    if person.texture is None:
        raise InputError(
            f"person {person.track.id}: has no texture; make it with `hpsvid texture RESULT`, or "
            "hpsvid.texture(motion)"
        )
    return person.texture


@lru_cache(maxsize=1)
def _shipped() -> tuple[Atlas, str]:
    data = read_npz(weights_path(_NAME), "a texture layout", _KEYS, WeightsError)
    atlas = Atlas(
        uv=data["uv"],
        uv_faces=data["uv_faces"].astype(np.int64),
        mirror=data["mirror"].astype(np.int64),
    )
    return atlas, str(data["faces_sha256"])
