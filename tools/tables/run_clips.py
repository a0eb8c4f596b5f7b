"""Run the main job on every file of a folder of clips and print what came of each.

    python -m tools.tables.run_clips ../shared/data/clips --out out/clips [--only juggle]

One line of a table a file: exit code, people, frames, mean reprojection, seconds, or the one line
that the user would read.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from hpsvid.common.tables import Column, Table

VIDEO_SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".gif"}


def run_clip(path: Path, out: Path, extra: list[str]) -> tuple[str, int, str]:
    """Run `hpsvid run` on one file; a row of the table: name, exit code, outcome."""
    overlay = out / f"{path.stem}_{path.suffix[1:]}.mp4"
    command = [sys.executable, "-m", "hpsvid", "run", str(path), "--out", str(overlay), "--json"]
    start = time.perf_counter()
    ran = subprocess.run([*command, *extra], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if ran.returncode:
        left = sorted(p.name for p in out.glob(f"{overlay.stem}*"))
        said = ran.stderr.strip().splitlines()
        return path.name, ran.returncode, f"{said[-1] if said else ''} {left or ''}"
    facts = json.loads(ran.stdout)
    people = ", ".join(
        f"{p['id']}: {p['frames']} f ({p['frames_filled']} filled) {p['reprojection_px']} px"
        for p in facts["people"]
    )
    what = f"{facts['frames']} frames in {seconds:.0f} s; {people}"
    return path.name, 0, f"{len(facts['people'])} people, {what}"


def main() -> None:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description="Run the main job on a folder of clips.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="part of the file names to run")
    given, extra = parser.parse_known_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in sorted(p for p in given.clips.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES):
        if given.only in path.name:
            rows.append(run_clip(path, given.out, extra))
            print(*rows[-1], flush=True, file=sys.stderr)
    columns = [Column("file", align="left"), Column("exit"), Column("outcome", align="left")]
    print(Table(columns, rows).markdown())


if __name__ == "__main__":
    main()
