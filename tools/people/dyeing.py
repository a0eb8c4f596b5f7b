"""Pictures of clothes, hair and skin in other colours."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from hpsvid.errors import InputError
from hpsvid.types import Array
from tools.people.outfit import Dye


@lru_cache(maxsize=128)
def read_picture(path: Path) -> Array:
    """A picture file as (H, W, 4) uint8 sRGB and opacity; not to be written to."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise InputError(f"{path}: not a readable picture")
    if found.ndim == 2:
        found = np.repeat(found[..., None], 3, 2)
    opaque = np.full((*found.shape[:2], 1), 255, np.uint8)
    alpha = found[..., 3:] if found.shape[2] == 4 else opaque
    return np.concatenate([found[..., 2::-1], alpha], 2)


def dyed(picture: Array, dye: Dye) -> Array:
    """A cloth's picture (H, W, 4) uint8 in other colours; folds and seams stay."""
    hsv = cv2.cvtColor(picture[..., :3], cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + 180 * dye.hue) % 180  # OpenCV's hue of 8-bit pictures
    hsv[..., 1] *= dye.saturation
    hsv[..., 2] = 255 * (hsv[..., 2] / 255) ** (1 / dye.value)  # keeps black black, white white
    rgb = cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    rgb *= np.array(dye.tint, np.float32)
    if dye.stripes:
        row = np.arange(len(rgb)) / len(rgb)
        rgb[row // dye.stripes % 2 == 0] *= np.array(dye.stripe_tint, np.float32)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), picture[..., 3]])


def hair_of(picture: Array, colour: tuple[int, int, int]) -> Array:
    """A hair picture (H, W, 4) uint8 in `colour` (sRGB), its strands kept."""
    grey = picture[..., :3].astype(np.float32).mean(2)
    covered = picture[..., 3] > 127
    middle = float(grey[covered].mean()) if covered.any() else 1.0
    strands = (grey / max(middle, 1.0))[..., None] ** 0.8
    rgb = (strands * np.array(colour, np.float32)).clip(0, 255).astype(np.uint8)
    return np.dstack([rgb, picture[..., 3]])


def skin_of(picture: Array, gain: tuple[float, float, float]) -> Array:
    """A skin picture (H, W, 4) uint8, lighter or darker; opaque everywhere."""
    rgb = (picture[..., :3] * np.array(gain, np.float32)).clip(0, 255).astype(np.uint8)
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
