"""The tracker on scripted people, whose true identity is known, and the cut detector."""

import numpy as np
import pytest

from hpsvid.edit import select_tracks
from hpsvid.errors import InputError
from hpsvid.tracking.tracker import Tracker, cheapest_pairs
from hpsvid.types import Detections, Track
from hpsvid.video.cuts import CutDetector

HEIGHT, WIDTH = 200.0, 80.0  # px of a scripted person


def person_box(x: float, y: float = 300.0, scale: float = 1.0) -> list[float]:
    """A standing person centred at (x, y)."""
    w, h = WIDTH * scale / 2, HEIGHT * scale / 2
    return [x - w, y - h, x + w, y + h]


def detections(frame: int, boxes: list[list[float]], scores: list[float] | None = None):
    return Detections(
        frame_index=frame,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores or [0.8] * len(boxes), np.float32),
    )


def follow(frames, *, fps: float, cuts=(), every: int = 1, **options) -> list[Track]:
    """Track a list of boxes (or of (boxes, scores)) per frame, of which each `every`th is seen."""
    tracker = Tracker(fps=fps, every=every, **options)
    for index, frame in enumerate(frames):
        if index % every == 0 or index in cuts:
            boxes, scores = frame if isinstance(frame, tuple) else (frame, None)
            tracker.update(detections(index, boxes, scores), cut=index in cuts)
    return tracker.finish(len(frames))


def centre_x(track: Track) -> np.ndarray:
    return (track.boxes[:, 0] + track.boxes[:, 2]) / 2


def noisy(rng: np.random.Generator, box: list[float]) -> list[float]:
    return [side + rng.normal(0, 3) for side in box]


@pytest.mark.parametrize(("fps", "every"), [(5.0, 1), (24.0, 1), (24.0, 2), (60.0, 1), (60.0, 4)])
@pytest.mark.parametrize("hidden", [False, True])
def test_two_people_who_cross_keep_their_ids(fps: float, every: int, hidden: bool) -> None:
    """One walks left to right, one right to left, 0.8 heights a second; at the crossing the
    detector sees both, or only the one in front."""
    rng = np.random.default_rng(7)
    frames = []
    times = np.arange(0, 4, 1 / fps)
    for t in times:
        left, right = 180 + 160 * t, 820 - 160 * t
        boxes = [noisy(rng, person_box(left)), noisy(rng, person_box(right, 310))]
        if hidden and abs(left - right) < 0.5 * WIDTH:
            boxes.pop()
        frames.append(boxes)
    tracks = follow(frames, fps=fps, every=every)
    assert [track.id for track in tracks] == [0, 1]
    ends = sorted((centre_x(t)[0] < 500, centre_x(t)[-1] < 500) for t in tracks)
    assert ends == [(False, True), (True, False)]
    assert all(len(track) == len(times) for track in tracks)


def test_a_second_behind_a_post_is_bridged_and_marked() -> None:
    fps = 25.0
    frames = [[person_box(100 + 5 * k)] if not 40 <= k < 65 else [] for k in range(100)]
    (track,) = follow(frames, fps=fps)
    assert track.frame_index.tolist() == list(range(100))
    assert np.flatnonzero(~track.detected).tolist() == list(range(40, 65))
    np.testing.assert_allclose(centre_x(track), 100 + 5 * np.arange(100), atol=1e-3)
    assert (track.scores[~track.detected] == 0).all()


def test_too_long_a_gap_makes_a_new_person() -> None:
    frames = [[person_box(300)] if not 40 <= k < 90 else [] for k in range(130)]
    tracks = follow(frames, fps=25.0, max_gap_s=1.0)
    assert [(t.frame_index[0], t.frame_index[-1]) for t in tracks] == [(0, 39), (90, 129)]


def test_a_track_ends_at_its_last_detection() -> None:
    (track,) = follow([[person_box(300)]] * 30 + [[]] * 20, fps=25.0)
    assert track.frame_index[-1] == 29
    assert track.detected.all()


def test_a_runner_at_five_frames_a_second_is_one_person() -> None:
    """4 heights a second: 160 px a frame, boxes 80 px wide never overlap."""
    frames = [[person_box(100 + 160 * k), person_box(600, 600)] for k in range(12)]
    tracks = follow(frames, fps=5.0)
    assert len(tracks) == 2
    runner = max(tracks, key=lambda t: np.ptp(centre_x(t)))
    np.testing.assert_allclose(centre_x(runner), 100 + 160 * np.arange(12), atol=1e-3)


