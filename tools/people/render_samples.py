"""Render the clips in `samples/` and their exact truth: `python -m tools.people.render_samples`.

Needs the motion capture of the shared data (CMU's, free for all uses); everything else is
computed. Each picture is drawn from the very parameters that the truth holds, so they agree. Two
runs give the same bytes.
"""

import argparse
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch

from hpsvid import __version__
from hpsvid.body.model import Body, load_body
from hpsvid.body.skeleton import JOINT
from hpsvid.common.geometry import project
from hpsvid.common.weights import file_sha256, weights_path
from hpsvid.formats.npz import write_motion
from hpsvid.mocap.amass import MotionCapture, read_mocap, seen_by_camera
from hpsvid.types import (
    N_JOINTS,
    Array,
    BodyParams,
    Camera,
    Clip,
    Motion,
    Person,
    Provenance,
    Track,
)
from tools.people.room import Light, Room, View, look_at, make_room
from tools.people.scene import Mesh, Picture, box_mesh, draw, dress, person_mesh

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1280, 720)  # px
FPS = 30  # Hz, as the motion capture
SAMPLE_RATE = 48_000  # Hz
SEEN = 0.5  # share of a body above which the truth says "detected"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """One person: a stretch of motion capture, a shape, a suit and a place in the room."""

    capture: str  # below the motion capture folder, without suffix
    start: int  # first frame of the capture
    betas: tuple[float, ...]  # (16,), limbs as long as people have them
    suit: dict[str, tuple[int, int, int]]  # arguments of `dress`, sRGB
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
    room: Callable[[], Room]
    view: Callable[[int], View]  # by frame index
    props: Callable[[int], list[Mesh]]  # by frame index
    chord_hz: tuple[float, ...]  # the soft tones under the footsteps


def _studio_room() -> Room:
    return make_room(np.array([-3.8, 0, -5.5]), np.array([3.8, 3.1, 3.4]), seed=3)


def _studio_view(index: int) -> View:
    return look_at(
        np.array([0.25, 1.45, -4.6]), np.array([0.0, 0.86, 0.0]), focal_px=1330, size=SIZE
    )


def _studio_props(index: int) -> list[Mesh]:
    """Two crates and a bench at the wall."""
    return [
        box_mesh((2.3, 0.3, 2.9), (0.9, 0.6, 0.6), 12, (150, 120, 84)),
        box_mesh((2.2, 0.8, 2.9), (0.5, 0.4, 0.4), -8, (92, 116, 124)),
        box_mesh((-2.2, 0.22, 2.9), (1.6, 0.44, 0.4), 3, (70, 74, 82)),
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


def _two_props(index: int) -> list[Mesh]:
    """A cupboard at the wall, and a pillar on castors that slides through the foreground."""
    x = 1.95 - 1.55 * (index - 62) / FPS
    return [
        box_mesh((-2.9, 0.55, 3.0), (1.2, 1.1, 0.6), 0, (168, 160, 146)),
        box_mesh((x, 0.95, -1.5), (0.3, 1.9, 0.3), 20, (146, 152, 138)),
    ]


SCRIPTS = (
    Script(
        name="studio_walk",
        frames=204,
        actors=(
            Actor(
                capture="cmu_cyun/01_04",
                start=471,
                betas=(0.4, 0.2, -0.3, 0.5, 0, 0.2, 0, 0, 0, 0, 1.9, 0.1, 0.4, 0.3, -1.2, 0.8),
                suit={
                    "jersey": (186, 62, 52), "trousers": (48, 58, 92), "shoes": (232, 232, 228),
                    "skin": (205, 162, 134), "hair": (60, 42, 32),
                },
                place=(0.0, 0.1),
                yaw_deg=0,
            ),
        ),
        light=Light(towards=np.array([-0.5, 1.0, -0.7]), key=0.6, fill=0.5),
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
                betas=(-0.8, 1.3, 0.4, -0.6, 0.3, 0, 0, 0, 0, 0, 1.1, 0.6, 0.1, 0.9, -0.7, 1.3),
                suit={
                    "jersey": (214, 178, 70), "trousers": (66, 62, 58), "shoes": (140, 60, 48),
                    "skin": (128, 88, 64), "hair": (30, 26, 24),
                },
                place=(0.2, 1.1),
                yaw_deg=125,
            ),
            Actor(
                capture="cmu_expmap8/train_walking_44",
                start=0,
                betas=(0.8, -0.9, 0.6, 0.4, 0, -0.3, 0, 0, 0, 0, 1.6, -0.1, -0.4, -0.5, -1.5, 0.6),
                suit={
                    "jersey": (70, 132, 150), "trousers": (196, 190, 180), "shoes": (40, 42, 50),
                    "skin": (226, 184, 158), "hair": (122, 84, 48),
                },
                place=(0.02, -1.2),
                yaw_deg=90,
                enter=6,
            ),
        ),
        light=Light(towards=np.array([0.6, 1.0, -0.6]), key=0.55, fill=0.55),
        room=_two_room,
        view=_two_view,
        props=_two_props,
        chord_hz=(98.0, 146.8, 196.0, 246.9),
    ),
)  # fmt: skip


