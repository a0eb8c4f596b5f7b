"""Who is who when people cross and embrace: rendered sequences with exact identities, one table.

    python -m tools.tables.crossings [--seeds 0-24] [--cache DIR] [--render-only]

A sequence is a function of its seed: 48 frames at 30 fps of clothed people (`tools.people`), by
turns two who cross, two who embrace, three who cross, and two who embrace while a third walks past.
The first run renders them (about half a minute each) into `--cache`; a run that was stopped goes on
where it was. Constants of the tracker are chosen on seeds 0-24, others are reported. Counted on the
finished motion, of frames whose `valid` is true; a body shows the person whose limb joints its own
lie nearest to:

* switches: times that a person is shown by another track than before.
* swallowed: tracks that lie for SWALLOWED frames on end on a person who is not the one in their own
  box, or whom another track shows and most of their own boxes do not.
* double: bodies beside the first on one person, in one frame.
* missed: frames of a person in plain view whom no body shows; share of those frames in brackets.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.skeleton import LIMB_JOINTS
from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.boxes import iou
from hpsvid.common.files import read_npz, write_npz, written_whole
from hpsvid.common.tables import Column, Table
from hpsvid.errors import NoPersonError
from hpsvid.mocap.sources import MotionSource
from hpsvid.options import Options
from hpsvid.pipeline.make import make_motion
from hpsvid.pipeline.stages import StageClock
from hpsvid.types import Array, Motion, Person
from hpsvid.video.probe import probe
from tools.people.character import Wardrobe
from tools.people.film import Frame, filmed
from tools.people.lens import draw_sensor, h264_file
from tools.people.staging import draw_scene
from tools.people.truth import SEEN, SELF_HIDDEN, truth_of
from tools.tables.takes import Takes

KINDS = {
    "two cross": ("crossing", 2),
    "two embrace": ("embrace", 2),
    "three cross": ("crossing", 3),
    "embrace, one passes": ("embrace", 3),
}
STREAM = 20  # of the random numbers: no other tool's seeds
LENGTH = 48  # frames
CRF = 12  # x264's, of the stored clip; the sensor's own compression comes before
ON_SOMEBODY = 0.25  # of a person's height: bodies farther away on the mean show nobody
PLAIN = 0.6  # of a person's joints hidden by nothing but the person: in plain view
SWALLOWED = 8  # frames on end, a quarter of a second
COLUMNS = [
    Column("kind", align="left"), Column("sequences"), Column("switches"), Column("swallowed"),
    Column("double"), Column("missed", form="{} ({:.1f} %)"),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identities:
    """What is true of the P people of a sequence of T frames."""

    joints2d: Array  # (P, T, 29, 2) px
    boxes: Array  # (P, T, 4) px about what shows of each; zeros where nothing does
    plain: Array  # (P, T) bool, in plain view


@dataclass(kw_only=True)
class Counts:
    """What went wrong, added up over sequences."""

    sequences: int = 0
    switches: int = 0
    swallowed: int = 0
    double: int = 0
    missed: int = 0
    plain: int = 0

    def add(self, other: "Counts") -> None:
        """Add another's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, kind: str) -> list[object]:
        """A row of the table."""
        share = 100 * self.missed / max(self.plain, 1)
        return [kind, self.sequences, self.switches, self.swallowed, self.double,
                (self.missed, share)]  # fmt: skip


def kind_of(seed: int) -> str:
    """One of KINDS, by turns."""
    return list(KINDS)[seed % len(KINDS)]


def render(seed: int, folder: Path, source: MotionSource, wardrobe: Wardrobe) -> None:
    """Write a sequence's clip and, last, its truth."""
    rng = np.random.default_rng([STREAM, seed])
    scene = draw_scene(rng, source, wardrobe, wanted=KINDS[kind_of(seed)])
    pictures, frames = filmed(scene, draw_sensor(rng), rng)
    truths = truth_of(scene, frames, wardrobe.body)
    states = np.stack([truth.joint_state for truth in truths])
    with written_whole(folder / f"{seed:03d}.mp4") as stream:
        stream.write(h264_file(pictures, CRF))
    arrays = {
        "joints2d": np.stack([truth.joints2d for truth in truths]),
        "boxes": np.stack([[shown_box(f, k) for f in frames] for k in range(len(truths))]),
        "plain": ((states == SEEN) | (states == SELF_HIDDEN)).mean(-1) >= PLAIN,
    }
    write_npz(folder / f"{seed:03d}.npz", arrays)


