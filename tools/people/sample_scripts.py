"""What the clips in `samples/` show: people, their motion and clothes, the camera, the room."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hpsvid.types import Array
from tools.people.lighting import Interior, unit
from tools.people.outfit import Dye, Outfit
from tools.people.props import Prop, painted_box
from tools.people.room import Light, Room, View, look_at, make_room

SIZE = (1280, 720)  # px
FPS = 30  # Hz, as the motion capture
AS_IT_IS = Dye(
    hue=0, saturation=1, value=1, tint=(1, 1, 1), stripes=0, stripe_tint=(1, 1, 1)
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """One person: a stretch of motion capture, a look and a place in the room."""

    capture: str  # below the motion capture folder, without suffix
    start: int  # first frame of the capture
    outfit: Outfit  # its betas have limbs as long as people's
    place: tuple[float, float]  # m, where the middle of the path lies (x, z)
    yaw_deg: float  # turn of the captured motion about the vertical
    enter: int = 0  # frame of the clip in which the motion begins; before and after its stretch
    # the actor stands still, which should be out of the picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Script:
    """A clip to render: who moves, what the camera does, what stands or slides about."""

    name: str
    frames: int
    actors: tuple[Actor, ...]
    light: Light
    interior: Interior
    room: Callable[[], Room]
    view: Callable[[int], View]  # by frame index
    props: Callable[[int], list[Prop]]  # by frame index
    chord_hz: tuple[float, ...]  # the soft tones under the footsteps


def _interior(window: Array) -> Interior:
    """Daylight from a window in this direction (3,), and what a wooden floor sends back."""
    return Interior(window=unit(window), tint=np.ones(3), glare=0.8, floor=0.4, warmth=np.ones(3))


def _studio_room() -> Room:
    return make_room(np.array([-3.8, 0, -5.5]), np.array([3.8, 3.1, 3.4]), seed=3)


def _studio_view(index: int) -> View:
    return look_at(
        np.array([0.25, 1.45, -4.6]), np.array([0.0, 0.86, 0.0]), focal_px=1330, size=SIZE
    )


def _studio_props(index: int) -> list[Prop]:
    """Two crates and a bench at the wall."""
    return [
        painted_box((150, 120, 84), (2.3, 0.3, 2.9), (0.9, 0.6, 0.6), 12),
        painted_box((92, 116, 124), (2.2, 0.8, 2.9), (0.5, 0.4, 0.4), -8),
        painted_box((70, 74, 82), (-2.2, 0.22, 2.9), (1.6, 0.44, 0.4), 3),
    ]


def _two_room() -> Room:
    return make_room(np.array([-4.4, 0, -5.5]), np.array([4.4, 3.3, 3.6]), seed=8)


def _two_view(index: int) -> View:
    """A camera held by hand: rolled by 5 degrees, drifting by centimetres and a few degrees."""
    t = index / FPS
    eye = np.array([0.1 + 0.16 * np.sin(0.9 * t), 1.5 + 0.02 * np.sin(1.7 * t), -4.6])
    target = np.array([-0.12 + 0.03 * t + 0.03 * np.sin(2.3 * t), 0.82, 0.0])
    roll = 5 + 1.2 * np.sin(0.8 * t)
    return look_at(eye, target, focal_px=1120, size=SIZE, roll_deg=roll)


def _two_props(index: int) -> list[Prop]:
    """A cupboard at the wall, and a pillar on castors that slides through the foreground."""
    x = 1.95 - 1.55 * (index - 62) / FPS
    return [
        painted_box((168, 160, 146), (-2.9, 0.55, 3.0), (1.2, 1.1, 0.6), 0),
        painted_box((146, 152, 138), (x, 0.95, -1.5), (0.3, 1.9, 0.3), 20),
    ]


WALKING_MAN = Outfit(
    sex="male",
    age="young",
    origin="caucasian",
    betas=np.array(
        (0.4, 0.2, -0.3, 0.5, 0, 0.2, 0, 0, 0, 0, 1.9, 0.1, 0.4, 0.3, -1.2, 0.8), np.float32
    ),
    suit="male_casualsuit03",
    shoes="shoes06",
    hair="short02",
    brows="eyebrow001",
    hair_colour=(58, 42, 32),
    skin_gain=(1, 1, 1),
    upper=AS_IT_IS,
    lower=AS_IT_IS,
    shoe=AS_IT_IS,
)
DANCING_WOMAN = Outfit(
    sex="female",
    age="young",
    origin="asian",
    betas=np.array(
        (-0.8, 1.3, 0.4, -0.6, 0.3, 0, 0, 0, 0, 0, 1.1, 0.6, 0.1, 0.9, -0.7, 1.3), np.float32
    ),
    suit="female_elegantsuit01",
    shoes="shoes05",
    hair="ponytail01",
    brows="eyebrow006",
    hair_colour=(58, 42, 32),
    skin_gain=(1, 1, 1),
    upper=replace(AS_IT_IS, hue=0.13, value=1.6),
    lower=replace(AS_IT_IS, value=1.2),
    shoe=AS_IT_IS,
)
CROSSING_MAN = Outfit(
    sex="male",
    age="middleage",
    origin="african",
    betas=np.array(
        (0.8, -0.9, 0.6, 0.4, 0, -0.3, 0, 0, 0, 0, 1.6, -0.1, -0.4, -0.5, -1.5, 0.6), np.float32
    ),
    suit="male_casualsuit05",
    shoes="shoes02",
    hair="afro01",
    brows="eyebrow003",
    hair_colour=(28, 24, 22),
    skin_gain=(1, 1, 1),
    upper=AS_IT_IS,
    lower=replace(AS_IT_IS, saturation=0.5, value=1.5, tint=(1.0, 0.95, 0.85)),
    shoe=AS_IT_IS,
)

SCRIPTS = (
    Script(
        name="studio_walk",
        frames=204,
        actors=(
            Actor(
                capture="cmu_cyun/01_04",
                start=471,
                outfit=WALKING_MAN,
                place=(0.0, 0.1),
                yaw_deg=0,
            ),
        ),
        light=Light(towards=np.array([-0.5, 1.0, -0.7]), key=0.6, fill=0.5),
        interior=_interior(np.array([-1.0, 0.25, -0.4])),
        room=_studio_room,
        view=_studio_view,
        props=_studio_props,
        chord_hz=(110.0, 164.8, 220.0),
    ),
    Script(
        name="two_people",
        frames=156,
        actors=(
            Actor(
                capture="cmu_papagina/salsa_15_p1",
                start=90,
                outfit=DANCING_WOMAN,
                place=(0.2, 1.1),
                yaw_deg=125,
            ),
            Actor(
                capture="cmu_expmap8/train_walking_44",
                start=0,
                outfit=CROSSING_MAN,
                place=(0.02, -1.2),
                yaw_deg=90,
                enter=6,
            ),
        ),
        light=Light(towards=np.array([0.6, 1.0, -0.6]), key=0.55, fill=0.55),
        interior=_interior(np.array([1.0, 0.25, -0.4])),
        room=_two_room,
        view=_two_view,
        props=_two_props,
        chord_hz=(98.0, 146.8, 196.0, 246.9),
    ),
)  # fmt: skip
