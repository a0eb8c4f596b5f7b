"""Who is who after a meeting, told by clothes: scripted tracks that went wrong in known ways."""

from collections.abc import Iterable

import numpy as np
import pytest

from hpsvid.tracking.follow import Follow, Sighting, clothes_histograms, observe, start_follow
from hpsvid.tracking.relink import met, relinked
from hpsvid.types import Array

FPS = 15.0
RED, YELLOW, DARK_RED = (200, 40, 40), (230, 210, 60), (170, 40, 40)
Colour = tuple[int, int, int]


def sighting(frame: int, x: float, colour: Colour, *, among: bool = False) -> Sighting:
    """Somebody in one colour, 80 px wide and 200 px tall, their middle at (x, 150)."""
    box = np.array([x - 40, 50, x + 40, 250])
    clothes = clothes_histograms(np.full((20, 8, 3), colour, np.uint8), np.array([0.0, 0, 8, 20]))
    return Sighting(frame, box, 0.8, clothes, met=among)


def follow(number: int, sightings: Iterable[Sighting]) -> Follow:
    first, *others = sightings
    followed = start_follow(first, number)
    for other in others:
        observe(followed, other)
    return followed


def places(follow: Follow) -> Array:
    """(T, 2) frames and middles."""
    return np.array([[s.frame, s.centre_size[0]] for s in follow.sightings])


def walkers(first: Colour, second: Colour) -> list[Follow]:
    """Two who walk towards each other and turn round where they meet; their tracks go on ahead."""
    tracks = []
    for number, (own, other, way) in enumerate(((first, second, 1), (second, first, -1))):
        xs = 500 + way * np.linspace(-200, 200, 41)
        tracks.append(
            follow(
                number,
                (
                    sighting(k, x, own if k <= 20 else other, among=abs(x - 500) < 30)
                    for k, x in enumerate(xs)
                ),
            )
        )
    return tracks


def test_tracks_that_changed_people_where_they_met_change_back():
    mended = relinked(walkers(RED, YELLOW), FPS, 1.5)
    assert [len(follow.sightings) for follow in mended] == [41, 41]
    for follow, side in zip(mended, (-1, 1), strict=True):
        xs = places(follow)[:, 1]
        np.testing.assert_allclose(xs, 500 + side * 10 * abs(np.arange(41) - 20.0), atol=20.1)


def test_where_clothes_are_alike_movement_stands():
    for follow, x in zip(relinked(walkers(RED, DARK_RED), FPS, 1.5), (700, 300), strict=True):
        assert places(follow)[-1, 1] == x


@pytest.mark.parametrize(("colour", "gap", "apart", "tracks"), [
    (RED, 15, 150, 1), (YELLOW, 15, 150, 2), (RED, 30, 150, 2), (RED, 3, 400, 2),
])  # fmt: skip
def test_who_comes_out_elsewhere_in_the_same_clothes_is_the_same(
    colour: Colour, gap: int, apart: float, tracks: int
):
    """The gap is in frames, and a person's height 200 px: no-one covers 400 px in a fifth of a
    second."""
    before = follow(0, (sighting(k, 300, RED) for k in range(10)))
    after = follow(1, (sighting(k, 300 + apart, colour) for k in range(9 + gap, 20 + gap)))
    mended = relinked([after, before], FPS, 1.5)
    assert len(mended) == tracks
    assert sum(len(follow.sightings) for follow in mended) == 21


def test_sightings_of_somebody_else_are_taken_out_and_given_to_them():
    """Whoever passes in front is taken for the one behind; then they are detected as new."""
    behind = follow(
        0,
        [
            *(sighting(k, 300, RED) for k in range(10)),
            *(sighting(k, 260 + 8 * k, YELLOW, among=True) for k in range(10, 15)),
            *(sighting(k, 300, RED) for k in range(15, 30)),
        ],
    )
    passing = follow(1, (sighting(k, 260 + 8 * k, YELLOW) for k in range(15, 30)))
    mended = relinked([behind, passing], FPS, 1.5)
    frames = [set(places(follow)[:, 0].astype(int)) for follow in mended]
    assert frames == [{*range(10), *range(15, 30)}, {*range(10, 30)}]


def test_people_without_pictures_stay_as_they_are():
    blind = [
        follow(n, (Sighting(k, np.array([x, 0, x + 80, 200.0]), 0.8, None) for k in range(9)))
        for n, x in enumerate((0, 60))
    ]
    assert [len(follow.sightings) for follow in relinked(blind, FPS, 1.5)] == [9, 9]
    assert relinked([], FPS, 1.5) == []


def test_weak_boxes_make_no_meeting():
    boxes = np.array([[0, 0, 80, 200], [30, 0, 110, 200], [500, 0, 580, 200.0]])
    assert met(boxes, np.array([0.8, 0.8, 0.8])).tolist() == [True, True, False]
    assert met(boxes, np.array([0.8, 0.2, 0.8])).tolist() == [False, True, False]
