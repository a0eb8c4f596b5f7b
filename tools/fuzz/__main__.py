"""`python -m tools.fuzz [--cases N] [--seconds S] [--reader NAME] [--seed N] [--keep FOLDER]`."""

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tools.fuzz.guard import Guard
from tools.fuzz.readers import Reader, readers

BATCH = 500  # cases between two looks at the clock


def main() -> int:
    """Feed the readers; the exit code is 1 when one of them has a fault."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="of all readers together")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each reader")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault")
    given_options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        every = readers(Path(folder))
        chosen = {name: every[name] for name in given_options.reader or every}
        total = sum(reader.share for reader in chosen.values())
        for name, reader in chosen.items():
            start = time.monotonic()
            kinds: Counter[str] = Counter()
            done = 0
            wanted = max(1, given_options.cases * reader.share // total)
            with Guard(reader.read, reader.suffix) as guard:
                while done < wanted and time.monotonic() - start < given_options.seconds:
                    count = min(BATCH, wanted - done)
                    for content, words in faults(reader, guard, count, given_options.seed + done):
                        if words is not None:
                            _keep(given_options.keep, name, reader, content, words, kinds)
                    done += count
            seconds = time.monotonic() - start
            found = sum(kinds.values())
            print(
                f"{name}: {done} cases, {guard.whole} read, {found} faults of {len(kinds)} kinds, "
                f"{seconds:.0f} s, at most {guard.peak_mib} MiB",
                flush=True,
            )
            failed |= found > 0
    return int(failed)


def faults(
    reader: Reader, guard: Guard, count: int, number: int
) -> Iterator[tuple[bytes, str | None]]:
    """`count` files and what is wrong with the reader on each; number: of the random sequence."""
    cases: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(reader.cases)
    def collect(content: bytes) -> None:
        cases.append(content)

    collect()
    for content in cases:
        yield content, guard.fault(content)


def _keep(
    folder: Path | None, name: str, reader: Reader, content: bytes, words: str, kinds: Counter[str]
) -> None:
    """Count a fault; print the first of its kind and keep its file."""
    kind = words[:60]
    kinds[kind] += 1
    if kinds[kind] > 1:
        return
    print(f"{name}: {words}", file=sys.stderr, flush=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(content).hexdigest()[:12]
        (folder / f"{name}_{digest}{reader.suffix}").write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