def shown_box(frame: Frame, which: int) -> Array:
    """The box (4,) px about what shows of a person; zeros where nothing does."""
    owned = (frame.owner == which).mean(0) > 0.5
    rows, columns = np.flatnonzero(owned.any(1)), np.flatnonzero(owned.any(0))
    if len(rows) == 0:
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def count(motion: Motion | None, truth: Identities) -> Counts:
    """What is wrong with a motion; None: nobody was found."""
    people, frames = truth.plain.shape
    shows = np.full((0, frames), -1)
    in_box = np.full((0, frames), -1)
    if motion is not None:
        shows = np.stack([shown_people(person, truth) for person in motion.people])
        in_box = np.stack([boxed_people(person, truth) for person in motion.people])
    on = shows[:, None] == np.arange(people)[:, None]  # (tracks, people, T)
    tracks_on = on.sum(0)
    shared = np.zeros(shows.shape, bool)
    for row, track in enumerate(shows):
        when = np.flatnonzero(track >= 0)
        shared[row, when] = tracks_on[track[when], when] > 1
    home = (in_box[:, None] == np.arange(people)[:, None]).sum(2).argmax(1)  # by most boxes
    elsewhere = (in_box >= 0) & (in_box != shows) | shared & (shows != home[:, None])
    astray = (shows >= 0) & elsewhere
    missed = truth.plain & (tracks_on == 0)
    return Counts(
        sequences=1,
        switches=sum(switches(on[:, k]) for k in range(people)),
        swallowed=sum(longest_run(row) >= SWALLOWED for row in astray),
        double=int((tracks_on - 1).clip(0).sum()),
        missed=int(missed.sum()),
        plain=int(truth.plain.sum()),
    )


def shown_people(person: Person, truth: Identities) -> Array:
    """Whom a track's body shows (T,) in the clip's frames; -1 for nobody or a pose filled in."""
    shows = np.full(truth.plain.shape[1], -1)
    for place in np.flatnonzero(person.valid):
        t = int(person.track.frame_index[place])
        true = truth.joints2d[:, t, LIMB_JOINTS]
        away = np.linalg.norm(true - person.joints2d[place, LIMB_JOINTS], axis=-1).mean(1)
        size = np.ptp(truth.joints2d[:, t], axis=1).max(1)
        nearest = int((away / size).argmin())
        if away[nearest] < ON_SOMEBODY * size[nearest]:
            shows[t] = nearest
    return shows


def boxed_people(person: Person, truth: Identities) -> Array:
    """Whose box a track's box (T,) fits best in the clip's frames; -1 for nobody's."""
    boxed = np.full(truth.plain.shape[1], -1)
    for t, box in zip(person.track.frame_index, person.track.boxes, strict=True):
        overlap = iou(box[None], truth.boxes[:, t])[0]
        if overlap.max() > 0:
            boxed[t] = overlap.argmax()
    return boxed


def switches(on: Array) -> int:
    """How often a person is shown by another track than before; on: (tracks, T) bool."""
    last, count = None, 0
    for showing in on.T:
        tracks = np.flatnonzero(showing)
        if len(tracks) and last not in tracks:
            count += last is not None
            last = tracks[0]
    return count


def longest_run(flags: Array) -> int:
    """Length of the longest run of True in flags (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def measure(seed: int, folder: Path, body: Body) -> Counts:
    """Run one rendered sequence with the options' defaults and count."""
    truth = Identities(**read_npz(folder / f"{seed:03d}.npz", "a crossing's truth"))
    try:
        motion = make_motion(probe(folder / f"{seed:03d}.mp4"), body, Options(), StageClock())
    except NoPersonError:
        motion = None
    return count(motion, truth)


def table(seeds: Sequence[int], folder: Path) -> Table:
    """A row for each kind and one for all; a line on standard error for each sequence."""
    body = load_chosen_body(None)
    kinds = {kind: Counts() for kind in (*KINDS, "all")}
    for seed in seeds:
        counts = measure(seed, folder, body)
        kinds[kind_of(seed)].add(counts)
        kinds["all"].add(counts)
        print(seed, kind_of(seed), vars(counts), file=sys.stderr, flush=True)
    return Table(COLUMNS, [counts.row(kind) for kind, counts in kinds.items()])


def main() -> None:
    """Render what is missing, measure, print the table."""
    takes = Takes(frames=LENGTH, render=render, name=lambda seed: f"{seed}: {kind_of(seed)}")
    takes.command("Count identity errors where people meet.", "0-24", "crossings", table)


if __name__ == "__main__":
    main()
