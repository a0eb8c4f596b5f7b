"""The converted landmark networks: their tensors, their numbers against LiteRT, their bytes."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from hpsvid.common.weights import read_manifest, weights_path

VARIANTS = ("heavy", "full")
# what LiteRT 2.3.0 makes of `gradient()` with the source networks: landmarks 0, 11 and 33 (x, y in
# crop px), world landmark 15 (m), the score, and one cell of the first heatmap
REFERENCE = {
    "heavy": (
        [[132.155, 51.408], [148.598, 70.165], [129.159, 124.893]],
        [0.09617, -0.26043, 0.00099],
        0.18132,
        -2.26505,
    ),
    "full": (
        [[124.069, 60.912], [139.424, 77.736], [126.753, 131.141]],
        [0.02577, -0.19723, -0.03326],
        0.02269,
        -1.56998,
    ),
}


def gradient() -> np.ndarray:
    """A crop (1, 256, 256, 3) in [0, 1] that any machine makes alike."""
    rows, cols = np.mgrid[:256, :256] / 255.0
    crop = np.stack([rows, cols, (rows + cols) / 2], -1)
    crop[60:220, 100:156] = 0.1  # a dark upright post
    return crop[None].astype(np.float32)


def session(variant: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = weights_path(f"blazepose_{variant}")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_are_litert_s(variant: str):
    landmarks, world, score, heatmaps = session(variant).run(
        ["landmarks", "world", "score", "heatmaps"], {"crops": gradient()}
    )
    points, hand, chance, cell = REFERENCE[variant]
    found = np.asarray(landmarks).reshape(39, 5)[[0, 11, 33], :2]
    np.testing.assert_allclose(found, points, rtol=2e-4)
    np.testing.assert_allclose(np.asarray(world).reshape(39, 3)[15], hand, atol=2e-4)
    assert float(np.asarray(score)[0, 0]) == pytest.approx(chance, abs=2e-4)
    assert float(np.asarray(heatmaps)[0, 20, 32, 0]) == pytest.approx(cell, rel=2e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_crops_of_a_batch_do_not_touch_each_other(variant: str):
    network = session(variant)
    crops = np.concatenate([gradient(), gradient()[:, ::-1], np.zeros_like(gradient())])
    together = network.run(["landmarks", "world"], {"crops": crops})
    for k in range(3):
        alone = network.run(["landmarks", "world"], {"crops": crops[k : k + 1]})
        for one, many, close in zip(alone, together, (1e-2, 1e-4), strict=True):  # px, m
            np.testing.assert_allclose(np.asarray(many)[k], np.asarray(one)[0], atol=close)


@pytest.mark.parametrize(("variant", "megabytes"), [("heavy", 28), ("full", 7)])
def test_weights_are_stored_in_half_precision(variant: str, megabytes: int):
    path = weights_path(f"blazepose_{variant}")
    assert path.stat().st_size < megabytes * 1e6
    model = onnx.load(path)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 64]
    assert len(large) > 50
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert read_manifest()[f"blazepose_{variant}"].licence == "Apache-2.0"


def test_same_padding_puts_the_odd_pixel_after():
    pytest.importorskip("tflite")
    from tools.networks.convert_landmarker import same_pads

    assert same_pads(256, 3, 2) == (0, 1)
    assert same_pads(255, 3, 2) == (1, 1)
    assert same_pads(64, 5, 1) == (2, 2)
    assert same_pads(8, 2, 2) == (0, 0)
    assert same_pads(8, 1, 2) == (0, 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_conversion_is_reproducible_byte_for_byte(variant: str):
    pytest.importorskip("tflite")
    package = os.environ.get("HPSVID_MEDIAPIPE_PACKAGE")
    if package is None:
        pytest.skip("needs HPSVID_MEDIAPIPE_PACKAGE, the unpacked npm package @mediapipe/pose")
    from tools.networks.convert_landmarker import convert

    source = (Path(package) / f"pose_landmark_{variant}.tflite").read_bytes()
    made = convert(source).SerializeToString(deterministic=True)
    shipped = read_manifest()[f"blazepose_{variant}"].sha256
    assert hashlib.sha256(made).hexdigest() == shipped
