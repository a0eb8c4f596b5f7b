"""Light as nine spherical harmonics and one sun, in display units: 1 shows white as white.

Irradiance from order-2 spherical harmonics: Ramamoorthi and Hanrahan, "An efficient
representation for irradiance environment maps", SIGGRAPH 2001.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpsvid.types import Array
from tools.people.room import Light

GAMMA = 2.2  # of the display
_BANDS = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5])  # cosine lobe's, by band
_GOLDEN = np.pi * (3 - np.sqrt(5))
LOWEST_SUN = 0.15  # of the sun's direction, upwards: shadows stay on the floor drawn


class CameraLight(NamedTuple):
    """Light in camera axes."""

    irradiance: Array  # (9, 3) coefficients: that of a unit normal n is basis(n) @ irradiance
    sun: Array  # (3,) irradiance on a surface that faces the sun
    towards: Array  # (3,) unit, from the scene to the sun


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lighting:
    """What lights people, world axes (y up)."""

    harmonics: Array  # (9, 3) of the radiance, red green blue, linear
    sun: Array  # (3,) irradiance on a surface that faces it
    towards: Array  # (3,) unit, from the scene to the sun

    def in_camera(self, rotation: Array) -> CameraLight:
        """The same light in camera axes; rotation: (3, 3) world to camera."""
        ways = sphere(64)
        turned = np.linalg.lstsq(basis(ways), basis(ways @ rotation) @ self.harmonics, rcond=None)
        return CameraLight(turned[0] * _BANDS[:, None], self.sun, rotation @ self.towards)


def sphere(count: int) -> Array:
    """Evenly spread unit vectors (count, 3)."""
    y = 1 - 2 * (np.arange(count) + 0.5) / count
    ring, angle = np.sqrt(1 - y * y), _GOLDEN * np.arange(count)
    return np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1)


def basis(ways: Array) -> Array:
    """The nine real harmonics (..., 9) of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(ways, -1, 0)
    return np.stack(
        [
            0.282095 + 0 * x,
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    )


def harmonics_of(ways: Array, radiance: Array, solid_angle: Array) -> Array:
    """Coefficients (9, 3) of a radiance (..., 3) seen in unit directions (..., 3)."""
    weighted = basis(ways) * solid_angle[..., None]
    return weighted.reshape(-1, 9).T @ radiance.reshape(-1, 3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interior:
    """What lights people in a room beside its lamp."""

    window: Array  # (3,) unit, from the scene to the window
    tint: Array  # (3,) of the window's light
    glare: float  # of the window, in shares of the room's glow
    floor: float  # share of the glow that the floor sends back
    warmth: Array  # (3,) of the lamp's light


def room_lighting(rng: np.random.Generator, lamp: Light) -> Lighting:
    """The light of a random room with this lamp."""
    interior = Interior(
        window=unit(rng.normal(size=3) * [1, 0.3, 1]),
        tint=rng.uniform(0.85, 1.15, 3),
        glare=rng.uniform(0, 2.5),
        floor=rng.uniform(0.2, 0.6),
        warmth=rng.uniform(0.9, 1.1, 3),
    )
    return lit_room(interior, lamp)


def lit_room(interior: Interior, lamp: Light) -> Lighting:
    """The light of a room: its lamp, its glow, a window and the floor's bounce."""
    ways = sphere(400)
    glow = lamp.fill**GAMMA
    radiance = np.full((len(ways), 3), glow) * (1 + 0.25 * ways[:, 1:2])
    towards_window = (ways @ interior.window).clip(0)[:, None]
    radiance += glow * interior.tint * interior.glare * towards_window**4
    floor = interior.floor * np.array([1, 0.85, 0.7])
    radiance += glow * floor * (-ways[:, 1:2]).clip(0)
    solid = np.full(len(ways), 4 * np.pi / len(ways))
    key = np.pi * ((lamp.fill + lamp.key) ** GAMMA - lamp.fill**GAMMA)
    return Lighting(
        harmonics=harmonics_of(ways, radiance, solid),
        sun=np.full(3, key) * interior.warmth,
        towards=unit(lamp.towards),
    )


def sky_lighting(rng: np.random.Generator, lamp: Light, ground: Array) -> Lighting:
    """Daylight outdoors: blue or grey from above, the ground's colour (3,) linear from below."""
    ways = sphere(400)
    glow = lamp.fill**GAMMA
    overcast = rng.random()
    sky = np.array([0.75, 0.95, 1.3]) * (1 - overcast) + overcast
    up = (0.5 + 0.5 * ways[:, 1:2]) ** 0.5
    radiance = glow * (1.25 * up * sky + (1 - up) * ground * 1.5)
    solid = np.full(len(ways), 4 * np.pi / len(ways))
    key = np.pi * ((lamp.fill + lamp.key) ** GAMMA - lamp.fill**GAMMA)
    warm = np.array([1.1, 1.0, 0.85]) if rng.random() < 0.5 else np.ones(3)
    return Lighting(
        harmonics=harmonics_of(ways, radiance, solid), sun=key * warm, towards=unit(lamp.towards)
    )


def draw_lamp(rng: np.random.Generator) -> Light:
    """A key light from anywhere above and an even glow."""
    aim = rng.normal(size=3)
    towards = unit(np.array([aim[0], 0.35 + abs(aim[1]), aim[2]]))
    towards[1] = max(towards[1], LOWEST_SUN)
    return Light(towards=unit(towards), key=rng.uniform(0.05, 0.45), fill=rng.uniform(0.6, 0.95))


def unit(vector: Array) -> Array:
    """The vector (3,) at length one."""
    return vector / np.linalg.norm(vector)
