"""The ground that people stand on: its axes, its height, and the camera above it.

The world's axes are those of `hpsvid.types.World`; which way is up, `hpsvid.motion.upright` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpsvid.body.model import Body
from hpsvid.body.world import to_world
from hpsvid.common.series import runs, spaced_times
from hpsvid.motion.carried import OverPlane, over_plane
from hpsvid.motion.feet import contact_points, contacts, feet_over_ground, standing_heights
from hpsvid.motion.travel import Steps, camera_way, weighted_median
from hpsvid.motion.upright import LEVEL, balance_cue, body_axes, forward_of, fused, tangents
from hpsvid.motion.verticals import with_lines
from hpsvid.options import Options
from hpsvid.types import Array, Person, World
from hpsvid.video.egomotion import CameraTurn
from hpsvid.video.flow import flow_within
from hpsvid.video.lines import lines_within

ROUNDS = 3  # of up, contacts, ground
LOWEST_SHARE = 0.1  # of the frames, in which the lower foot stands where no contact is seen
# A standing foot's place errs along the view: from one stance to the next, and from one person to
# another, whose size is guessed; as shares of the distance. Its height errs by that and HEIGHT_M.
STANCE_DEPTH, PERSON_DEPTH, HEIGHT_M = 0.03, 0.08, 0.03
SEEN_SHARE = 0.95  # of frames with the background followed; fewer are worth a word
SLOPE_DEG = 2.0  # by which ground that people stand on is not level
# By how much more people may sway where the camera turns as the background has it: rendered takes
# (tools.tables.world, seeds 0-33) whose turning is about right have up to 6, one that is lost 67.
TOPPLES_DEG = 15.0
STANCE_S = 0.15  # a contact that is briefer is no stance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feet:
    """One person's contact points, as seen from the shot's first frame."""

    points: Array  # (T, 4, 3) m, axes of the first frame's camera
    joints: Array  # (V, 29, 3) m of the valid frames, the same
    pelvis: Array  # (T, 3) m, the same
    times: Array  # (T,) s
    camera: Array  # (3,) or (T, 3) m, where it is


def find_world(
    people: Sequence[Person], body: Body, pts_s: Array, turn: CameraTurn, options: Options
) -> World:
    """The ground that these people stand on, each shot's by its own people.

    pts_s: (F,) s of the clip's frames. Of several shots, up and what it is made from are the first
    one's.
    """
    starts = sorted({person.track.shot_start for person in people})
    R, t = np.tile(np.eye(3), (len(pts_s), 1, 1)), np.zeros((len(pts_s), 3))
    shots = []
    for start, end in zip(starts, [*starts[1:], len(pts_s)], strict=True):
        of_shot = [person for person in people if person.track.shot_start == start]
        begin = 0 if not shots else start
        shots.append(_ground(of_shot, body, pts_s, _of_shot(turn, start, end), options))
        axes = axes_of(shots[-1].up)
        R[begin:end] = axes @ shots[-1].turns[begin:end]
        t[begin:end] = shots[-1].camera + shots[-1].way[begin:end] @ axes.T
    first = shots[0]
    return World(up=first.up, up_sigma_deg=first.sigma_deg, R=R, t=t, made_from=first.made_from)


def _of_shot(turn: CameraTurn, start: int, end: int) -> CameraTurn:
    """The turning with what these frames show; of a camera that travels, lines of the first only.

    What it turns is less sure then, and what is near goes across the picture.
    """
    lines = lines_within(turn.lines, start, end)
    if turn.parallax and len(lines.frame):
        first = int(lines.frame.min())
        lines = lines_within(lines, first, first + 1)
    return replace(turn, lines=lines, flow=flow_within(turn.flow, start, end))


def _camera_words(turn: CameraTurn, over: OverPlane | None) -> str:
    """What there is to say of a camera that moves."""
    if turn.stands:
        return ""
    if turn.lost:
        return "; the camera's turning is not known, it is taken as not turning"
    lost = "" if turn.seen > SEEN_SHARE else f", lost in {1 - turn.seen:.0%} of the frames"
    told = "feet that stand" if over is None else "the ground's flow"
    way = f", its way from {told}" if turn.parallax else ""
    return "; the camera's turning from the background" + lost + way


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ground:
    """The ground of one shot, from the axes of its first frame's camera."""

    up: Array  # (3,)
    sigma_deg: float
    made_from: str
    camera: Array  # (3,) m, its place in the world in the shot's first frame
    way: Array  # (F, 3) m, where it goes from there, axes of that frame's camera
    turns: Array  # (F, 3, 3), from each frame's axes to these


