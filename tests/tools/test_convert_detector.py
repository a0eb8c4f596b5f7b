"""The TensorFlow.js to ONNX translation, on a small graph with every operator it knows."""

import base64
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from tools.networks.tfjs_graph import read_tfjs, translate

SIZE = 16  # px that the source graph is fixed to
MEAN, STD = (10.0, 20.0, 30.0), (50.0, 60.0, 70.0)
NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


class SmallGraph:
    """Writes model.json and model.bin as the TensorFlow.js converter does."""

    def __init__(self) -> None:
        self.nodes: list[dict] = []
        self.weights: list[dict] = []
        self.raw = b""

    def op(self, op: str, name: str, inputs: list[str], **attributes: dict) -> str:
        self.nodes.append({"name": name, "op": op, "input": inputs, "attr": attributes})
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.nodes.append({"name": name, "op": "Const"})
        weight = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
        if values.dtype == np.float16:
            weight |= {"dtype": "float32", "quantization": {"dtype": "float16"}}
        self.weights.append(weight)
        self.raw += values.tobytes()
        return name

    def ints(self, name: str, values: object) -> str:
        return self.constant(name, np.array(values, np.int32))

    def transpose(self, name: str, source: str, order: list[int]) -> str:
        return self.op("Transpose", name, [source, self.ints(f"{name}/perm", order)])

    def write(self, folder: Path, outputs: list[str]) -> Path:
        model = {
            "modelTopology": {"node": self.nodes},
            "signature": {"outputs": {name: {"name": f"{name}:0"} for name in outputs}},
            "weightsManifest": [{"paths": ["model.bin"], "weights": self.weights}],
        }
        (folder / "model.bin").write_bytes(self.raw)
        (folder / "model.json").write_text(json.dumps(model))
        return folder / "model.json"


def text(value: str) -> dict:
    return {"s": base64.b64encode(value.encode()).decode()}


def numbers(*values: int) -> dict:
    return {"list": {"i": [str(value) for value in values]}}


