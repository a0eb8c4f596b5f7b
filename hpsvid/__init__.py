"""hpsvid: video of people in, smooth 3D human motion out."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("hpsvid")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