# ---------------------------------------------------------------------------------- the truth


def cast(script: Script, body: Body, mocap: Path) -> list[BodyParams]:
    """Each actor's exact parameters in the camera axes of every frame.

    mocap: folder that holds the sets named in `Actor.capture`.
    """
    views = [script.view(index) for index in range(script.frames)]
    turn = np.stack([view.rotation for view in views])
    shift = np.stack([view.translation for view in views])
    people = []
    for actor in script.actors:
        whole = read_mocap(mocap / f"{actor.capture}.npz", body)[0]
        part = np.arange(script.frames) - actor.enter + actor.start
        part = part.clip(actor.start, len(whole) - 1)
        capture = replace(whole, rotmats=whole.rotmats[part], transl=whole.transl[part])
        capture = reshape(capture, np.array(actor.betas, np.float32), body)
        pelvis = body.joints_of(_params(capture))[:, JOINT["pelvis"]]
        middle = (pelvis.min(0) + pelvis.max(0)) / 2
        yaw = np.radians(actor.yaw_deg)
        cos, sin = np.cos(yaw), np.sin(yaw)
        onto = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        to = np.array([actor.place[0], 0, actor.place[1]]) - onto @ (middle * [1, 0, 1])
        people.append(seen_by_camera(capture, turn @ onto, turn @ to + shift, body))
    return people


def reshape(capture: MotionCapture, betas: Array, body: Body) -> MotionCapture:
    """The same motion by a person of another shape, whose soles touch the floor y = 0.

    Steps grow with the legs, so feet that stood still still do. The floor is the 5th percentile
    of the lowest vertex's height, as in the data's own making.
    """
    old, new = (body.rest_joints(torch.from_numpy(b)).numpy() for b in (capture.betas, betas))
    hip, ankle = JOINT["left_hip"], JOINT["left_ankle"]
    ratio = (new[hip, 1] - new[ankle, 1]) / (old[hip, 1] - old[ankle, 1])
    pelvis = (old[0] + capture.transl) * ratio
    moved = replace(capture, betas=betas, transl=pelvis - new[0])
    lowest = np.concatenate(
        [body.vertices_of(_params(part))[..., 1].min(-1) for part in _chunks(moved)]
    )
    floor = np.array([0, np.percentile(lowest, 5), 0])
    return replace(moved, transl=(moved.transl - floor).astype(np.float32))


def _chunks(motion: MotionCapture, size: int = 16) -> Iterator[MotionCapture]:
    """Short stretches of a motion, so that its vertices never lie in memory all at once."""
    for start in range(0, len(motion), size):
        part = slice(start, start + size)
        yield replace(motion, rotmats=motion.rotmats[part], transl=motion.transl[part])


def _params(capture: MotionCapture) -> BodyParams:
    return BodyParams(rotmats=capture.rotmats, betas=capture.betas, transl=capture.transl)