def small_detector(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Stem, pool, upsample, skip connection and a head, stored in no order; and its weights."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 8)).astype(np.float16)
    bias = rng.normal(size=8).astype(np.float16)
    head = rng.normal(size=(1, 1, 16, 7)).astype(np.float16)
    g = SmallGraph()
    conv = {
        "padding": text("VALID"),
        "data_format": text("NHWC"),
        "dilations": numbers(1, 1, 1, 1),
    }
    around = [[0, 0], [0, 0], [1, 1], [1, 1]]
    g.op("Identity", "scores", ["cells"])  # before its input: order must not matter
    g.op("Placeholder", "input", [])
    g.op("Pad", "padded", ["input", g.ints("p1", around)])
    g.transpose("nhwc", "padded", NHWC)
    g.op("Conv2D", "stem", ["nhwc", g.constant("k", kernel)], strides=numbers(1, 2, 2, 1), **conv)
    g.op("Add", "biased", ["stem", g.constant("b", bias)])
    g.transpose("nchw", "biased", NCHW)
    g.op("LeakyRelu", "relu", ["nchw"], alpha={"f": 0.1})
    low = g.constant("low", np.array(-1e9, np.float32))
    g.op("PadV2", "padded2", ["relu", g.ints("p2", around), low])
    g.transpose("nhwc2", "padded2", NHWC)
    g.op(
        "MaxPool", "pool", ["nhwc2"], ksize=numbers(1, 3, 3, 1), strides=numbers(1, 2, 2, 1),
        padding=text("VALID"), data_format=text("NHWC"),
    )  # fmt: skip
    g.op(
        "ResizeBilinear", "up", ["pool", g.ints("size", [8, 8])],
        half_pixel_centers={"b": True}, align_corners={"b": False},
    )  # fmt: skip
    g.transpose("up_nchw", "up", NCHW)
    g.op("Add", "skip", ["up_nchw", "relu"])
    g.op("ConcatV2", "both", ["skip", "relu", g.ints("axis", 1)])
    g.transpose("nhwc3", "both", NHWC)
    g.op("Conv2D", "head", ["nhwc3", g.constant("h", head)], strides=numbers(1, 1, 1, 1), **conv)
    g.transpose("nchw3", "head", NCHW)
    g.op("SplitV", "parts", ["nchw3", g.ints("sizes", [3, 4]), g.ints("dim", 1)])
    g.op("Sigmoid", "sigmoid", ["parts"])
    g.op(
        "SparseToDense", "zero",
        [
            g.ints("w", np.zeros((0, 1))), g.ints("sh", [3]), g.ints("v", np.zeros(0)),
            g.ints("d", 0),
        ],
    )  # fmt: skip
    g.op("AddV2", "shape", [g.ints("base", [1, 3, 64]), "zero"])
    g.op("Reshape", "flat", ["sigmoid", "shape"])
    g.op("Reshape", "flat2", ["parts:1", g.ints("shape2", [1, 4, 64])])
    g.transpose("cells", "flat", [0, 2, 1])
    g.transpose("distances", "flat2", [0, 2, 1])
    weights = {
        "kernel": torch.tensor(kernel.astype(np.float32)).permute(3, 2, 0, 1),
        "bias": torch.tensor(bias.astype(np.float32)),
        "head": torch.tensor(head.astype(np.float32)).permute(3, 2, 0, 1),
    }
    return g.write(folder, ["distances", "scores"]), weights


def reference(rgb: np.ndarray, weights: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """The same network written in torch, on RGB bytes (N, H, W, 3)."""
    bgr = torch.tensor(rgb[..., ::-1].astype(np.float32))
    x = ((bgr - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    x = functional.conv2d(x, weights["kernel"], weights["bias"], stride=2, padding=1)
    x = functional.leaky_relu(x, 0.1)
    pooled = functional.max_pool2d(x, 3, stride=2, padding=1)
    up = functional.interpolate(pooled, scale_factor=2, mode="bilinear", align_corners=False)
    out = functional.conv2d(torch.cat([up + x, x], 1), weights["head"]).flatten(2).permute(0, 2, 1)
    return [out[..., 3:].numpy(), out[..., :3].sigmoid().numpy()]


@pytest.mark.parametrize("shape", [(1, SIZE, SIZE), (2, 24, 40)])
def test_translation_computes_the_same(tmp_path, shape) -> None:
    """At the size of the source graph, and at another size and batch that it could not take."""
    path, weights = small_detector(tmp_path)
    model = translate(read_tfjs(path), input_size=SIZE, mean_bgr=MEAN, std_bgr=STD)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = session.run(None, {"rgb": rgb})
    for ours, theirs in zip(found, reference(rgb, weights), strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-3)  # values up to 150


def test_translation_is_deterministic_and_keeps_half_precision(tmp_path) -> None:
    path, _ = small_detector(tmp_path)
    models = [
        translate(read_tfjs(path), input_size=SIZE, mean_bgr=MEAN, std_bgr=STD) for _ in range(2)
    ]
    first, second = (model.SerializeToString(deterministic=True) for model in models)
    assert first == second
    kernels = [t for t in models[0].graph.initializer if len(t.dims) == 4]
    assert [t.data_type for t in kernels] == [10, 10]  # TensorProto.FLOAT16
    assert sum(node.op_type == "Transpose" for node in models[0].graph.node) == 3


def test_unknown_operator_and_integer_weights_are_refused(tmp_path) -> None:
    graph = SmallGraph()
    graph.op("Placeholder", "input", [])
    graph.op("Cumsum", "strange", ["input"])
    path = graph.write(tmp_path, ["strange"])
    with pytest.raises(SystemExit, match="strange: operator Cumsum is not supported"):
        translate(read_tfjs(path), input_size=SIZE, mean_bgr=MEAN, std_bgr=STD)
    graph.constant("w", np.zeros(4, np.uint8))
    graph.weights[-1]["quantization"] = {"dtype": "uint8", "scale": 0.1, "min": 0}
    with pytest.raises(SystemExit, match="w: integer quantisation"):
        read_tfjs(graph.write(tmp_path, ["strange"]))
