"""What the pipeline decides between its stages."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpsvid.body.smpl import load_chosen_body
from hpsvid.common.records import take_frames
from hpsvid.edit import check_body, keep_people
from hpsvid.errors import InputError
from hpsvid.options import Options
from hpsvid.pipeline import make
from hpsvid.pipeline.stages import StageClock, make_context, trim
from hpsvid.types import Observations, Provenance, Track
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from hpsvid.video.writer import VideoWriter
from tests.factories import WALK, WALK_FIRST, make_motion

FPS = 30.0


def track_and_observations(valid: np.ndarray) -> tuple[Track, Observations]:
    n = len(valid)
    frame_index = np.arange(10, 10 + n)
    track = Track(
        id=4,
        frame_index=frame_index,
        boxes=np.arange(4.0 * n, dtype=np.float32).reshape(n, 4),
        scores=np.ones(n, np.float32),
        detected=np.ones(n, bool),
    )
    obs = Observations(
        track_id=4,
        frame_index=frame_index,
        joints=np.zeros((n, 29, 3), np.float32),
        sigma=np.ones((n, 29), np.float32),
        twist=np.zeros((n, 23, 2), np.float32),
        betas=np.zeros((n, 10), np.float32),
        landmarks2d=np.zeros((n, 33, 3), np.float32),
        pelvis=np.zeros((n, 3), np.float32),
        valid=valid,
    )
    return track, obs


@pytest.mark.parametrize("given", [slice(0, 30), slice(2, 29), slice(4, 28)])
def test_unseen_ends_are_cut_and_gaps_kept(given: slice) -> None:
    valid = np.ones(30, bool)
    valid[:4] = valid[12:15] = valid[-2:] = False
    track, obs = track_and_observations(valid)
    # a backbone may leave out the ends that it did not see
    trimmed = trim(track, take_frames(obs, given), FPS)
    assert trimmed is not None
    track, obs = trimmed
    assert (track.frame_index == np.arange(14, 38)).all()
    assert (obs.frame_index == track.frame_index).all()
    assert (track.boxes[0] == np.arange(16, 20)).all()
    assert (~obs.valid).sum() == 3


@pytest.mark.parametrize(
    ("frames", "seen", "is_person"),
    [
        (100, 10, False),  # in a tenth of a long track: something else
        (100, 25, True),
        (40, 7, False),  # less than a quarter of a second
        (40, 8, True),
        (1, 1, True),  # a picture
        (3, 2, False),  # a very short track must be seen throughout
    ],
)
def test_a_track_that_the_network_hardly_saw_is_nobody(
    frames: int, seen: int, is_person: bool
) -> None:
    trimmed = trim(*track_and_observations(np.arange(frames) < seen), FPS)
    assert (trimmed is not None) == is_person


@pytest.mark.parametrize(
    ("max_people", "person", "kept"),
    [(1, None, [1]), (2, None, [1, 2]), (None, 0, []), (None, None, [1, 2])],
)
def test_a_false_alarm_takes_no_persons_place(
    monkeypatch: pytest.MonkeyPatch, max_people: int | None, person: int | None, kept: list[int]
) -> None:
    """Of three tracks the largest is a false alarm: the backbone sees nobody there."""
    pairs = [track_and_observations(np.full(30, i > 0)) for i in range(3)]
    tracks = [
        replace(track, id=i, boxes=track.boxes * (3 - i)) for i, (track, _) in enumerate(pairs)
    ]
    observations = {i: obs for i, (_, obs) in enumerate(pairs)}
    monkeypatch.setattr(
        make, "load_backbone", lambda tracks, context: SimpleNamespace(provenance={})
    )
    monkeypatch.setattr(
        make, "observe_people", lambda tracks, *_: [observations[track.id] for track in tracks]
    )
    options = Options(max_people=max_people, person=person)
    clip = make_motion(load_chosen_body(None)).clip
    context = make_context(clip, load_chosen_body(None), options, StageClock())
    seen, _ = make._observe_chosen(tracks, context)
    assert [track.id for track, _ in seen] == kept


def test_a_saved_motion_keeps_only_the_people_asked_for() -> None:
    motion = make_motion(load_chosen_body(None), people=3)
    ids = [person.track.id for person in motion.people]
    kept = keep_people(motion, Options(person=ids[1]))
    assert [person.track.id for person in kept.people] == [ids[1]]
    assert len(keep_people(motion, Options(max_people=2)).people) == 2
    assert keep_people(motion, Options()).people == motion.people


def test_asking_a_saved_motion_for_somebody_else_names_who_is_there() -> None:
    motion = make_motion(load_chosen_body(None), people=2)
    with pytest.raises(InputError, match="the clip has 0, 3"):
        keep_people(motion, Options(person=99))


def test_a_saved_motion_is_not_given_another_body() -> None:
    body = load_chosen_body(None)
    made_with = Provenance(body={"name": body.name, "sha256": body.sha256})
    motion = replace(make_motion(body), provenance=made_with)
    check_body(motion, replace(body, name="the same body by another name"))
    taller = replace(body, name="TALL", template=body.template * 1.1)
    with pytest.raises(InputError, match=r"made with the body free_body.*TALL.*--smpl"):
        check_body(motion, taller)


def test_tracks_end_at_a_cut_and_each_shot_keeps_its_person(tmp_path: Path) -> None:
    """From the file to the motion: a walk, a cut, and the walk mirrored in other colours."""
    path, n = tmp_path / "cut.mp4", 10
    shot: list[np.ndarray] = []
    for frames in read_frames(probe(WALK)):
        shot += list(frames.rgb)
        if len(shot) >= WALK_FIRST + n:
            break
    shot = shot[WALK_FIRST : WALK_FIRST + n]
    height, width = shot[0].shape[:2]
    with VideoWriter(path, width=width, height=height, fps=Fraction(30)) as writer:
        for t, rgb in enumerate(shot + [rgb[:, ::-1, ::-1] for rgb in shot]):
            writer.write(np.ascontiguousarray(rgb), t / 30)
    options = Options(network="small", max_people=1)
    motion = make.make_motion(probe(path), load_chosen_body(None), options, StageClock())
    spans = [person.track.frame_index[[0, -1]].tolist() for person in motion.people]
    assert spans == [[0, n - 1], [n, 2 * n - 1]]
    assert [person.track.shot_start for person in motion.people] == [0, n]
