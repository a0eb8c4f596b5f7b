"""Render the clips in `samples/` and their exact truth: `python -m tools.people.render_samples`.

Needs the motion capture of the shared data (CMU's, free for all uses) and MakeHuman's clothes (see
`assets`); everything else is computed. Each picture is drawn from the very parameters that the
truth holds, so they agree. Two runs give the same bytes.
"""

import argparse
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import torch

from hpsvid import __version__
from hpsvid.body.model import Body
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
from tools.people.assets import find_assets
from tools.people.character import Character, Wardrobe
from tools.people.film import lit_layer, over, owners_of
from tools.people.lighting import lit_room
from tools.people.room import SUPERSAMPLE, Room, View, draw_room
from tools.people.sample_scripts import FPS, SCRIPTS, SIZE, Script
from tools.people.shading import TWO_SAMPLES, sampled, sunlight
from tools.people.shadow import floor_shadow
from tools.people.surface import Surface, join

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_RATE = 48_000  # Hz
SHADOW_SIDE = 2560  # px of the sun's picture: 3 mm each
SEEN = 0.5  # share of a person above which the truth says "detected"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A rendered frame and whose samples are whose."""

    rgb: Array  # (H, W, 3) uint8
    owner: (
        Array  # (P, H * S, W * S) int16, whom each subpixel's samples show, people first; -1: room
    )
    visible: Array  # (A,) share of each person's silhouette that is seen; 0 when out of view


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
        capture = reshape(capture, actor.outfit.betas, body)
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
    script: Script,
    room: Room,
    characters: list[Character],
    people: list[BodyParams],
    index: int,
) -> Picture:
    """Draw one frame from the truth's own parameters; `people` are the first things drawn.

    people: each actor's parameters in frame `index` (T = 1), camera axes. Drawn on a grid of
    SUPERSAMPLE x SUPERSAMPLE subpixels, each seen by several samples.
    """
    view = script.view(index)
    props = script.props(index)
    bodies = [
        (character.body.vertices_of(person)[0].astype(float) - view.translation) @ view.rotation
        for character, person in zip(characters, people, strict=True)
    ]
    points = [*bodies, *(prop.vertices for prop in props)]
    surfaces = [*(character.surface for character in characters), *(p.surface for p in props)]
    surface, owner = join(surfaces, [len(vertices) for vertices in points])
    dark = floor_shadow(
        [(vertices, own.faces) for vertices, own in zip(points, surfaces, strict=True)],
        room,
        script.light,
    )
    fine = _finer(view)
    lighting = lit_room(script.interior, script.light)
    world = np.concatenate(points)
    sun = sunlight(world, surface, lighting, (view.rotation, view.translation), SHADOW_SIDE)
    layer = lit_layer(_poses(world, fine), surface, fine, lighting, sun)
    whole = over(draw_room(room, view, script.light, dark), layer)
    small = cv2.resize(whole, SIZE, interpolation=cv2.INTER_AREA)
    seen = np.bincount(owner[layer.faces[layer.faces >= 0]], minlength=len(surfaces))
    alone = [
        silhouette(body, character.surface, fine).sum()
        for body, character in zip(bodies, characters, strict=True)
    ]
    return Picture(
        rgb=np.round(small.clip(0, 255)).astype(np.uint8),
        owner=owners_of(layer.faces[0], owner),
        visible=seen[: len(bodies)] / np.maximum(alone, 1),
    )


def _finer(view: View) -> View:
    """The same view on the grid of subpixels."""
    K = np.diag([SUPERSAMPLE, SUPERSAMPLE, 1.0]) @ view.K
    return replace(view, K=K, width=view.width * SUPERSAMPLE, height=view.height * SUPERSAMPLE)


def _poses(world: Array, view: View) -> list[Array]:
    """World points (V, 3) m in camera axes, for each of TWO_SAMPLES."""
    return [world @ view.rotation.T + view.translation] * len(TWO_SAMPLES)


def silhouette(world: Array, surface: Surface, view: View) -> Array:
    """Whether the samples (P, H, W) of a view see a surface that stands alone; world: (V, 3) m."""
    _, faces, _ = sampled(_poses(world, view), surface, view.K, (view.width, view.height))
    return faces >= 0


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
    """The clip's Motion; boxes: (F, P, 4) px; visible: (F, P) share of the person that is seen.

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


def render(script: Script, wardrobe: Wardrobe, mocap: Path, out: Path) -> None:
    """Write `<name>.mp4` and `<name>.npz` of a script into the folder `out`."""
    body = wardrobe.body
    people = cast(script, body, mocap)
    characters = [wardrobe.make(actor.outfit) for actor in script.actors]
    room = script.room()
    boxes = np.zeros((script.frames, len(people), 4), np.float32)
    visible = np.zeros((script.frames, len(people)))

    def frames() -> Iterator[Array]:
        for index in range(script.frames):
            now = [frame_of(person, index) for person in people]
            picture = draw_frame(script, room, characters, now, index)
            for number, person in enumerate(now):
                bare = body.vertices_of(person)[0]
                boxes[index, number], inside = _framed(bare, script.view(index))
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
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    wardrobe = Wardrobe(find_assets())
    for name in args.names or known:
        render(known[name], wardrobe, args.mocap, args.out)
        print(f"{name}: {(args.out / name).with_suffix('.mp4').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
