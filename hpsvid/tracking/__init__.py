"""Find the people in each frame. `load_detector` is the only way in."""

from collections.abc import Callable
from typing import Protocol

from hpsvid.errors import InputError
from hpsvid.types import Array, Detections, Frames


class Detector(Protocol):
    """Finds people, and says which network it is.

    Called with N frames it returns N detections in the same order, boxes x0 y0 x1 y1 in px of
    the whole picture. Weak boxes are kept (from about 0.1), because the tracker uses them for
    people who are half hidden; to count people, take scores from 0.4 on.
    """

    name: str
    provenance: dict[str, str]

    @property
    def known_frames(self) -> Array | None:
        """The frames (K,) of which alone it can say something, in order; None: of any."""
        ...

    def __call__(self, frames: Frames) -> list[Detections]:
        """One Detections for each frame."""
        ...


def _embedded(spec: str, threads: int | None, device: str) -> Detector:
    from hpsvid.tracking.nanodet import NanoDet

    return NanoDet(threads=threads, device=device)


def _yolo(spec: str, threads: int | None, device: str) -> Detector:
    if not spec.endswith((".pt", ".onnx")):
        raise InputError(
            f"--detector {spec}: expected 'embedded', the name of an ultralytics model such as "
            "yolo11n.pt, or the path of a .pt or .onnx file"
        )
    from hpsvid.tracking.yolo import Yolo

    return Yolo(spec, threads=threads)


DETECTORS: dict[str, Callable[[str, int | None, str], Detector]] = {"embedded": _embedded}


def load_detector(
    spec: str = "embedded", *, threads: int | None = None, device: str = "auto"
) -> Detector:
    """The detector that `spec` asks for.

    spec: "embedded", or what ultralytics accepts: the name of one of its models ("yolo11n.pt") or
    the path of a .pt or .onnx file.
    threads: CPU threads for the network; None lets the runtime choose. device: as in `load_onnx`;
    ultralytics chooses its own.
    Raises InputError when `spec` is none of these, WeightsError when weights are missing or
    unusable and DependencyError when the package that `spec` needs is not installed.
    """
    return DETECTORS.get(spec, _yolo)(spec, threads, device)
