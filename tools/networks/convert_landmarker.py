"""Convert BlazePose's landmark networks from TensorFlow Lite to ONNX.

Source: npm `@mediapipe/pose` 0.5.1675469404 (Apache-2.0), networks `heavy` and `full`. Needs the
`tflite` package (schema reader); when `ai-edge-litert` is installed too, every result is checked
against it. Run: `python -m tools.networks.convert_landmarker`. Same bytes in, same bytes out.

What changes on the way: activations go from NHWC to NCHW, the batch becomes free so that the
crops of several people are one call, the weights stay in half precision (as they are stored in
the source) with a Cast that onnxruntime folds away at load, and the person mask's branch, which
hpsvid does not use, is left out.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from onnx import helper, numpy_helper

from hpsvid.common.files import written_whole
from hpsvid.common.weights import weights_dir
from tools.networks.fetch import fetch_npm
from tools.networks.manifest import record

PACKAGE = "@mediapipe/pose@0.5.1675469404"
PACKAGE_SHA256 = "8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84"
VARIANTS = ("heavy", "full")
# the source's output number -> the name here; output 2, the person mask, is dropped
OUTPUTS = {0: "landmarks", 1: "score", 3: "heatmaps", 4: "world"}
# tensors inside the heavy network that hpsvid's lifter reads: (number, channels) -> the name here;
# the last one of the first encoder and the deepest one of that size, 16 x 16 cells of the crop
INNER = {(499, 160): "map_160", (614, 192): "map_192"}
INPUT = "crops"
OPSET, IR_VERSION = 17, 8
TOLERANCE = 2e-4  # of an output's largest value; what float32 summing in another order costs

_OPERATORS = {
    number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)
}
_DTYPES = {
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.INT32: np.int32,
}


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after an axis of `size`: the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def convert(source: bytes) -> onnx.ModelProto:
    """The ONNX model of a landmark network's tflite file; unused branches are dropped.

    Raises NotImplementedError for an operator that these networks do not have.
    """
    return _Conversion(source).run()


class _Conversion:
    """One tflite graph on its way to ONNX; tensors keep their tflite number as name."""

    def __init__(self, source: bytes) -> None:
        self.model: Any = tflite.Model.GetRootAsModel(source, 0)
        self.graph: Any = self.model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.stored = {
            tensor: value
            for tensor in range(self.graph.TensorsLength())
            if (value := self._buffer(tensor)) is not None
        }
        self.handlers: dict[str, Callable[[Any, list[int], int], None]] = {
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise_conv,
            "ADD": self._add,
            "PAD": self._pad,
            "MAX_POOL_2D": self._max_pool,
            "RESIZE_BILINEAR": self._resize,
            "RESHAPE": self._reshape,
            "LOGISTIC": self._sigmoid,
        }

    def run(self) -> onnx.ModelProto:
        self._node("Transpose", [INPUT], _name(self.graph.Inputs(0)), perm=[0, 3, 1, 2])
        for place in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(place)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            ins = [operator.Inputs(i) for i in range(operator.InputsLength())]
            out = operator.Outputs(0)
            if kind == "DEQUANTIZE" and ins[0] in self.stored:
                self.stored[out] = self.stored[ins[0]]
            elif kind in self.handlers:
                self.handlers[kind](operator.BuiltinOptions(), ins, out)
            else:
                raise NotImplementedError(f"tflite operator {kind}: no conversion to ONNX")
        outputs = []
        for number, name in OUTPUTS.items():
            tensor = self.graph.Outputs(number)
            shape = self._shape(tensor)
            if len(shape) == 4:
                self._node("Transpose", [_name(tensor)], name, perm=[0, 2, 3, 1])
            else:
                self._node("Identity", [_name(tensor)], name)
            outputs.append(_value(name, shape))
        for (tensor, channels), name in INNER.items():
            if self._holds(tensor, channels):
                self._node("Identity", [_name(tensor)], name)
                outputs.append(_value(name, [1, channels, 16, 16]))
        self._drop_unused({output.name for output in outputs})
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "blazepose",
                [_value(INPUT, self._shape(self.graph.Inputs(0)))],
                outputs,
                self.initialisers,
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="hpsvid tools/networks/convert_landmarker.py",
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    # -- reading ------------------------------------------------------------------------------

    def _holds(self, tensor: int, channels: int) -> bool:
        """Whether the network has this tensor, of 16 x 16 cells."""
        present = tensor < self.graph.TensorsLength()
        return present and self._shape(tensor) == [1, 16, 16, channels]

    def _buffer(self, tensor: int) -> np.ndarray | None:
        stored = self.graph.Tensors(tensor)
        buffer = self.model.Buffers(stored.Buffer())
        if buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[stored.Type()])
        return values.reshape(self._shape(tensor))

    def _shape(self, tensor: int) -> list[int]:
        stored = self.graph.Tensors(tensor)
        return [int(stored.Shape(i)) for i in range(stored.ShapeLength())]

    # -- writing ------------------------------------------------------------------------------

    def _node(self, kind: str, ins: list[str], out: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, ins, [out], name=out, **attributes))

    def _weights(self, name: str, values: np.ndarray) -> str:
        """Half-precision weights as a float32 name: stored small, folded at load."""
        self._constant(f"{name}_half", values)
        self._node("Cast", [f"{name}_half"], name, to=onnx.TensorProto.FLOAT)
        return name

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _activated(
        self, activation: int, kind: str, ins: list[str], out: int, **attributes: Any
    ) -> None:
        """`kind`, then the activation that tflite fuses into the operator."""
        name = _name(out)
        if activation == tflite.ActivationFunctionType.NONE:
            self._node(kind, ins, name, **attributes)
            return
        self._node(kind, ins, f"{name}_linear", **attributes)
        if activation == tflite.ActivationFunctionType.RELU:
            self._node("Relu", [f"{name}_linear"], name)
        elif activation == tflite.ActivationFunctionType.RELU6:
            low = self._constant(f"{name}_low", np.array(0, np.float32))
            high = self._constant(f"{name}_high", np.array(6, np.float32))
            self._node("Clip", [f"{name}_linear", low, high], name)
        else:
            raise NotImplementedError(f"tflite activation {activation}: no conversion to ONNX")

    def _pads(
        self, padding: int, tensor: int, kernel: tuple[int, int], strides: tuple[int, int]
    ) -> list[int]:
        if padding == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        height, width = self._shape(tensor)[1:3]
        top, bottom = same_pads(height, kernel[0], strides[0])
        left, right = same_pads(width, kernel[1], strides[1])
        return [top, left, bottom, right]

    # -- operators ----------------------------------------------------------------------------

    def _conv(self, table: Any, ins: list[int], out: int) -> None:
        options = _options(tflite.Conv2DOptions, table)
        self._any_conv(options, ins, out, np.transpose(self.stored[ins[1]], (0, 3, 1, 2)), 1)

    def _depthwise_conv(self, table: Any, ins: list[int], out: int) -> None:
        options = _options(tflite.DepthwiseConv2DOptions, table)
        weights = np.transpose(self.stored[ins[1]], (3, 0, 1, 2))
        self._any_conv(options, ins, out, weights, len(weights))

    def _any_conv(
        self, options: Any, ins: list[int], out: int, weights: np.ndarray, group: int
    ) -> None:
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise NotImplementedError("tflite dilated convolution: no conversion to ONNX")
        kernel = (weights.shape[2], weights.shape[3])
        strides = (options.StrideH(), options.StrideW())
        self._activated(
            options.FusedActivationFunction(),
            "Conv",
            [
                _name(ins[0]),
                self._weights(f"{_name(out)}_weights", weights),
                self._weights(f"{_name(out)}_bias", self.stored[ins[2]]),
            ],
            out,
            kernel_shape=kernel,
            strides=strides,
            pads=self._pads(options.Padding(), ins[0], kernel, strides),
            group=group,
        )

    def _add(self, table: Any, ins: list[int], out: int) -> None:
        options = _options(tflite.AddOptions, table)
        names = [_name(tensor) for tensor in ins]
        self._activated(options.FusedActivationFunction(), "Add", names, out)

    def _pad(self, _table: Any, ins: list[int], out: int) -> None:
        widths = self.stored[ins[1]][[0, 3, 1, 2]]
        pads = np.concatenate([widths[:, 0], widths[:, 1]]).astype(np.int64)
        self._node("Pad", [_name(ins[0]), self._constant(f"{_name(out)}_pads", pads)], _name(out))

    def _max_pool(self, table: Any, ins: list[int], out: int) -> None:
        options = _options(tflite.Pool2DOptions, table)
        kernel = (options.FilterHeight(), options.FilterWidth())
        strides = (options.StrideH(), options.StrideW())
        pads = self._pads(options.Padding(), ins[0], kernel, strides)
        activation = options.FusedActivationFunction()
        self._activated(
            activation, "MaxPool", [_name(ins[0])], out,
            kernel_shape=kernel, strides=strides, pads=pads,
        )  # fmt: skip

    def _resize(self, table: Any, ins: list[int], out: int) -> None:
        options = _options(tflite.ResizeBilinearOptions, table)
        if options.AlignCorners():
            raise NotImplementedError("tflite resize with aligned corners: no conversion to ONNX")
        before, after = self._shape(ins[0]), self._shape(out)
        scales = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
        self._node(
            "Resize",
            [_name(ins[0]), "", self._constant(f"{_name(out)}_scales", scales)],
            _name(out),
            mode="linear",
            coordinate_transformation_mode=(
                "half_pixel" if options.HalfPixelCenters() else "asymmetric"
            ),
        )

    def _reshape(self, _table: Any, ins: list[int], out: int) -> None:
        if self._shape(ins[0])[1:3] != [1, 1] or len(self._shape(out)) != 2:
            raise NotImplementedError("tflite reshape: only (N, 1, 1, C) to (N, C)")
        self._node("Flatten", [_name(ins[0])], _name(out), axis=1)

    def _sigmoid(self, _table: Any, ins: list[int], out: int) -> None:
        self._node("Sigmoid", [_name(ins[0])], _name(out))

    def _drop_unused(self, needed: set[str]) -> None:
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.initialisers = [tensor for tensor in self.initialisers if tensor.name in needed]


def _options(kind: Any, table: Any) -> Any:
    options = kind()
    options.Init(table.Bytes, table.Pos)
    return options


def _name(tensor: int) -> str:
    return f"t{tensor}"


def _value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["people", *shape[1:]])


def worst_difference(source: bytes, converted: Path) -> float:
    """Largest difference from LiteRT on one noise picture, relative to each output's maximum.

    The score is a probability and is compared on the scale of 1.
    """
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports] (optional)

    crop = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
    reference = Interpreter(model_content=source)
    reference.allocate_tensors()
    reference.set_tensor(reference.get_input_details()[0]["index"], crop)
    reference.invoke()
    details = reference.get_output_details()
    session = onnxruntime.InferenceSession(converted, providers=["CPUExecutionProvider"])
    found = session.run(list(OUTPUTS.values()), {INPUT: crop})
    worst = 0.0
    for number, value in zip(OUTPUTS, found, strict=True):
        want = reference.get_tensor(details[number]["index"])
        worst = max(worst, float(np.abs(value - want).max() / max(np.abs(want).max(), 1)))
    return worst


def main() -> None:
    """Fetch, convert, check and record both networks."""
    parser = argparse.ArgumentParser(description="Convert BlazePose's landmark networks to ONNX.")
    parser.add_argument("--package", type=Path, help="folder of the npm package, already unpacked")
    given = parser.parse_args().package
    with tempfile.TemporaryDirectory() as scratch:
        package = given or fetch_npm(PACKAGE, sha256=PACKAGE_SHA256, into=Path(scratch))
        for variant in VARIANTS:
            name = f"pose_landmark_{variant}.tflite"
            source = (package / name).read_bytes()
            target = weights_dir() / f"blazepose_{variant}.onnx"
            with written_whole(target) as stream:
                stream.write(convert(source).SerializeToString(deterministic=True))
            if importlib.util.find_spec("ai_edge_litert"):
                worst = worst_difference(source, target)
                print(f"{target.name}: worst relative difference from LiteRT {worst:.1e}")
                if worst > TOLERANCE:
                    target.unlink()
                    raise SystemExit(f"{target.name}: over {TOLERANCE}; removed")
            entry = record(
                name=f"blazepose_{variant}",
                file=target.name,
                licence="Apache-2.0",
                source=f"npm {PACKAGE} {name}, tools/networks/convert_landmarker.py",
            )
            print(f"{entry.file}: {entry.bytes} bytes, sha256 {entry.sha256}")


if __name__ == "__main__":
    main()