def draw_frame(
    script: Script, room: Room, body: Body, people: list[BodyParams], index: int
) -> tuple[Picture, list[Array]]:
    """Draw one frame from the truth's own parameters; `people` are the first meshes drawn.

    people: each actor's parameters in frame `index` (T = 1), camera axes. Returns the picture
    and each person's vertices (V, 3) m in camera axes.
    """
    view = script.view(index)
    surfaces = [body.vertices_of(person)[0] for person in people]
    meshes = [
        person_mesh(body, (surface - view.translation) @ view.rotation, dress(body, **actor.suit))
        for surface, actor in zip(surfaces, script.actors, strict=True)
    ]
    return draw(room, view, script.light, meshes + script.props(index)), surfaces


def frame_of(params: BodyParams, index: int) -> BodyParams:
    """One frame of a motion, T = 1."""
    part = slice(index, index + 1)
    return replace(params, rotmats=params.rotmats[part], transl=params.transl[part])


def _framed(surface: Array, view: View) -> tuple[Array, float]:
    """Box x0 y0 x1 y1 (4,) px around camera points (V, 3), cut at the picture's edges, and the
    share of the points that lie inside the picture.
    """
    image = project(torch.from_numpy(surface), torch.from_numpy(view.K).float()).numpy()
    edge = np.array([view.width, view.height])
    box = np.concatenate([image.min(0).clip(0, edge), image.max(0).clip(0, edge)])
    return box.astype(np.float32), float(((image > 0) & (image < edge)).all(1).mean())


def truth_of(
    script: Script, body: Body, people: list[BodyParams], boxes: Array, visible: Array
) -> Motion:
    """The clip's Motion; boxes: (F, P, 4) px; visible: (F, P) share of the body that is seen.

    A person's track runs from the first to the last frame with any part in the picture; scores
    hold the share seen.
    """
    K = script.view(0).K
    persons = []
    for number, params in enumerate(people):
        present = np.flatnonzero(np.prod(boxes[:, number, 2:] - boxes[:, number, :2], -1) > 0)
        part = slice(int(present[0]), int(present[-1]) + 1)
        own = replace(params, rotmats=params.rotmats[part], transl=params.transl[part])
        joints = body.joints_of(own)
        n = len(joints)
        persons.append(
            Person(
                track=Track(
                    id=number,
                    frame_index=np.arange(part.start, part.stop),
                    boxes=boxes[part, number],
                    scores=visible[part, number].astype(np.float32),
                    detected=visible[part, number] >= SEEN,
                ),
                body=own,
                joints=joints,
                joints2d=project(torch.from_numpy(joints), torch.from_numpy(K).float()).numpy(),
                sigma=np.zeros(joints.shape[:2], np.float32),
                valid=np.ones(n, bool),
                reprojection_px=np.zeros(n, np.float32),
                evidence_error=np.zeros((n, N_JOINTS), np.float32),
            )
        )
    return Motion(
        clip=Clip(
            path=Path(f"{script.name}.mp4"),
            width=SIZE[0],
            height=SIZE[1],
            fps=Fraction(FPS),
            rotation=0,
            audio=True,
            frame_count=script.frames,
        ),
        pts_s=np.arange(script.frames) / FPS,
        camera=Camera(K=K, source="given"),
        people=tuple(persons),
        provenance=Provenance(
            other={
                "kind": "ground truth of a rendered clip",
                "renderer": "tools/people/render_samples.py",
                "body_sha256": file_sha256(weights_path("free_body")),
                "captures": [actor.capture for actor in script.actors],
                "version": __version__,
            }
        ),
    )


# ---------------------------------------------------------------------------------- the sound


def sound(script: Script, body: Body, people: list[BodyParams]) -> Array:
    """Soft footsteps where feet come down, over a quiet chord: (N,) int16 at SAMPLE_RATE."""
    rng = np.random.default_rng(len(script.name))
    n = script.frames * SAMPLE_RATE // FPS
    t = np.arange(n) / SAMPLE_RATE
    swell = np.sin(np.pi * t * SAMPLE_RATE / n).clip(0) ** 0.5
    tones = np.sin(2 * np.pi * np.outer(script.chord_hz, t)).mean(0)
    track = 0.05 * swell * tones
    fade = np.arange(int(0.16 * SAMPLE_RATE)) / SAMPLE_RATE
    for index in footfalls(script, body, people):
        hiss = np.convolve(rng.normal(size=len(fade)), np.ones(24) / 24, "same")
        thud = np.sin(2 * np.pi * 85 * fade) * np.exp(-fade / 0.03)
        step = 0.3 * thud + 0.5 * hiss * np.exp(-fade / 0.018)
        start = index * SAMPLE_RATE // FPS
        end = min(start + len(step), n)
        track[start:end] += step[: end - start]
    return np.round(track.clip(-1, 1) * 32767).astype(np.int16)


