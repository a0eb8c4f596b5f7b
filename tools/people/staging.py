"""Scenes: who does what where, before which camera, with what in the way; exact identities."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.mocap.sources import MotionSource
from hpsvid.types import Array
from tools.people.backdrop import Backdrop, draw_backdrop
from tools.people.camera import Mount, Shot, draw_shot
from tools.people.character import Character, Wardrobe
from tools.people.lighting import draw_lamp
from tools.people.motions import Motion, draw_kind, draw_motion, hugging, turned_about
from tools.people.outfit import draw_outfit
from tools.people.props import Prop, clutter, in_the_way, seat_under
from tools.people.zbuffer import image_points, visible_faces

LAYOUTS = {"solo": 0.76, "beside": 0.12, "crossing": 0.08, "embrace": 0.04}
CROWD = 0.3  # of the scenes of people beside each other have three
APART_M = (0.55, 1.2)  # of people beside each other
CROSSING_APART_M = (0.35, 1.0)  # in depth, where paths cross
CROSSING_SPEED = (0.5, 1.6)  # m/s
EMBRACE_M = (0.26, 0.42)  # between two pelvises
INDOORS = 0.6
OCCLUDED = 0.25  # of the scenes have a thing or two in the way
MAY_HIDE = 0.55  # of anybody's joints, by one thing in the way, in the frames looked at
CLUTTER_MAY_HIDE = 0.15  # the same of furniture
COARSE = 4  # px of the picture a side of a pixel in which that is looked at
TRIES = 40  # of a camera for a group of people
FPS = 30.0
SETTLING_DEG = 36
SMOOTH_FRAMES = 9  # of the floor under feet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """One person of a scene over T frames, in world axes."""

    character: Character
    motion: Motion
    joints: Array  # (T, 29, 3) m
    vertices: Array  # (T, V, 3) float32 m, of the character's whole mesh

    @property
    def betas(self) -> Array:
        """Its shape (10,)."""
        return self.character.outfit.betas


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Everything a film is made of."""

    layout: str  # one of LAYOUTS
    actors: tuple[Actor, ...]
    shot: Shot
    props: tuple[Prop, ...]
    backdrop: Backdrop

    def every(self, step: int) -> "Scene":
        """Its first frame and every `step`-th after that, as fewer frames a second show it."""
        actors = [
            replace(
                actor,
                motion=replace(
                    actor.motion,
                    rotmats=actor.motion.rotmats[::step],
                    transl=actor.motion.transl[::step],
                ),
                joints=actor.joints[::step],
                vertices=actor.vertices[::step],
            )
            for actor in self.actors
        ]
        shot = replace(
            self.shot,
            rotation=self.shot.rotation[::step],
            translation=self.shot.translation[::step],
        )
        props = [replace(prop, pace=prop.pace * step) for prop in self.props]
        return replace(self, actors=tuple(actors), shot=shot, props=tuple(props))


def draw_scene(
    rng: np.random.Generator,
    source: MotionSource,
    wardrobe: Wardrobe,
    *,
    wanted: tuple[str, int] | None = None,
    kind: str | None = None,
    mount: Mount | None = None,
) -> Scene:
    """A random scene of the source's length; wanted: its layout and how many people it has.

    kind: of `motions.KINDS`, what those who are alone or beside each other do; mount: how the
    camera is held. None leaves it to chance. A third person beside an embrace walks past it.
    """
    layout, count = wanted or _draw_layout(rng)
    indoors = rng.random() < INDOORS
    while True:
        number = count or _draw_count(rng, layout)
        actors, yaw = _cast(rng, layout, number, source, wardrobe, kind)
        people = np.stack([actor.joints for actor in actors], 1)
        for _ in range(TRIES):
            shot = draw_shot(rng, people, yaw=yaw, indoors=indoors, mount=mount)
            if shot is not None:
                return _furnished(rng, layout, actors, shot, indoors=indoors)


def _draw_layout(rng: np.random.Generator) -> tuple[str, None]:
    """A random layout, whose number of people is drawn later."""
    return list(LAYOUTS)[rng.choice(len(LAYOUTS), p=list(LAYOUTS.values()))], None


def _draw_count(rng: np.random.Generator, layout: str) -> int:
    return 1 if layout == "solo" else 3 if rng.random() < CROWD and layout == "beside" else 2