def _ground(
    people: Sequence[Person], body: Body, pts_s: Array, turn: CameraTurn, options: Options
) -> _Ground:
    offsets = standing_heights(body)
    seen = [_feet(person, body, pts_s, turn.turns) for person in people]
    up, sigma, made_from = _direction(seen, offsets, turn, options)
    over = over_plane(turn.flow, turn.turns, up, np.deg2rad(max(sigma, SLOPE_DEG)))
    if over is not None and over.travels:
        turn = replace(turn, turns=over.turns, parallax=True)
        seen = [_feet(person, body, pts_s, turn.turns) for person in people]
        up, sigma, made_from = _direction(seen, offsets, turn, options)
        if options.up != "camera" and options.pitch is None and options.roll is None:
            up, radians = over.levelled(up, np.deg2rad(sigma))
            sigma, made_from = float(np.rad2deg(radians)), made_from + ", the ground's slope"
    else:
        over = None
        if _topples(people, turn):
            turn = _not_turning(turn)
            seen = [_feet(person, body, pts_s, turn.turns) for person in people]
            up, sigma, made_from = _direction(seen, offsets, turn, options)
    way = np.zeros((len(pts_s), 3))
    if turn.parallax:
        way = _way(people, [_low(feet, offsets, up) for feet in seen], (up, over), pts_s)
        seen = [_moved(feet, way[person.track.frame_index])
                for feet, person in zip(seen, people, strict=True)]  # fmt: skip
    R = axes_of(up)
    floor = _floor(seen, R, offsets, np.deg2rad(sigma))
    first = min(people, key=lambda person: int(person.track.frame_index[0]))
    begin = first.track.frame_index[0]
    origin = R @ (turn.turns[begin] @ first.joints[0, 0].astype(np.float64) + way[begin])
    camera = -np.array([origin[0], floor, origin[2]])
    return _Ground(
        up=up, sigma_deg=sigma, made_from=made_from + _camera_words(turn, over), camera=camera,
        way=way, turns=turn.turns,
    )  # fmt: skip


def _topples(people: Sequence[Person], turn: CameraTurn) -> bool:
    """Whether people would topple if the camera turned so, who are as upright all along without."""
    if turn.stands:
        return False
    more = [
        _sway((axes[:, None] @ turn.turns[at].mT)[:, 0]) - _sway(axes)
        for person in people
        if len(axes := body_axes(person.joints[person.valid].astype(np.float64)))
        for at in (person.track.frame_index[person.valid],)
    ]
    return bool(more) and float(np.median(more)) > TOPPLES_DEG


def _sway(axes: Array) -> float:
    """How far directions (V, 3) are from their middle, degrees, in the median."""
    middle = np.median(axes, 0)
    cosine = axes @ middle / np.linalg.norm(middle).clip(1e-9)
    return float(np.rad2deg(np.arccos(np.clip(np.median(cosine), -1, 1))))


def _not_turning(turn: CameraTurn) -> CameraTurn:
    """The camera with its turning not known; of the lines, those of the first frame are left."""
    lines = turn.lines
    if len(lines.frame):
        first = int(lines.frame.min())
        lines = lines_within(lines, first, first + 1)
    return replace(turn, turns=np.tile(np.eye(3), (len(turn.turns), 1, 1)), lines=lines, lost=True)


def _low(feet: Feet, offsets: Array, up: Array) -> Feet:
    """The feet, their points less their standing heights `offsets` (4,) m."""
    return replace(feet, points=feet.points - offsets[:, None] * up)


