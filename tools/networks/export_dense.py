"""Export the dense network and UV inpainting to ONNX: `python -m tools.networks.export_dense OUT`.

OUT gets `dense.onnx` and `uv.onnx`. The first reads what `DenseInput` holds and tells the fields of
`DenseAnswer`, by these names; the second reads and tells the maps of `UvNet.forward`. Any number of
crops at once.
"""

import argparse
import warnings
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor, nn

from hpsvid.backbone.dense_network import (
    COARSE,
    HEAT_CELLS,
    HEATMAPS,
    MARK,
    PIXELS,
    DenseAnswer,
    DenseInput,
    DenseNet,
    load_dense,
)
from hpsvid.backbone.inner_maps import N_CHANNELS
from hpsvid.backbone.uv_network import READ, UvNet, load_uv
from hpsvid.body.uv_maps import COARSE as UV_COARSE
from hpsvid.common.weights import weights_path
from hpsvid.types import N_LANDMARKS

OPSET = 17
SEEN = [field.name for field in fields(DenseInput)]
TOLD = [field.name for field in fields(DenseAnswer)]


class _Plain(nn.Module):
    """The dense network with tensors in and out."""

    def __init__(self, model: DenseNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, *seen: Tensor) -> tuple[Tensor, ...]:
        """Tensors as `SEEN` names them; as `TOLD` does."""
        answer = self.model(DenseInput(**dict(zip(SEEN, seen, strict=True))))
        return tuple(getattr(answer, name) for name in TOLD)


def some_input(crops: int) -> DenseInput:
    """Random input of the right shapes."""
    return DenseInput(
        inner=torch.randn(crops, N_CHANNELS, COARSE, COARSE),
        heat=torch.rand(crops, HEATMAPS, HEAT_CELLS, HEAT_CELLS),
        marks=torch.rand(crops, N_LANDMARKS, MARK),
        pixels=torch.rand(crops, 3, PIXELS, PIXELS),
    )


def export_dense(model: DenseNet, path: Path) -> None:
    """Write the dense network."""
    seen = tuple(getattr(some_input(2), name) for name in SEEN)
    _export(_Plain(model), seen, path, SEEN, TOLD)


def export_uv(model: UvNet, path: Path) -> None:
    """Write the inpainting network."""
    _export(model, (torch.randn(2, READ, UV_COARSE, UV_COARSE),), path, ["maps"], ["way"])


def _export(
    model: nn.Module, given: tuple[Tensor, ...], path: Path, names: list[str], told: list[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own old age
        torch.onnx.export(
            model.eval(), given, path, input_names=names, output_names=told,
            dynamic_axes={name: {0: "crops"} for name in (*names, *told)},
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def main() -> None:
    """Export both."""
    parser = argparse.ArgumentParser(description="Export the dense networks to ONNX.")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    export_dense(load_dense(weights_path("dense")), out / "dense.onnx")
    export_uv(load_uv(weights_path("uv")), out / "uv.onnx")
    for path in sorted(out.glob("*.onnx")):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
