"""Pictures as players show them: turned, mirrored, of square pixels and of one size."""

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hpsvid.common.pictures import resampled
from hpsvid.types import Array

_SAME_ASPECT = 0.01  # relative; sizes this alike are stretched instead of framed in black

# Exif's Orientation -> (mirrored, clockwise degrees): mirror left and right first, then turn
EXIF_ORIENTATION = {
    1: (False, 0), 2: (True, 0), 3: (False, 180), 4: (True, 180),
    5: (True, 270), 6: (False, 90), 7: (True, 90), 8: (False, 270),
}  # fmt: skip


def orientation(frame: VideoFrame) -> tuple[bool, int]:
    """(mirrored, clockwise degrees) that make a frame upright: mirror it first, then turn it.

    From the display matrix of MP4, Matroska or H.264: a stored pixel (x, y) is shown at
    (a x + c y, b x + d y), with a, b in its first row and c, d in its second (ISO/IEC 14496-12,
    6.2.2). Angles are rounded to right angles.
    """
    # not `frame.side_data`, which the frame keeps: a circle that holds its picture until the next
    # round of garbage collection, hundreds of megabytes later
    data = SideDataContainer(frame).get(Type.DISPLAYMATRIX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if data is None:
        return False, 0
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), np.int32).reshape(3, 3).astype(float)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return bool(mirrored), round(np.degrees(np.arctan2(b, a)) / 90) % 4 * 90


def upright_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height of a frame in square, upright pixels."""
    aspect = stream.sample_aspect_ratio or 1
    width, height = max(1, round(frame.width * aspect)), frame.height
    return (height, width) if orientation(frame)[1] in (90, 270) else (width, height)


def upright(picture: Array, mirrored: bool, rotation: int) -> Array:
    """The picture (H, W, ...), mirrored or not, then turned clockwise by 0, 90, 180 or 270."""
    if mirrored:
        picture = cv2.flip(picture, 1)
    if rotation == 0:
        return picture
    codes = {
        90: cv2.ROTATE_90_CLOCKWISE,
        180: cv2.ROTATE_180,
        270: cv2.ROTATE_90_COUNTERCLOCKWISE,
    }
    return cv2.rotate(picture, codes[rotation])


def fitted_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """The largest (width, height) of the aspect of `size` that fits into `canvas`, px."""
    share = [room / length for room, length in zip(canvas, size, strict=True)]
    if max(share) <= (1 + _SAME_ASPECT) * min(share):
        return canvas
    width, height = (max(1, round(length * min(share))) for length in size)
    return min(width, canvas[0]), min(height, canvas[1])


def on_canvas(picture: Array, canvas: tuple[int, int]) -> Array:
    """The picture (H, W, 3) in the middle of a black one of width and height `canvas`, px.

    A picture of another size is scaled to fit first, its aspect kept.
    """
    height, width = picture.shape[:2]
    if (width, height) == canvas:
        return picture
    fitted = fitted_size((width, height), canvas)
    if (width, height) != fitted:
        picture = resampled(picture, *fitted)
    left, top = (canvas[0] - fitted[0]) // 2, (canvas[1] - fitted[1]) // 2
    right, bottom = canvas[0] - fitted[0] - left, canvas[1] - fitted[1] - top
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT)