@pytest.mark.parametrize("every", [1, 2])
def test_people_enter_and_leave(every: int) -> None:
    """One leaves at the right edge, another enters there 0.8 s later: two people."""
    width = 1000.0

    def cut_off(x: float) -> list[list[float]]:
        x0, y0, x1, y1 = person_box(x)
        return [[x0, y0, min(x1, width), y1]] if x0 < width - 20 else []

    frames = [cut_off(700 + 20 * k) for k in range(35)] + [
        cut_off(1030 - 20 * k) for k in range(20)
    ]
    tracks = follow(frames, fps=25.0, every=every, picture=(1000, 600))
    assert len(tracks) == 2
    assert centre_x(tracks[0])[-1] > 900 and centre_x(tracks[1])[0] > 900
    assert tracks[0].frame_index[-1] < tracks[1].frame_index[0]


def test_weak_detections_hold_on_to_a_person_but_start_none() -> None:
    frames = [
        ([person_box(300 + k), person_box(800)], [0.2 if 20 <= k < 40 else 0.8, 0.2])
        for k in range(60)
    ]
    (track,) = follow(frames, fps=25.0)
    assert len(track) == 60
    assert track.detected.all()


def test_false_alarms_are_left_out_and_ids_close_the_gap() -> None:
    """A flicker, and a post that is now and then just sure enough, around two people."""
    frames = []
    for k in range(60):
        boxes, scores = [person_box(300)], [0.8]
        if k < 3:
            boxes, scores = [*boxes, person_box(600)], [*scores, 0.7]
        boxes, scores = [*boxes, person_box(900)], [*scores, 0.55 if k % 5 == 0 else 0.2]
        if k >= 10:
            boxes, scores = [*boxes, person_box(1200)], [*scores, 0.7]
        frames.append((boxes, scores))
    tracks = follow(frames, fps=25.0)
    assert [(t.id, round(float(centre_x(t)[0]))) for t in tracks] == [(0, 300), (1, 1200)]


def test_where_nobody_is_sure_the_likely_are_returned_for_a_closer_look() -> None:
    likely = [([person_box(300 + k)], [0.42]) for k in range(30)]
    (track,) = follow(likely, fps=30.0)
    assert len(track) == 30
    beside_a_sure_one = [([*boxes, person_box(900)], [*scores, 0.8]) for boxes, scores in likely]
    (track,) = follow(beside_a_sure_one, fps=30.0)
    assert centre_x(track)[0] == pytest.approx(centre_x(track)[-1])
    flicker = [([person_box(300)], [0.42 if k < 4 else 0.2]) for k in range(30)]
    assert follow(flicker, fps=30.0) == []


def test_people_who_meet_and_turn_back_are_told_by_their_clothes() -> None:
    """They meet, one box stands for both for half a second, and each goes back the way it came:
    by movement alone they would seem to have crossed."""
    tracker = Tracker(fps=25.0)
    for k in range(75):
        apart = 30 + 4.0 * abs(k - 37)
        boxes = [person_box(500 - apart), person_box(500 + apart)]
        picture = np.full((600, 1000, 3), 120, np.uint8)
        for box, colour in zip(boxes, ((200, 40, 40), (230, 210, 60)), strict=True):
            x0, y0, x1, y1 = (int(side) for side in box)
            picture[y0:y1, x0 : x1 + 1] = colour
        if 31 <= k <= 43:
            (x0, y0, _, _), (_, _, x1, y1) = boxes
            boxes = [[x0, y0, x1, y1]]
        tracker.update(detections(k, boxes), rgb=picture)
    tracks = tracker.finish(75)
    assert [len(track) for track in tracks] == [75, 75]
    assert all((centre_x(t)[0] < 500) == (centre_x(t)[-1] < 500) for t in tracks)


def test_one_box_around_two_known_people_starts_nobody() -> None:
    frames = []
    for k in range(60):
        boxes = [person_box(300), person_box(390)]
        if 20 <= k < 50:
            boxes = [[255, 190, 435, 410], *([boxes[0]] if k % 2 else [])]
        frames.append(boxes)
    tracks = follow(frames, fps=25.0)
    assert [len(t) for t in tracks] == [60, 60]


@pytest.mark.parametrize(("score", "people"), [(0.38, 1), (0.2, 1), (0.12, 0)])
def test_a_single_picture_gives_its_person(score: float, people: int) -> None:
    tracks = follow([([person_box(300)], [score])], fps=25.0)
    assert [len(t) for t in tracks] == [1] * people


def test_beside_a_sure_person_a_weak_box_of_a_single_picture_counts_for_nothing() -> None:
    tracks = follow([([person_box(300), person_box(700)], [0.6, 0.2])], fps=25.0)
    assert [round(float(centre_x(t)[0])) for t in tracks] == [300]


def test_the_larger_of_two_who_appear_together_comes_first() -> None:
    tracks = follow([[person_box(300), person_box(700, scale=1.5)]] * 10, fps=10.0)
    assert [round(float(centre_x(t)[0])) for t in tracks] == [700, 300]