def _cast(
    rng: np.random.Generator,
    layout: str,
    count: int,
    source: MotionSource,
    wardrobe: Wardrobe,
    kind: str | None,
) -> tuple[tuple[Actor, ...], float | None]:
    """The people of a scene, and from where to look at them (rad; None: from anywhere)."""
    characters = [wardrobe.make(draw_outfit(rng, wardrobe.builds)) for _ in range(count)]
    look = None
    if layout == "crossing":
        look = float(rng.uniform(-np.pi, np.pi))
        motions = [_walk_across(rng, source, look, k) for k in range(count)]
    elif layout == "embrace":
        motions = _embrace(rng, source)
        if count > len(motions):
            look = float(rng.uniform(-np.pi, np.pi))
            motions.append(_walk_across(rng, source, look, 0))
    else:
        motions = [draw_motion(rng, source, kind or draw_kind(rng)) for _ in range(count)]
    places = _places(rng, layout, count, look)
    actors = []
    for character, motion, (place, yaw) in zip(characters, motions, places, strict=True):
        yaw = rng.normal(0, 0.35) if motion.facing else yaw
        if motion.facing and count == 1:
            look = 0.0
        actors.append(on_the_floor(character, wardrobe.body, motion, place, yaw))
    return tuple(actors), look


def _walk_across(rng: np.random.Generator, source: MotionSource, look: float, which: int) -> Motion:
    """The most travelling of a few captured motions, carried straight across the view."""
    drawn = [draw_motion(rng, source, "captured") for _ in range(6)]
    motion = max(drawn, key=lambda m: float(np.linalg.norm((m.transl[-1] - m.transl[0])[[0, 2]])))
    frames = len(motion)
    travelled = (motion.transl[-1] - motion.transl[0]) * [1, 0, 1]
    speed = float(np.linalg.norm(travelled)) * FPS / frames
    course = np.arctan2(travelled[0], travelled[2])  # yaw of the walk
    # whoever faces a camera of yaw `look` is turned by -look; the first walks to the picture's
    # right, the second to its left, a little aslant
    wanted = -look + (1 if which % 2 == 0 else -1) * np.pi / 2 + rng.normal(0, 0.3)
    wanted_speed = max(speed, rng.uniform(*CROSSING_SPEED))
    ahead = np.array([np.sin(course), 0, np.cos(course)])
    steps = (np.arange(frames) / frames)[:, None]
    transl = motion.transl + ahead * (wanted_speed - speed) * frames / FPS * steps
    still = np.zeros(3)
    return turned_about(replace(motion, transl=transl), wanted - course, still, still)


def _embrace(rng: np.random.Generator, source: MotionSource) -> list[Motion]:
    """Two people who face each other with their arms round one another."""
    found = []
    for facing in (0.0, np.pi):
        motion = draw_motion(rng, source, "reaching")
        hug = hugging(rng, motion)
        still = np.zeros(3)
        found.append(replace(turned_about(hug, facing, still, still), facing=False))
    return found


def _places(
    rng: np.random.Generator, layout: str, count: int, look: float | None
) -> list[tuple[Array, float]]:
    """Where each person's middle frame is (3,) m, and by how much the motion is turned (rad)."""
    if layout == "crossing" and look is not None:
        depth = np.array([-np.sin(look), 0, np.cos(look)])  # towards the camera
        apart = rng.uniform(*CROSSING_APART_M) * (1 if rng.random() < 0.5 else -1)
        return [(depth * apart * (k - (count - 1) / 2), 0.0) for k in range(count)]
    if layout == "embrace":
        gap = rng.uniform(*EMBRACE_M) / 2
        aside = rng.normal(0, 0.04)
        pair = [(np.array([aside, 0, -gap]), 0.0), (np.array([-aside, 0, gap]), 0.0)]
        if count == len(pair) or look is None:
            return pair
        passes = (gap + rng.uniform(*CROSSING_APART_M)) * (1 if rng.random() < 0.5 else -1)
        return [*pair, (np.array([-np.sin(look), 0, np.cos(look)]) * passes, 0.0)]
    places: list[Array] = []
    while len(places) < count:
        place = np.array([rng.uniform(-1, 1), 0, rng.uniform(-1, 1)]) * APART_M[1] * (count > 1)
        if all(np.linalg.norm(place - other) > APART_M[0] for other in places):
            places.append(place)
    return [(place, rng.uniform(-np.pi, np.pi)) for place in places]


def settled(motion: Motion, character: Character) -> Motion:
    """The motion tilted so that the middle frame's body lies as low as it can, as weight has it.

    Of tilts up to SETTLING_DEG about both level axes the one with the lowest centre above its
    lowest point is taken.
    """
    middle = len(motion) // 2
    betas = torch.from_numpy(character.outfit.betas)
    rotmats = torch.from_numpy(motion.rotmats[middle]).float()
    with torch.inference_mode():
        points = character.body.vertices(rotmats, betas, torch.zeros(3)).numpy()[::20]
    angles = np.radians(np.linspace(-SETTLING_DEG, SETTLING_DEG, 13))
    vectors = [[a, 0, b] for a in angles for b in angles]
    tilts = Rotation.from_rotvec(vectors).as_matrix()
    heights = np.einsum("tj,pj->tp", tilts[:, 1], points)
    best = tilts[(heights.mean(1) - heights.min(1)).argmin()]
    turned = motion.rotmats.copy()
    turned[:, 0] = best @ turned[:, 0]
    return replace(motion, rotmats=turned)


