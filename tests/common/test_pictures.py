"""Pictures at other sizes."""

import cv2
import numpy as np
import pytest

from hpsvid.common.pictures import resampled


@pytest.mark.parametrize("size", [(416, 234), (64, 36), (320, 180), (900, 500), (2000, 1100)])
@pytest.mark.parametrize("source", [(1280, 720), (1921, 1081)])
def test_a_picture_keeps_its_places_and_its_mean(
    size: tuple[int, int], source: tuple[int, int]
) -> None:
    """A smooth picture comes out as from averaging over areas, but for what lies between pixels."""
    x, y = np.meshgrid(np.linspace(0, 1, source[0]), np.linspace(0, 1, source[1]))
    picture = np.stack([200 * x, 200 * y, 120 + 100 * np.sin(9 * x + 7 * y)], -1).astype(np.uint8)
    area = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(resampled(picture, *size) - area).max() <= 3
    assert np.abs(resampled(picture, *size) - area).mean() < 1.0


def test_stripes_finer_than_the_small_picture_become_grey() -> None:
    picture = np.zeros((720, 1280), np.uint8)
    picture[:, ::2] = 200
    assert np.ptp(resampled(picture, 416, 234)) == 0
