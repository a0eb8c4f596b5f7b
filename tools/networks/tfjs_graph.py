"""Translate a frozen TensorFlow.js graph of convolutions to ONNX, node by node.

Only the operators that image networks of the YOLO kind use are known; anything else stops the
translation with its name. TensorFlow keeps pictures as (N, H, W, C) and such graphs are full of
transpositions; here a transposition only renames axes, so none is left in the result.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Node = dict[str, Any]

OPSET = 17  # onnxruntime >= 1.12
IR_VERSION = 8
NCHW_IN_NHWC = (0, 2, 3, 1)  # the ONNX axis that holds each TensorFlow axis of a picture


@dataclass(frozen=True)
class TfjsGraph:
    """The nodes of a model in the order they are stored, its constants and its output names."""

    nodes: list[Node]
    constants: dict[str, Array]
    outputs: list[str]


@dataclass(frozen=True)
class _Tensor:
    """An ONNX value that stands for a TensorFlow one."""

    name: str
    axes: tuple[int, ...]  # the ONNX axis that holds each TensorFlow axis
    stride: float  # input pixels per cell


def read_tfjs(path: Path) -> TfjsGraph:
    """Read `path` (model.json) and the weight shards beside it.

    Raises SystemExit when a weight is quantised to anything but float16.
    """
    model = json.loads(path.read_text(encoding="utf-8"))
    constants: dict[str, Array] = {}
    for group in model["weightsManifest"]:
        raw = b"".join((path.parent / shard).read_bytes() for shard in group["paths"])
        offset = 0
        for weight in group["weights"]:
            quantised = weight.get("quantization", {})
            if "scale" in quantised:
                raise SystemExit(f"{weight['name']}: integer quantisation is not supported")
            dtype = np.dtype(quantised.get("dtype", weight["dtype"]))
            count = int(np.prod(weight["shape"], dtype=int))
            values = np.frombuffer(raw, dtype, count, offset)
            constants[weight["name"]] = values.reshape(weight["shape"])
            offset += values.nbytes
    outputs = [_plain(output["name"]) for output in model["signature"]["outputs"].values()]
    return TfjsGraph(model["modelTopology"]["node"], constants, sorted(outputs))


class Translator:
    """Builds the ONNX graph; `tensors` maps TensorFlow value names to ONNX values."""

    def __init__(self, graph: TfjsGraph, *, input_size: int) -> None:
        self.graph = graph
        self.input_size = input_size  # px, to turn the sizes of upsampling into factors
        self.constants: dict[str, Array] = dict(graph.constants)
        self.tensors: dict[str, _Tensor] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def emit(self, op: str, inputs: list[str], *, outputs: int = 1, **attributes: Any) -> list[str]:
        """Append one ONNX node; returns the names of its outputs."""
        names = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names

    def constant(self, values: Array) -> str:
        """Store a constant; float16 stays float16 in the file and is widened when it is loaded."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        if values.dtype == np.float16:
            return self.emit("Cast", [name], to=TensorProto.FLOAT)[0]
        return name

    def run(self, placeholder: _Tensor) -> list[_Tensor]:
        """Translate every node; returns the graph's outputs in the order of their names."""
        waiting = self.graph.nodes
        while waiting:
            blocked = [node for node in waiting if not self._translate(node, placeholder)]
            if len(blocked) == len(waiting):
                raise SystemExit(f"{blocked[0]['name']}: its inputs are never computed")
            waiting = blocked
        return [self.tensors[name] for name in self.graph.outputs]

    def _translate(self, node: Node, placeholder: _Tensor) -> bool:
        inputs = [_plain(name) for name in node.get("input", [])]
        if any(name not in self.constants and name not in self.tensors for name in inputs):
            return False
        name, op = node["name"], node["op"]
        if op == "Const":
            return True
        if op == "Placeholder":
            self.tensors[name] = placeholder
        elif all(i in self.constants for i in inputs):
            self.constants[name] = _fold(op, [self.constants[i] for i in inputs])
        elif op in _RULES:
            results = _RULES[op](self, node, inputs)
            for k, tensor in enumerate(results):
                self.tensors[f"{name}:{k}" if k else name] = tensor
        else:
            raise SystemExit(f"{name}: operator {op} is not supported")
        return True

    def shaped(self, name: str, axes: tuple[int, ...]) -> _Tensor:
        """The value with exactly these axes; transposes it when they differ."""
        tensor = self.tensors[name]
        if tensor.axes == axes:
            return tensor
        order = [0] * len(axes)
        for have, want in zip(tensor.axes, axes, strict=True):
            order[want] = have
        (moved,) = self.emit("Transpose", [tensor.name], perm=order)
        return replace(tensor, name=moved, axes=axes)