# what the detector said at the pillar of samples/two_people.mp4 (a walker in a painted suit)
AT_THE_PILLAR: list[tuple[list[list[float]], list[float]]] = [
    ([[390, 116, 685, 690]], [0.83]),
    ([[338, 129, 691, 689]], [0.82]),
    ([[299, 136, 684, 692]], [0.74]),
    ([[281, 138, 653, 699]], [0.81]),
    ([[286, 137, 581, 695]], [0.75]),
    ([[306, 142, 520, 705]], [0.6]),
    ([[284, 141, 389, 555], [287, 399, 437, 707]], [0.47, 0.32]),
    ([[280, 147, 388, 545], [140, 100, 433, 701]], [0.52, 0.37]),
    ([[185, 385, 230, 452], [177, 56, 436, 702]], [0.23, 0.16]),
    ([[206, 117, 438, 709], [143, 141, 373, 711]], [0.35, 0.33]),
    ([[106, 162, 336, 708]], [0.72]),
    ([[115, 161, 373, 706]], [0.73]),
    ([[82, 162, 369, 708]], [0.68]),
    ([[48, 162, 273, 710]], [0.5]),
    ([[30, 162, 260, 710]], [0.6]),
]


def test_who_is_hidden_bit_by_bit_comes_out_as_themselves() -> None:
    tracks = follow(AT_THE_PILLAR, fps=15.0)
    assert [len(t) for t in tracks] == [len(AT_THE_PILLAR)]


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_cut_ends_every_track(every: int) -> None:
    """The same boxes go on after the cut, on somebody else; no frame at the seams is lost."""
    tracks = follow([[person_box(300)]] * 40, fps=25.0, cuts=(15,), every=every)
    assert [(t.frame_index[0], t.frame_index[-1]) for t in tracks] == [(0, 14), (15, 39)]


def test_who_comes_and_goes_between_two_looks_is_followed_there() -> None:
    present = [20 < k < 57 for k in range(80)]
    frames = [[person_box(300 + 2 * k)] if here else [] for k, here in enumerate(present)]
    (track,) = follow(frames, fps=60.0, every=4)
    assert track.frame_index[0] <= 21 and track.frame_index[-1] >= 56
    assert len(track) <= sum(present) + 2 * 4
    assert track.frame_index[track.detected].tolist() == list(range(24, 57, 4))


def test_one_person_alone_is_looked_at_half_as_often_and_nobody_comes_late() -> None:
    """A second person enters at frame 31, while frames are left out, and goes at 60."""
    frames = [
        [person_box(300 + k)] + ([person_box(700 - k)] if 31 <= k < 60 else []) for k in range(100)
    ]
    tracker, looks = Tracker(fps=30.0, every=2), []
    for index, boxes in enumerate(frames):
        if index % 2 == 0 and not tracker.may_skip(index):
            looks.append(index)
            tracker.update(detections(index, boxes))
    tracks = tracker.finish(len(frames))
    assert np.diff([k for k in looks if 12 <= k <= 28]).tolist() == [4] * 4  # one alone
    assert np.diff([k for k in looks if 32 <= k <= 60]).tolist() == [2] * 14  # two
    assert [(t.frame_index[0], t.frame_index[-1]) for t in tracks] == [(0, 99), (29, 59)]
    np.testing.assert_allclose(centre_x(tracks[0]), 300 + np.arange(100).clip(0, looks[-1]))


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        ([person_box(300), person_box(500)], [0.8, 0.2]),  # perhaps somebody else
        ([person_box(300)], [0.3]),  # not surely seen
        ([person_box(380)], [0.8]),  # moved by the width of the body
        ([], []),
    ],
)
def test_a_look_is_due_where_one_person_is_not_plainly_alone(boxes: list, scores: list) -> None:
    tracker = Tracker(fps=15.0)
    for index in range(10):
        tracker.update(detections(index, [person_box(300)]))
    assert tracker.may_skip(10) and not tracker.may_skip(11)
    tracker.update(detections(10, boxes, scores))
    assert not tracker.may_skip(11)


def test_tracking_is_deterministic() -> None:
    rng = np.random.default_rng(0)
    frames = [
        (
            [noisy(rng, person_box(200 * p + 4 * k)) for p in range(5)],
            rng.uniform(0.1, 1, 5).tolist(),
        )
        for k in range(50)
    ]
    first, second = follow(frames, fps=25.0), follow(frames, fps=25.0)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_boxes_without_area_are_ignored() -> None:
    frames = [[person_box(300), [50.0, 50.0, 50.0, 90.0]]] * 10
    assert len(follow(frames, fps=10.0)) == 1


