"""The camera: its focal length as stated, chosen or guessed."""

import numpy as np

from hpsvid.errors import InputError
from hpsvid.types import Camera, CameraSource, Clip

# Focal length over the picture's longer side where nobody says. 1.0 is a view of 53 degrees:
# phones film at 0.75-0.95 (26-32 mm of a 36 mm frame after stabilisation's crop), cinema and
# stock at 1.0-1.4; the two calibrated cameras of Pose2Sim's balance clip have 0.876 and 0.872.
GUESSED_FOCAL = 1.0
FILM_DIAGONAL_MM = 43.27  # of a 36 x 24 mm frame, which 35 mm equivalents refer to (CIPA DCG-001)


def guess_camera(clip: Clip, focal: float | None) -> Camera:
    """A camera with square pixels and its axis through the picture's middle.

    focal: px; None takes what the file states (35 mm equivalent, over the picture's diagonal), or
    guesses the picture's longer side. A wrong focal length scales the distance to the person by
    the same ratio and leaves the overlay in place. Raises InputError unless > 0.
    """
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise InputError(f"focal length {focal}: expected a positive number of pixels")
    source: CameraSource
    if focal is not None:
        px, source = focal, "given"
    elif clip.focal_35mm is not None:
        px = clip.focal_35mm / FILM_DIAGONAL_MM * float(np.hypot(clip.width, clip.height))
        source = "metadata"
    else:
        px, source = GUESSED_FOCAL * max(clip.width, clip.height), "guessed"
    K = np.array([[px, 0, clip.width / 2], [0, px, clip.height / 2], [0, 0, 1]], np.float64)
    return Camera(K=K, source=source)
