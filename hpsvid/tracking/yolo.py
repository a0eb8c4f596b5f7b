"""YOLO by ultralytics, by name or by path: an extra (AGPL-3.0) that the default path never loads.

A .pt file is a pickle, which ultralytics runs when it loads it: only use files you trust.
"""

import functools
import importlib.util
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsvid.common.boxes import MAX_OVERLAP, suppress
from hpsvid.common.weights import file_sha256
from hpsvid.errors import DependencyError, WeightsError, one_line
from hpsvid.types import Array, Detections, Frames

MIN_SCORE = 0.1  # the floor of ByteTrack's second association
PERSON = "person"
HOST = "github.com"  # where ultralytics keeps its weights
REACH_TIMEOUT_S = 3.0


class Yolo:
    """An ultralytics model as `hpsvid.tracking.Detector`."""

    known_frames = None

    def __init__(self, spec: str, *, threads: int | None = None) -> None:
        """spec: "yolo11n.pt" and the like, fetched once from ultralytics, or a .pt or .onnx path.

        threads: for .pt; sets torch's own thread count. onnxruntime chooses for itself.
        Raises WeightsError or DependencyError; nothing is left half written.
        """
        if importlib.util.find_spec("ultralytics") is None:
            raise DependencyError(
                f"--detector {spec}: needs ultralytics; run pip install 'hpsvid[yolo]' or use "
                "--detector embedded"
            )
        path = _find(spec)
        ultralytics = _import_ultralytics()
        try:
            self._model = ultralytics.YOLO(str(path), task="detect")
            names = self._model.names
        except Exception as error:  # a pickle of anything may fail in any way
            raise WeightsError(
                f"{path}: ultralytics cannot load it ({_brief(error)}); expected a YOLO "
                "detection model, .pt or exported .onnx"
            ) from error
        people = [index for index, name in names.items() if name == PERSON]
        if not people:
            raise WeightsError(f"{path}: the model knows no class named {PERSON!r}")
        self._classes = people
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = path.stem
        self.provenance = {
            "name": path.name,
            "sha256": file_sha256(path),
            "ultralytics": ultralytics.__version__,
        }

    def __call__(self, frames: Frames) -> list[Detections]:
        """See `Detector`. One frame at a time: exported models have a fixed batch."""
        return [
            self._detect(rgb, int(index))
            for rgb, index in zip(frames.rgb, frames.index, strict=True)
        ]

    def _detect(self, rgb: Array, frame_index: int) -> Detections:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        (prediction,) = self._model.predict(
            bgr, classes=self._classes, conf=MIN_SCORE, iou=MAX_OVERLAP, verbose=False
        )
        detected: Any = prediction.boxes
        return Detections(
            frame_index=frame_index,
            boxes=detected.xyxy.cpu().numpy().astype(np.float32),
            scores=detected.conf.cpu().numpy().astype(np.float32),
        )


def _find(spec: str) -> Path:
    """The file that `spec` names, fetched into the user's cache when it is a bare name."""
    given = Path(spec)
    if given.is_file():
        return given
    if given.name != spec or given.suffix == ".onnx":
        raise WeightsError(f"--detector {spec}: no such file; check the path")
    cached = _cache() / spec
    if not cached.is_file():
        _fetch(spec, cached)
    return cached


def _fetch(name: str, target: Path) -> None:
    """Download ultralytics' file `name` to `target`, which appears whole or not at all."""
    mend = f"put {name} here or pass its path, or use --detector embedded"
    try:
        socket.create_connection((HOST, 443), timeout=REACH_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(
            f"--detector {name}: not on this machine, and {HOST} cannot be reached; {mend}"
        ) from error
    _import_ultralytics()
    from ultralytics.utils.downloads import attempt_download_asset

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        try:
            fetched = Path(attempt_download_asset(Path(scratch) / name))
        except Exception as error:  # requests, urllib and ultralytics' own kinds
            raise WeightsError(
                f"--detector {name}: the download failed ({_brief(error)}); {mend}"
            ) from error
        if not fetched.is_file():
            raise WeightsError(f"--detector {name}: ultralytics has no such model; {mend}")
        shutil.move(fetched, target)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hpsvid"


def _import_ultralytics() -> Any:
    """ultralytics, told not to install packages, send usage data or look for updates."""
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"  # its usage events and version checks, not our download
    os.environ["YOLO_VERBOSE"] = "false"  # it prints to stdout
    os.environ.setdefault("YOLO_CONFIG_DIR", str(_cache()))
    try:
        _complete_torchvision()
        import ultralytics
    except Exception as error:  # ImportError, or RuntimeError from a torchvision that does not fit
        raise DependencyError(
            f"ultralytics cannot be imported ({_brief(error)}); see docs/install.md, 'GPU' for a "
            "matching torch and torchvision, or use --detector embedded"
        ) from error
    ultralytics.settings.update({"sync": False})
    return ultralytics


def _brief(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) <= 120 else text[:117] + "..."


@functools.cache
def _complete_torchvision() -> torch.library.Library | None:
    """Make torchvision usable for detection when its compiled part does not fit this torch.

    The registry's torchvision is compiled for its CUDA torch; over a CPU torch its library does
    not load, and torchvision then fails on import because two operators that it describes are not
    there. They are declared here, and non-maximum suppression, the only one that detection calls,
    is replaced. The result must be kept alive; None when all is well.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    ops = importlib.import_module("torchvision.ops")
    vars(ops)["nms"] = non_maximum_suppression
    return library


def _loads(folder: Path) -> bool:
    """Whether torchvision's compiled operators load; loading them twice does no harm."""
    for path in sorted(folder.glob("_C*.so")):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False


def non_maximum_suppression(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """`suppress` with the signature of torchvision.ops.nms; boxes: (N, 4) x0 y0 x1 y1."""
    kept = suppress(boxes.cpu().numpy(), scores.cpu().numpy(), iou_threshold)
    return torch.from_numpy(kept).to(boxes.device)