def test_frames_must_come_in_order() -> None:
    tracker = Tracker(fps=25.0)
    tracker.update(detections(3, []))
    with pytest.raises(ValueError, match="frame 3 comes after frame 3"):
        tracker.update(detections(3, []))


def test_select_by_id_and_by_cover() -> None:
    small_long = [person_box(200, scale=0.5)]
    tracks = follow(
        [small_long + ([person_box(700)] if k >= 10 else []) for k in range(60)]
        + [[*small_long, person_box(1200, scale=0.4)]] * 20,
        fps=25.0,
    )
    assert [t.id for t in tracks] == [0, 1, 2]
    assert [t.id for t in select_tracks(tracks, person=1)] == [1]
    assert [t.id for t in select_tracks(tracks, max_people=1)] == [1]
    assert [t.id for t in select_tracks(tracks, max_people=2)] == [0, 1]
    assert len(select_tracks(tracks)) == 3
    with pytest.raises(InputError, match="--person 7: no such person; the clip has 0, 1, 2"):
        select_tracks(tracks, person=7)
    with pytest.raises(InputError, match="--max-people 0"):
        select_tracks(tracks, max_people=0)


def scene(seed: int) -> np.ndarray:
    """A textured picture with large and small shapes, (480, 640, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).repeat(80, 0).repeat(80, 1)
    fine = rng.integers(-40, 40, (48, 64, 1)).repeat(10, 0).repeat(10, 1)
    return (coarse + fine).clip(0, 255).astype(np.uint8)


def cuts_in(pictures: list[np.ndarray]) -> list[int]:
    is_cut = CutDetector()
    return [k for k, picture in enumerate(pictures) if is_cut(picture)]


def test_scripted_cut_is_found_where_it_is() -> None:
    assert cuts_in([scene(1)] * 5 + [scene(2)] * 5 + [scene(1)] * 5) == [5, 10]


@pytest.mark.parametrize("change", ["dim", "pan", "flash", "black", "noise", "person"])
def test_no_false_cut(change: str) -> None:
    base = np.concatenate([scene(1), scene(2)], axis=1)
    rng = np.random.default_rng(0)
    pictures = []
    for k in range(12):
        shift = 60 * k if change == "pan" else 0  # px; a tenth of the picture each frame
        picture = base[:, shift : shift + 640].copy()
        if change == "dim" and k >= 6:
            picture = (picture * 0.3).astype(np.uint8)
        if change == "flash" and k == 6:
            picture[:] = 255
        if change == "black" and k == 6:
            picture[:] = 0
        if change == "noise":
            picture = (picture + rng.normal(0, 20, picture.shape)).clip(0, 255).astype(np.uint8)
        if change == "person" and k >= 6:
            picture[60:, 200:420] = (30, 30, 120)
        pictures.append(picture)
    assert cuts_in(pictures) == []


def test_real_clips_joined(shared) -> None:
    """No cut inside a moving camera, few frames a second or sun glare; one at each joint."""
    av = pytest.importorskip("av")
    pictures, joints = [], []
    for name in (
        "pexels_walk_away_moving_camera.mp4",
        "squats_portrait_5fps.mp4",
        "derived/juggle.gif",
        "walk_across_occluded_vp9.mp4",
    ):
        joints.append(len(pictures))
        with av.open(str(shared / "data" / "clips" / name)) as clip:
            for k, frame in enumerate(clip.decode(video=0)):
                if k == 30:
                    break
                pictures.append(frame.to_ndarray(format="rgb24"))
    assert cuts_in(pictures) == joints[1:]


def test_as_many_pairs_as_possible_are_matched_at_the_lowest_total_cost() -> None:
    never = 1e6
    cost = np.array([[0.1, 0.2, never], [0.1, never, never], [never, never, never]])
    assert cheapest_pairs(cost).tolist() == [[0, 1], [1, 0]]  # not the cheaper pair (0, 0) alone
    assert cheapest_pairs(cost[:, :1]).tolist() == [[0, 0]]
    assert cheapest_pairs(cost[2:]).tolist() == []


def test_the_most_prominent_people_are_chosen_in_each_shot() -> None:
    """One dancer and a passer-by, and a cut half-way: the dancer is kept on both sides of it."""
    frames = [[person_box(300), person_box(900, scale=0.4)]] * 40
    tracks = follow(frames + [[person_box(700, scale=0.8)]] * 20, fps=25.0, cuts=(40,))
    assert [(t.id, t.shot_start) for t in tracks] == [(0, 0), (1, 0), (2, 40)]
    assert [t.id for t in select_tracks(tracks, max_people=1)] == [0, 2]
    assert [t.id for t in select_tracks(tracks, max_people=2)] == [0, 1, 2]
