"""The BlazePose backbone: landmarks of every track, lifted to observations for a solver."""

from collections.abc import Callable, Sequence

import numpy as np

from hpsvid.backbone import Network
from hpsvid.backbone.blazepose import BlazePose
from hpsvid.backbone.inner_maps import Reader
from hpsvid.backbone.keypoints import keypoints_of_tracks, with_keypoints
from hpsvid.backbone.landmarks import Landmarks
from hpsvid.body.keypoints import People2D
from hpsvid.body.model import Body
from hpsvid.common.records import take_frames
from hpsvid.options import LifterName, Options
from hpsvid.types import Array, Camera, Frames, Observations, Source, Track

# The landmark network looks at people this often; what lies between follows from both sides.
# Bodies move at a few Hz and the evidence is smoothed below 5 Hz anyway: poses are as accurate as
# with every frame, and with FAST_LOOKS_HZ within 2.5 mm (docs/measurements.md). The smaller
# network, which takes as long for every frame, is 6 to 18 mm worse.
LOOKS_HZ = 15.0
FAST_LOOKS_HZ = 7.5

# (landmarks, pts_s (T,) s of the track's frames, camera, body) -> evidence for a solver
Lift = Callable[[Landmarks, Array, Camera, Body], Observations]


def _learned(landmarks: Landmarks, pts_s: Array, camera: Camera, body: Body) -> Observations:
    from hpsvid.backbone.learned import lift

    return lift(landmarks, pts_s, camera, body)


def _geometric(landmarks: Landmarks, pts_s: Array, camera: Camera, body: Body) -> Observations:
    from hpsvid.backbone.geometric import lift_geometrically

    return lift_geometrically(landmarks, camera, body)


LIFTERS: dict[LifterName, Lift] = {"learned": _learned, "geometric": _geometric}


def reader_for(lifter: LifterName) -> Reader | None:
    """What the landmark network's looks are to keep for a lifter beside the landmarks."""
    if lifter == "geometric":
        return None
    from hpsvid.backbone.learned import default_lifter

    return default_lifter().reader()


class BlazePoseBackbone:
    """`hpsvid.backbone.Backbone` by the BlazePose landmark network and a lifter.

    Raises WeightsError when the network's file is missing or damaged.
    """

    def __init__(
        self, tracks: Sequence[Track], camera: Camera, body: Body, options: Options
    ) -> None:
        looks_hz = FAST_LOOKS_HZ if options.fast else LOOKS_HZ
        self._network = BlazePose(
            tracks,
            fast=options.small_network,
            threads=options.threads,
            device=options.device,
            looks_hz=looks_hz,
            reader=reader_for(options.lifter_in_use),
        )
        self._lift = LIFTERS[options.lifter_in_use]
        self._camera, self._body = camera, body
        self._tracks = tracks
        self.people: People2D | None = None  # whose keypoints stand in for the network's own 2D

    @property
    def network(self) -> Network:
        """The landmark network: crops (N, 256, 256, 3) uint8 in."""
        return self._network.network

    @network.setter
    def network(self, network: Network) -> None:
        self._network.network = network

    @property
    def reader(self) -> Reader | None:
        """What the looks keep of the network's inner maps; None: nothing."""
        return self._network.reader

    @property
    def provenance(self) -> Source:
        """Name and sha256 of the landmark network, and how often it looked."""
        return self._network.provenance

    def observe(self, frames: Frames) -> None:
        """Look at the next frames of the clip."""
        self._network.observe(frames)

    def observations(self) -> list[Observations]:
        """Each track's from the first to the last frame in which the network saw a person."""
        return [
            lift_seen(landmarks, pts_s, self._lift, self._camera, self._body)
            for landmarks, pts_s in zip(self._landmarks(), self._network.pts_s, strict=True)
        ]

    def _landmarks(self) -> list[Landmarks]:
        """What the network saw of each track, moved onto the keypoints that were given."""
        seen, people = self._network.landmarks(), self.people
        if people is None or people.keypoints is None:
            return seen
        told = keypoints_of_tracks(self._tracks, people)
        return [
            with_keypoints(landmarks, points, pts_s, people.layout)
            for landmarks, points, pts_s in zip(seen, told, self._network.pts_s, strict=True)
        ]


def lift_seen(
    landmarks: Landmarks, pts_s: Array, lift: Lift, camera: Camera, body: Body
) -> Observations:
    """Lift a track's landmarks from the first to the last frame in which a person was seen.

    pts_s: (T,) s. Where no frame shows a person, all frames are lifted, and none is valid.
    """
    hits = np.flatnonzero(landmarks.score > 0)
    span = slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(None)
    return lift(take_frames(landmarks, span), pts_s[span], camera, body)
