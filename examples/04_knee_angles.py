"""Knee angles of the first person as a table that a spreadsheet opens, and their range."""

import csv
import sys
from pathlib import Path

import hpsvid

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
motion = hpsvid.load(sys.argv[1] if len(sys.argv) > 1 else SAMPLES / "studio_walk.npz")

(table, *_) = hpsvid.export(motion, "csv", "out")
with table.open(newline="") as stream:
    rows = list(csv.DictReader(stream))
with Path("out/knees.csv").open("w", newline="") as stream:
    writer = csv.writer(stream)
    writer.writerow(["time_s", "left_deg", "right_deg"])
    writer.writerows([r["time_s"], r["knee_angle_l_deg"], r["knee_angle_r_deg"]] for r in rows)
for side in "lr":
    angles = [float(row[f"knee_angle_{side}_deg"]) for row in rows]
    print(f"knee {side}: {min(angles):.0f} to {max(angles):.0f} degrees, 0 is straight")
print("out/knees.csv")
