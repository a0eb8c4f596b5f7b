"""Join lifters that were trained apart into one file, whose answers are their mean.

    python -m tools.people.join OUT MEMBER [MEMBER ...]

The members are files of `hpsvid train lifter` (or joined ones) of one size.
"""

import argparse
from pathlib import Path

from hpsvid.backbone.lifter_network import Lifters, load_lifter, save_lifter
from hpsvid.errors import HpsvidError


def main() -> None:
    """Read the members, write them together."""
    parser = argparse.ArgumentParser(description="Join lifters into one file.")
    parser.add_argument("out", type=Path)
    parser.add_argument("members", type=Path, nargs="+")
    options = parser.parse_args()
    try:
        read = [load_lifter(path) for path in options.members]
    except HpsvidError as error:
        raise SystemExit(str(error)) from None
    if len({lifters.config for lifters in read}) > 1:
        raise SystemExit("the members are of different sizes; train them with the same --size")
    joined = Lifters([member for lifters in read for member in lifters.lifters])
    save_lifter(joined, options.out)
    print(f"wrote {options.out}: {len(joined.lifters)} members")


if __name__ == "__main__":
    main()
