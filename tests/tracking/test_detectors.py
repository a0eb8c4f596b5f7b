"""The detectors: finding people in real and rendered pictures, and clear errors."""

import importlib.util
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsvid.common.boxes import iou, suppress
from hpsvid.errors import DependencyError, InputError, WeightsError
from hpsvid.tracking import load_detector
from hpsvid.tracking.nanodet import LONG_SIDE, NanoDet, decode, letterbox
from hpsvid.types import Detections, Frames

PEOPLE_SCORE = 0.4


def as_frames(*pictures: np.ndarray, first: int = 0) -> Frames:
    return Frames(
        rgb=np.stack(pictures),
        index=np.arange(first, first + len(pictures)),
        pts_s=np.arange(len(pictures)) / 25.0,
    )


def frame_of(path: Path, index: int) -> np.ndarray:
    av = pytest.importorskip("av")
    with av.open(str(path)) as clip:
        for k, frame in enumerate(clip.decode(video=0)):
            if k == index:
                return frame.to_ndarray(format="rgb24")
    raise AssertionError(f"{path} has no frame {index}")


def overlap(a: np.ndarray, b: tuple[float, ...]) -> float:
    shared = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(np.subtract(b[2:], b[:2])) - shared))


def sure(found: Detections) -> np.ndarray:
    return found.boxes[found.scores >= PEOPLE_SCORE]


@pytest.fixture(scope="module")
def detector() -> NanoDet:
    found = load_detector("embedded", threads=1)
    assert isinstance(found, NanoDet)
    return found


@pytest.mark.parametrize(
    ("clip", "index", "truth"),
    [  # boxes drawn by hand, px
        ("juggle_single_fullbody.mp4", 120, [(620, 36, 868, 688)]),
        ("squats_portrait_5fps.mp4", 40, [(200, 205, 530, 1020)]),
        (
            "vtest_pedestrians.avi",
            400,
            [(273, 201, 302, 286), (589, 140, 616, 204), (687, 300, 744, 411)],
        ),
    ],
)
def test_people_in_real_frames(shared, detector, clip, index, truth) -> None:
    rgb = frame_of(shared / "data" / "clips" / clip, index)
    (found,) = detector(as_frames(rgb, first=index))
    assert found.frame_index == index
    boxes = sure(found)
    assert len(boxes) == len(truth)
    for person in truth:
        assert max(overlap(box, person) for box in boxes) > 0.7


def test_box_follows_the_person_through_scale_shift_and_padding(shared, detector) -> None:
    """The same person in pictures of other sizes and shapes, box carried along by arithmetic."""
    cv2 = pytest.importorskip("cv2")
    rgb = frame_of(shared / "data" / "clips" / "juggle_single_fullbody.mp4", 120)
    (box,) = sure(detector(as_frames(rgb))[0])
    half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    crop = rgb[:, 400:1100]  # upright picture
    for picture, expected in (
        (half, box / 2),
        (crop, box - [400, 0, 400, 0]),
        (np.pad(half, ((100, 300), (0, 0), (0, 0)), "edge"), box / 2 + [0, 100, 0, 100]),
    ):
        (moved,) = sure(detector(as_frames(picture))[0])
        assert overlap(moved, tuple(expected)) > 0.85


@pytest.mark.parametrize("size", [(480, 640), (50, 2000), (1, 1), (31, 7)])
def test_nobody_in_an_empty_picture_of_any_shape(detector, size) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for found in detector(as_frames(noise, np.full_like(noise, 127))):
        assert len(sure(found)) == 0
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [size[1], size[0]] * 2).all()


def test_same_frame_same_boxes(shared, detector) -> None:
    rgb = frame_of(shared / "data" / "clips" / "vtest_pedestrians.avi", 100)
    first, second = detector(as_frames(rgb, rgb))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert (np.diff(first.scores) <= 0).all()


def test_provenance_names_the_weights(detector) -> None:
    assert detector.provenance["name"] == "nanodet_416"
    assert len(detector.provenance["sha256"]) == 64


def test_letterbox_keeps_the_aspect_and_undoes() -> None:
    rgb = np.zeros((720, 1280, 3), np.uint8)
    rgb[100:620, 300:700] = 255
    picture, placed = letterbox(rgb)
    assert picture.shape == (256, LONG_SIDE, 3)
    rows, columns = np.nonzero(picture[..., 0] > 127)
    corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    back = (corners - [placed.left, placed.top] * 2) / placed.scale
    np.testing.assert_allclose(back, [300, 100, 700, 620], atol=2)


