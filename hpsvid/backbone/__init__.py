"""(Frames, Tracks) -> Landmarks -> Observations: what is seen of each person."""

from collections.abc import Callable

from hpsvid.body.model import Body
from hpsvid.options import LifterName
from hpsvid.types import Array, Camera, Landmarks, Observations

# (landmarks, pts_s (T,) s of the track's frames, camera, body) -> evidence for a solver
Lift = Callable[[Landmarks, Array, Camera, Body], Observations]


def _learned(landmarks: Landmarks, pts_s: Array, camera: Camera, body: Body) -> Observations:
    from hpsvid.backbone.learned import lift

    return lift(landmarks, pts_s, camera, body)


def _geometric(landmarks: Landmarks, pts_s: Array, camera: Camera, body: Body) -> Observations:
    from hpsvid.backbone.geometric import lift_geometrically

    return lift_geometrically(landmarks, camera, body)


LIFTERS: dict[LifterName, Lift] = {"learned": _learned, "geometric": _geometric}