def footfalls(script: Script, body: Body, people: list[BodyParams]) -> list[int]:
    """Frames in which a foot comes down, of all people, in order."""
    views = [script.view(index) for index in range(script.frames)]
    turn = np.stack([view.rotation for view in views])
    shift = np.stack([view.translation for view in views])
    hits = []
    for params in people:
        world = np.einsum("tij,tni->tnj", turn, body.joints_of(params) - shift[:, None])
        for foot in ("left_foot", "right_foot"):
            height = world[:, JOINT[foot], 1]
            # 3 cm: above the noise of the capture, below any step
            down = height < np.percentile(height, 5) + 0.03
            hits += [int(i) + 1 for i in np.flatnonzero(~down[:-1] & down[1:])]
    return sorted(hits)


# ---------------------------------------------------------------------------------- the files


def encode(frames: Iterator[Array], audio: Array, path: Path) -> None:
    """Write H.264 and AAC into an mp4; one thread, so that the same frames give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        voice = Path(folder) / "audio.wav"
        with wave.open(str(voice), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(audio.tobytes())
        whole = Path(folder) / path.name
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", str(FPS),
            "-i", "-", "-i", str(voice),
            "-vf", "scale=out_color_matrix=bt709:out_range=tv",
            "-c:v", "libx264", "-preset", "slow", "-crf", "22", "-pix_fmt", "yuv420p",
            "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
            "-color_range", "tv", "-c:a", "aac", "-b:a", "64k", "-threads", "1",
            "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-flags:a", "+bitexact", "-movflags", "+faststart", str(whole),
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE) as ffmpeg:
            assert ffmpeg.stdin is not None
            for rgb in frames:
                ffmpeg.stdin.write(rgb.tobytes())
        if ffmpeg.returncode != 0:
            raise SystemExit(f"{path}: ffmpeg failed with exit code {ffmpeg.returncode}")
        path.write_bytes(whole.read_bytes())


def render(script: Script, body: Body, mocap: Path, out: Path) -> None:
    """Write `<name>.mp4` and `<name>.npz` of a script into the folder `out`."""
    people = cast(script, body, mocap)
    room = script.room()
    boxes = np.zeros((script.frames, len(people), 4), np.float32)
    visible = np.zeros((script.frames, len(people)))

    def frames() -> Iterator[Array]:
        for index in range(script.frames):
            now = [frame_of(person, index) for person in people]
            picture, surfaces = draw_frame(script, room, body, now, index)
            for number, surface in enumerate(surfaces):
                boxes[index, number], inside = _framed(surface, script.view(index))
                visible[index, number] = picture.visible[number] * inside
            yield picture.rgb

    encode(frames(), sound(script, body, people), out / f"{script.name}.mp4")
    write_motion(truth_of(script, body, people, boxes, visible), out / f"{script.name}.npz")


def main() -> None:
    """Render all samples, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="clips to render; all when none is named")
    parser.add_argument("--mocap", type=Path, default=ROOT.parent / "shared/data/mocap/free/train")
    parser.add_argument("--out", type=Path, default=ROOT / "samples")
    args = parser.parse_args()
    known = {script.name: script for script in SCRIPTS}
    if unknown := set(args.names) - known.keys():
        parser.error(f"{', '.join(sorted(unknown))}: unknown; known are {', '.join(known)}")
    if not args.mocap.is_dir():
        parser.error(f"{args.mocap}: not a folder; give the shared motion capture with --mocap")
    args.out.mkdir(parents=True, exist_ok=True)
    body = load_body(weights_path("free_body"))
    for name in args.names or known:
        render(known[name], body, args.mocap, args.out)
        print(f"{name}: {(args.out / name).with_suffix('.mp4').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