def on_the_floor(
    character: Character, body: Body, motion: Motion, place: Array, yaw: float
) -> Actor:
    """The character doing the motion, its feet (or whatever is lowest) on the floor y = 0."""
    betas = torch.from_numpy(character.outfit.betas)
    pelvis = body.rest_joints(betas)[0].double().numpy()
    if motion.rests:
        motion = settled(motion, character)
    motion = turned_about(motion, yaw, pelvis, place)
    rotmats = torch.from_numpy(motion.rotmats).float()
    transl = torch.from_numpy(motion.transl).float()
    with torch.inference_mode():
        vertices = np.concatenate([
            character.body.vertices(rotmats[i : i + 8], betas, transl[i : i + 8]).numpy()
            for i in range(0, len(motion), 8)
        ])  # fmt: skip
        joints = body.joints(rotmats, betas, transl).numpy()
    lowest = vertices[..., 1].min(1)
    if motion.keeps_floor:
        lift = np.full(len(lowest), np.percentile(lowest, 10))
    else:
        lift = cv2.blur(lowest[None].astype(np.float64), (SMOOTH_FRAMES, 1))[0]
    shift = np.stack([np.zeros_like(lift), -lift, np.zeros_like(lift)], 1)
    return Actor(
        character=character,
        motion=replace(motion, transl=motion.transl + shift),
        joints=joints + shift[:, None],
        vertices=vertices + shift[:, None].astype(np.float32),
    )


def hidden_share(prop: Prop, shot: Shot, people: Array) -> float:
    """The largest share of one person's joints that a thing hides, in five frames of the shot.

    people: (T, P, 29, 3) m, world.
    """
    size = (shot.width // COARSE, shot.height // COARSE)
    K = shot.K / [[COARSE], [COARSE], [1]]
    worst = 0.0
    frames = len(people)
    for t in np.linspace(0, frames - 1, 5).astype(int):
        thing = prop.at(t, frames // 2) @ shot.rotation[t].T + shot.translation[t]
        _, nearness = visible_faces(image_points(thing, K), prop.surface, *size)
        points = people[t] @ shot.rotation[t].T + shot.translation[t]
        flat = points[..., :2] / points[..., 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
        column, row = np.moveaxis(flat.clip(0, np.array(size) - 1).astype(int), -1, 0)
        inside = ((flat >= 0) & (flat < size)).all(-1)
        hidden = inside & (nearness[row, column] * points[..., 2] > 1)
        worst = max(worst, float(hidden.mean(1).max()))
    return worst


def _furnished(
    rng: np.random.Generator, layout: str, actors: tuple[Actor, ...], shot: Shot, *, indoors: bool
) -> Scene:
    """The scene with furniture, things in the way, light and a background."""
    middle = len(actors[0].joints) // 2
    eye = shot.eyes[middle]
    pelvises = np.stack([actor.joints[middle, 0] for actor in actors])
    props: list[Prop] = []
    for actor in actors:
        if actor.motion.seat == "chair":
            facing = actor.motion.rotmats[middle, 0] @ [0, 0, 1] * [1, 0, 1]
            seat = actor.joints[:, 0].mean(0)
            props += seat_under(rng, seat, facing / max(float(np.linalg.norm(facing)), 1e-6))
    people = np.stack([actor.joints for actor in actors], 1)
    if rng.random() < OCCLUDED:
        target = people[middle, rng.integers(len(actors))].mean(0)
        offered = in_the_way(rng, target, eye, int(rng.integers(1, 3)), len(people))
        props += [p for p in offered if hidden_share(p, shot, people) <= MAY_HIDE]
    if rng.random() < 0.6:
        offered = clutter(rng, pelvises, eye, int(rng.integers(1, 6)))
        props += [p for p in offered if hidden_share(p, shot, people) <= CLUTTER_MAY_HIDE]
    everything = np.concatenate(
        [shot.eyes, *(actor.joints.reshape(-1, 3) for actor in actors),
         *(prop.vertices for prop in props)]
    )  # fmt: skip
    low = everything.min(0) - rng.uniform(0.4, 3, 3)
    high = everything.max(0) + rng.uniform(0.4, 3, 3)
    lamp = draw_lamp(rng)
    return Scene(
        layout=layout,
        actors=actors,
        shot=shot,
        props=tuple(props),
        backdrop=draw_backdrop(rng, low, high, lamp, indoors=indoors),
    )
