"""Where the pictures go: a page for browsers, or a window."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from hpsvid.common.threads import Newest
from hpsvid.errors import DependencyError
from hpsvid.live.page import serving
from hpsvid.live.picture import Picture, Show


@contextmanager
def screen(address: tuple[str, int] | None, title: str) -> Iterator[tuple[Show, str | None]]:
    """Where the pictures go: a page at `address` (then its URL comes, too), otherwise a window.

    Raises as `serving` and `window` do.
    """
    if address is None:
        with window(title) as show:
            yield show, None
        return
    pictures: Newest[Picture] = Newest()

    def put(picture: Picture) -> bool:
        _ = picture.jpeg  # packed here, so that the latency counts it
        pictures.put(picture)
        return True

    with serving(address, pictures) as url:
        yield put, url


@contextmanager
def window(title: str) -> Iterator[Show]:
    """A window that shows the pictures until q, Esc or its close button is pressed.

    Raises DependencyError where there is no OpenCV with windows, or no display.
    """
    look = "look with a browser instead: --serve 8000"
    if not cv2.currentUIFramework():
        raise DependencyError(
            f"this OpenCV is a build without windows; {look}, or pip uninstall "
            "opencv-python-headless and pip install opencv-python"
        )
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        raise DependencyError(f"there is no display ($DISPLAY is not set); {look}")
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(picture: Picture) -> bool:
        if picture.numbers.shown == 0:
            cv2.resizeWindow(title, picture.rgb.shape[1], picture.rgb.shape[0])
        cv2.imshow(title, cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2BGR))
        cv2.setWindowTitle(title, f"{title}: {picture.numbers.line()}")
        pressed = cv2.waitKey(1) & 0xFF
        return (
            pressed not in (ord("q"), 27)
            and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
        )

    try:
        yield show
    finally:
        cv2.destroyWindow(title)