def _way(
    people: Sequence[Person], seen: Sequence[Feet], told: tuple[Array, OverPlane | None],
    pts_s: Array,
) -> Array:  # fmt: skip
    """Where the camera of a shot with these people goes, (F, 3) m, axes of its first frame.

    seen: their feet, as `_low` has them; told: up, and what the ground says.
    """
    frames = [person.track.frame_index for person in people]
    first, last = min(at[0] for at in frames), max(at[-1] for at in frames)
    steps = [
        Steps(frames=at - first, points=feet.points, pelvis=feet.pelvis, valid=person.valid)
        for person, feet, at in zip(people, seen, frames, strict=True)
    ]
    up, over = told
    if over is not None:
        over = over.within(int(first), int(last) + 1)
    way = np.zeros((len(pts_s), 3))
    way[first : last + 1] = camera_way(steps, up, pts_s[first : last + 1], over)
    way[last + 1 :] = way[last]
    return way


def _moved(feet: Feet, way: Array) -> Feet:
    """The feet before a camera that goes this way (T, 3) m."""
    moved = feet.points + way[:, None]
    return replace(feet, points=moved, pelvis=feet.pelvis + way, camera=way)


def with_contacts(person: Person, body: Body, world: World, pts_s: Array) -> Person:
    """The person with the probabilities that heels and balls touch the ground."""
    at = person.track.frame_index
    points = feet_over_ground(person.body, world, at, body)
    pelvis = to_world(person.joints[:, :1], world, at)[:, 0]
    return replace(person, contacts=contacts(points, pelvis, world.t[at], pts_s[at]))


def axes_of(up: Array) -> Array:
    """Rotation (3, 3) from camera axes to the world's: y up, the camera's view along -z."""
    back = -forward_of(up)
    return np.stack([np.cross(up, back), up, back])


def up_of(pitch: float, roll: float) -> Array:
    """Up (3,) in camera axes of a camera that looks down by `pitch`, turned clockwise by `roll`."""
    flat = np.cos(pitch)
    return np.array([-np.sin(roll) * flat, -np.cos(roll) * flat, -np.sin(pitch)])


def pitch_and_roll(up: Array) -> tuple[float, float]:
    """The inverse of `up_of`, rad."""
    return float(np.arcsin(np.clip(-up[2], -1, 1))), float(np.arctan2(-up[0], -up[1]))


def _feet(person: Person, body: Body, pts_s: Array, turns: Array) -> Feet:
    at = person.track.frame_index
    joints = person.joints.astype(np.float64) @ turns[at].mT
    return Feet(
        points=contact_points(body, person.body) @ turns[at].mT,
        joints=joints[person.valid],
        pelvis=joints[:, 0],
        times=pts_s[at],
        camera=np.zeros(3),
    )


def _direction(
    seen: Sequence[Feet], offsets: Array, turn: CameraTurn, options: Options
) -> tuple[Array, float, str]:
    """Up (3,) in the first camera's axes, its standard deviation in degrees, what says so."""
    if options.up == "camera":
        up, sigma, made_from = LEVEL, 0.0, "the camera taken as level"
    else:
        up, sigma, made_from = _found(seen, offsets, turn)
    if options.pitch is None and options.roll is None:
        return up, sigma, made_from
    pitch, roll = pitch_and_roll(up)
    pitch = pitch if options.pitch is None else np.deg2rad(options.pitch)
    roll = roll if options.roll is None else np.deg2rad(options.roll)
    if options.pitch is not None and options.roll is not None:
        return up_of(pitch, roll), 0.0, "--pitch and --roll"
    return up_of(pitch, roll), sigma, made_from + ", and as given"


