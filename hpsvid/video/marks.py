"""The comment in a file's metadata by which hpsvid knows what it wrote."""

from pathlib import Path

from PIL import Image

from hpsvid.common.files import regular_file
from hpsvid.video.containers import opened
from hpsvid.video.pictures import PILLOW_FORMATS, is_single_picture

MARK = "hpsvid"  # how it begins
OVERLAY_MARK = f"{MARK} overlay"


def comment_of(path: Path) -> str:
    """The comment in a video's or picture's metadata; "" when there is none to read."""
    try:
        if is_single_picture(path):
            with Image.open(regular_file(path), formats=PILLOW_FORMATS) as picture:
                told = {str(key).lower(): value for key, value in picture.info.items()}
        else:
            with opened(path) as (container, _):
                told = {key.lower(): value for key, value in container.metadata.items()}
    except Exception:  # damaged files make Pillow raise nearly anything
        return ""
    comment = told.get("comment", "")
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