def test_decode_reads_the_box_that_the_grids_hold() -> None:
    """One person at stride 16, cell (row 3, column 5): 2, 4, 1 and 6 cells to the edges."""
    height, width = 128, 160
    scores, logits = [], []
    for stride in (8, 16, 32):
        cells = (height // stride) * (width // stride)
        scores.append(np.zeros((cells, 80), np.float32))
        logits.append(np.zeros((cells, 44), np.float32))
    cell = 3 * (width // 16) + 5
    scores[1][cell, 0] = 0.9
    scores[1][cell - 1, 17] = 0.99  # a dog
    logits[1][cell].reshape(4, 11)[np.arange(4), [2, 4, 1, 6]] = 50
    boxes, found = decode(scores, logits, height, width)
    x, y = 5 * 16 + 7.5, 3 * 16 + 7.5
    np.testing.assert_allclose(boxes, [[x - 32, y - 64, x + 16, y + 96]], atol=1e-4)
    np.testing.assert_allclose(found, [0.9], atol=1e-6)


def test_suppress_drops_duplicates_only() -> None:
    boxes = np.array(
        [[0, 0, 100, 200], [5, 0, 105, 200], [60, 0, 160, 200], [400, 0, 500, 200]], float
    )
    assert suppress(boxes, np.array([0.5, 0.9, 0.6, 0.3])).tolist() == [1, 2, 3]
    assert suppress(boxes[:0], np.zeros(0)).tolist() == []


def test_iou_is_the_shared_part_of_the_union() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 20, 20]])
    others = np.array([[5.0, 0, 15, 10], [0, 0, 10, 10], [20, 20, 20, 20]])
    np.testing.assert_allclose(iou(boxes, others), [[1 / 3, 1, 0], [0, 0, 0]])


def test_unknown_detector_is_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"expected 'embedded'.*yolo11n\.pt"):
        load_detector("retinanet")


needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="needs ultralytics (pip install 'hpsvid[yolo]'), which is not installed",
)


def test_missing_ultralytics_says_what_to_install(monkeypatch) -> None:
    present = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ultralytics" else present(name)
    )
    with pytest.raises(DependencyError, match=r"pip install 'hpsvid\[yolo\]'"):
        load_detector("yolo11n.pt")


@pytest.fixture
def private_cache(tmp_path, monkeypatch) -> Path:
    """A home for what ultralytics writes, and an empty working directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "cache" / "hpsvid"


@pytest.fixture(scope="module")
def random_yolo(tmp_path_factory) -> Path:
    """A YOLO11n with random weights whose scores are raised, so that it reports boxes."""
    pytest.importorskip("ultralytics", reason="needs ultralytics, which is not installed")
    import torch

    from hpsvid.tracking.yolo import _import_ultralytics

    torch.manual_seed(0)
    model = _import_ultralytics().YOLO("yolo11n.yaml", task="detect")
    for branch in model.model.model[-1].cv3:
        torch.nn.init.constant_(branch[-1].bias, 0.0)
    model.model.names = {0: "person", **{k: f"thing {k}" for k in range(1, 80)}}
    path = tmp_path_factory.mktemp("yolo") / "random.pt"
    model.save(str(path))
    return path


@needs_ultralytics
def test_yolo_from_a_path(random_yolo, private_cache) -> None:
    yolo = load_detector(str(random_yolo), threads=1)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 90, 160, 3), dtype=np.uint8)
    found = yolo(as_frames(*pictures, first=7))
    assert [f.frame_index for f in found] == [7, 8]
    assert all(len(f.boxes) > 0 for f in found)
    assert all((f.boxes >= 0).all() and (f.boxes <= [160, 90] * 2).all() for f in found)
    assert all((f.scores >= 0.1).all() for f in found)
    assert yolo.provenance["name"] == "random.pt"
    assert len(yolo.provenance["sha256"]) == 64
    assert list(Path.cwd().iterdir()) == []


@needs_ultralytics
@pytest.mark.filterwarnings("ignore")  # torch's, about how ultralytics exports
def test_yolo_exported_to_onnx_agrees(random_yolo, private_cache) -> None:
    from ultralytics import YOLO

    model = YOLO(str(random_yolo))
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    predicted: Any = model.predict(
        picture[..., ::-1], imgsz=160, classes=[0], conf=0.1, iou=0.6, verbose=False
    )
    exported = model.export(format="onnx", imgsz=160, simplify=False)
    (found,) = load_detector(str(exported))(as_frames(picture))
    # A random network has many boxes of nearly one size: only the strongest are comparable.
    best = predicted[0].boxes[:3]
    np.testing.assert_allclose(found.boxes[:3], best.xyxy.numpy(), atol=0.5)
    np.testing.assert_allclose(found.scores[:3], best.conf.numpy(), atol=1e-3)


@needs_ultralytics
def test_yolo_offline_without_weights_is_quick_and_leaves_nothing(
    private_cache, monkeypatch
) -> None:
    waits: list[float] = []

    def unreachable(_address: object, timeout: float) -> socket.socket:
        waits.append(timeout)
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(WeightsError, match=r"yolo11n\.pt.*cannot be reached.*--detector embedded"):
        load_detector("yolo11n.pt")
    assert len(waits) == 1 and waits[0] <= 5  # s: one try, and not the system's minutes
    assert not list(private_cache.rglob("*.pt"))
    assert list(Path.cwd().iterdir()) == []


@needs_ultralytics
@pytest.mark.parametrize("spec", ["missing/yolo11n.pt", "missing.onnx"])
def test_yolo_path_that_is_not_there(private_cache, spec) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_detector(spec)


@needs_ultralytics
def test_yolo_file_that_is_no_model(private_cache, tmp_path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="ultralytics cannot load it"):
        load_detector(str(broken))


@needs_ultralytics
def test_non_maximum_suppression_keeps_the_best_of_each_pile() -> None:
    """The stand-in for torchvision's operator."""
    import torch

    from hpsvid.tracking.yolo import non_maximum_suppression

    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10], [50, 50, 60, 60], [1, 1, 10, 10]]
    )
    scores = torch.tensor([0.6, 0.9, 0.7, 0.1, 0.2])
    assert non_maximum_suppression(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).tolist() == []