def _found(seen: Sequence[Feet], offsets: Array, turn: CameraTurn) -> tuple[Array, float, str]:
    """Up (3,), its standard deviation in degrees and what says so, from all there is."""
    up = LEVEL
    made_from: dict[str, None] = {}
    for _ in range(ROUNDS):
        stand = [cue for feet in seen if (cue := balance_cue(feet.joints, up)) is not None]
        made_from = {cue.made_from: None for cue in stand}
        up, information = fused(stand)
        if turn.parallax:  # before a camera that travels feet stand nowhere yet
            continue
        plane, pull = _plane(seen, offsets, up)
        if np.trace(plane) > np.trace(information) / 4:
            made_from |= {"the ground under their feet": None}
        information = information + plane
        up = up + np.linalg.solve(information, pull) @ tangents(up)
        up /= np.linalg.norm(up)
    before = np.trace(np.linalg.inv(information))
    up, information = with_lines(up, information, turn.lines)
    if np.trace(np.linalg.inv(information)) < before / 2:
        made_from |= {"upright lines of the scene": None}
    sigma = np.rad2deg(np.sqrt(np.trace(np.linalg.inv(information))))
    return up, float(sigma), ", ".join(made_from) or "nothing: nobody stands"


def _plane(seen: Sequence[Feet], offsets: Array, up: Array) -> tuple[Array, Array]:
    """What standing feet say of the ground's slope: information (2, 2) and pull (2,), 1/rad^2.

    Feet that stand on one spot say nothing: there is nothing between them to slope.
    """
    matrix, pull = np.zeros((2, 2)), np.zeros(2)
    R = axes_of(up)
    middles = []
    for feet in seen:
        stances = _stances(feet, R, offsets)
        if stances:
            _add_slope(matrix, pull, np.stack(stances), up, STANCE_DEPTH)
            middles.append(np.mean(stances, 0))
    if len(middles) > 1:
        _add_slope(matrix, pull, np.stack(middles), up, PERSON_DEPTH)
    return matrix, pull


def _add_slope(matrix: Array, pull: Array, places: Array, up: Array, depth_share: float) -> None:
    """Add the squares of the places' heights (N, 3) about their mean; depth_share: of distance."""
    sigma = HEIGHT_M + depth_share * np.abs(places @ up)
    weight = 1 / sigma**2
    place = places - np.average(places, 0, weight)
    height, along = place @ up, place @ tangents(up).T
    weight = weight / (1 + (height / sigma) ** 2 / 9) ** 2
    matrix += (along * weight[:, None]).T @ along
    pull -= along.T @ (weight * height)


def _stances(feet: Feet, R: Array, offsets: Array) -> list[Array]:
    """Where foot points stand, (3,) m each, in the first camera's axes; R: to the world's."""
    points, touch, _ = _touching(feet, R, offsets)
    times = spaced_times(feet.times)
    found = []
    for i in range(touch.shape[1]):
        for stance in runs(touch[:, i] > 0.5):
            if np.ptp(times[stance]) >= STANCE_S:
                found.append(points[stance, i].mean(0) @ R)
    return found


def _touching(feet: Feet, R: Array, offsets: Array) -> tuple[Array, Array, Array]:
    """Contact points (T, 4, 3) m in R's axes, less their standing heights `offsets` (4,) m.

    Also how likely each touches the ground (T, 4), and the camera's place (T, 1, 3) or (1, 1, 3) m.
    """
    points, pelvis, camera = (of @ R.T for of in (feet.points, feet.pelvis, feet.camera))
    points[..., 1] -= offsets
    return points, contacts(points, pelvis, camera, feet.times), camera.reshape(-1, 1, 3)


def _floor(seen: Sequence[Feet], R: Array, offsets: Array, tilt: float) -> float:
    """The ground's height, m, in R's axes: the weighted median of the points that touch it.

    tilt: rad by which up may be off. A point's weight is its probability of contact over the
    variance of its height, which grows with the distance, by the person's size and by the tilt.
    """
    heights, weights, lows = [], [], []
    for feet in seen:
        points, touch, camera = _touching(feet, R, offsets)
        lows.append(points[..., 1].min(1))
        heights.append(points[..., 1].ravel())
        away = points - camera
        error = HEIGHT_M + PERSON_DEPTH * np.abs(away[..., 1])
        error = np.hypot(error, tilt * np.linalg.norm(away, axis=-1))
        weights.append((np.where(touch > 0.5, touch, 0) / error**2).ravel())
    height, weight = np.concatenate(heights), np.concatenate(weights)
    if not weight.any():  # nobody stands
        return float(np.quantile(np.concatenate(lows), LOWEST_SHARE))
    return weighted_median(height, weight)