def _plain(name: str) -> str:
    return name.removesuffix(":0")


def _fold(op: str, values: list[Array]) -> Array:
    """The two kinds of shape arithmetic that converters leave behind."""
    if op in {"Add", "AddV2"}:
        return values[0] + values[1]
    if op == "SparseToDense":
        indices, shape, entries, default = values
        dense = np.full(tuple(shape), default)
        if indices.size:
            dense[tuple(indices.reshape(-1, len(shape)).T)] = entries
        return dense
    raise SystemExit(f"operator {op} on constants is not supported")


def _ints(node: Node, name: str) -> list[int]:
    return [int(value) for value in node["attr"][name]["list"]["i"]]


def _text(node: Node, name: str) -> str:
    return base64.b64decode(node["attr"][name]["s"]).decode("ascii")


def _only(node: Node, name: str, expected: str) -> None:
    if _text(node, name) != expected:
        raise SystemExit(f"{node['name']}: {name} must be {expected}, not {_text(node, name)}")


def _pad(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    source = tr.tensors[inputs[0]]
    amounts = np.zeros((2, len(source.axes)), np.int64)
    amounts[:, list(source.axes)] = tr.constants[inputs[1]].T
    operands = [source.name, tr.constant(amounts.reshape(-1))]
    if len(inputs) == 3:
        operands.append(tr.constant(tr.constants[inputs[2]].astype(np.float32)))
    return [replace(source, name=tr.emit("Pad", operands)[0])]


def _transpose(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    source = tr.tensors[inputs[0]]
    return [replace(source, axes=tuple(source.axes[k] for k in tr.constants[inputs[1]]))]


def _conv(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    _only(node, "padding", "VALID")
    _only(node, "data_format", "NHWC")
    source = tr.shaped(inputs[0], NCHW_IN_NHWC)
    kernel = tr.constants[inputs[1]].transpose(3, 2, 0, 1)
    strides = _ints(node, "strides")[1:3]
    (name,) = tr.emit(
        "Conv",
        [source.name, tr.constant(kernel)],
        kernel_shape=list(kernel.shape[2:]),
        strides=strides,
        dilations=_ints(node, "dilations")[1:3],
    )
    return [replace(source, name=name, stride=source.stride * strides[0])]


def _max_pool(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    _only(node, "padding", "VALID")
    _only(node, "data_format", "NHWC")
    source = tr.shaped(inputs[0], NCHW_IN_NHWC)
    strides = _ints(node, "strides")[1:3]
    kernel = _ints(node, "ksize")[1:3]
    (name,) = tr.emit("MaxPool", [source.name], kernel_shape=kernel, strides=strides)
    return [replace(source, name=name, stride=source.stride * strides[0])]


def _add(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    left = tr.tensors[inputs[0]]
    if inputs[1] in tr.tensors:
        right = tr.shaped(inputs[1], left.axes).name
    else:
        bias = tr.constants[inputs[1]]
        if bias.ndim != 1:
            raise SystemExit(f"{node['name']}: only a bias over the last axis is supported")
        after = len(left.axes) - 1 - left.axes[-1]
        right = tr.constant(bias.reshape(-1, *[1] * after))
    return [replace(left, name=tr.emit("Add", [left.name, right])[0])]


def _leaky_relu(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    source = tr.tensors[inputs[0]]
    slope = float(node["attr"]["alpha"]["f"])
    return [replace(source, name=tr.emit("LeakyRelu", [source.name], alpha=slope)[0])]


def _sigmoid(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    source = tr.tensors[inputs[0]]
    return [replace(source, name=tr.emit("Sigmoid", [source.name])[0])]


def _identity(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    return [tr.tensors[inputs[0]]]


def _concat(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    first = tr.tensors[inputs[0]]
    axis = first.axes[int(tr.constants[inputs[-1]])]
    names = [tr.shaped(name, first.axes).name for name in inputs[:-1]]
    return [replace(first, name=tr.emit("Concat", names, axis=axis)[0])]


def _split(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    source = tr.tensors[inputs[0]]
    sizes = tr.constants[inputs[1]].astype(np.int64)
    names = tr.emit(
        "Split",
        [source.name, tr.constant(sizes)],
        outputs=len(sizes),
        axis=source.axes[int(tr.constants[inputs[2]])],
    )
    return [replace(source, name=name) for name in names]


def _resize(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    if not node["attr"]["half_pixel_centers"]["b"]:
        raise SystemExit(f"{node['name']}: only half-pixel centres are supported")
    source = tr.shaped(inputs[0], NCHW_IN_NHWC)
    stride = tr.input_size / float(tr.constants[inputs[1]][0])
    factor = source.stride / stride
    scales = tr.constant(np.array([1, 1, factor, factor], np.float32))
    (name,) = tr.emit(
        "Resize",
        [source.name, "", scales],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return [replace(source, name=name, stride=stride)]


def _flatten_cells(tr: Translator, node: Node, inputs: list[str]) -> list[_Tensor]:
    """(N, C, H, W) -> (N, C, H*W), whatever N, H and W are."""
    channels = int(tr.constants[inputs[1]][1])
    source = tr.shaped(inputs[0], (0, 1, 2, 3))
    shape = tr.constant(np.array([0, channels, -1], np.int64))
    return [replace(source, name=tr.emit("Reshape", [source.name, shape])[0], axes=(0, 1, 2))]


_RULES: dict[str, Callable[[Translator, Node, list[str]], list[_Tensor]]] = {
    "Add": _add,
    "AddV2": _add,
    "ConcatV2": _concat,
    "Conv2D": _conv,
    "Identity": _identity,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "PadV2": _pad,
    "Reshape": _flatten_cells,
    "ResizeBilinear": _resize,
    "Sigmoid": _sigmoid,
    "SplitV": _split,
    "Transpose": _transpose,
}


def translate(
    graph: TfjsGraph,
    *,
    input_size: int,
    mean_bgr: tuple[float, float, float],
    std_bgr: tuple[float, float, float],
) -> onnx.ModelProto:
    """An ONNX model that takes RGB pictures of any size that the network's strides divide.

    Input `rgb`: (N, H, W, 3) uint8. Outputs: one per TensorFlow output, in the order of their
    names, each (N, cells, channels) float32 and named `output_<k>`. The graph itself must take
    (1, 3, input_size, input_size) normalised BGR.
    """
    tr = Translator(graph, input_size=input_size)
    (bgr,) = tr.emit("Gather", ["rgb", tr.constant(np.array([2, 1, 0], np.int64))], axis=3)
    (planes,) = tr.emit("Transpose", [bgr], perm=[0, 3, 1, 2])
    (pixels,) = tr.emit("Cast", [planes], to=TensorProto.FLOAT)
    mean = tr.constant(np.array(mean_bgr, np.float32).reshape(3, 1, 1))
    std = tr.constant(np.array(std_bgr, np.float32).reshape(3, 1, 1))
    (centred,) = tr.emit("Sub", [pixels, mean])
    (normal,) = tr.emit("Div", [centred, std])
    results = tr.run(_Tensor(name=normal, axes=(0, 1, 2, 3), stride=1.0))
    outputs = []
    for k, result in enumerate(results):
        order = list(result.axes)
        tr.nodes.append(helper.make_node("Transpose", [result.name], [f"output_{k}"], perm=order))
        shape = ["n", f"cells_{k}", f"channels_{k}"]
        outputs.append(helper.make_tensor_value_info(f"output_{k}", TensorProto.FLOAT, shape))
    source = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["n", "height", "width", 3])
    body = helper.make_graph(tr.nodes, "detector", [source], outputs, tr.initializers)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="hpsvid"
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model
