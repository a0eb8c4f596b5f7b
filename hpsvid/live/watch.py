"""The running loop: networks, solver and drawing side by side, each on a frame of its own."""

import math
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from hpsvid.backbone.blazepose import Look
from hpsvid.backbone.crop import crop_around_box
from hpsvid.body.skeleton import SMPL
from hpsvid.common.geometry import project
from hpsvid.common.threads import Newest, ahead, one_thread
from hpsvid.errors import InputError
from hpsvid.live.capture import Shot, capturing
from hpsvid.live.look import Looker, Spot
from hpsvid.live.picture import Numbers, Picture, Show
from hpsvid.live.pose import Kept, Poser, Sight
from hpsvid.render import Renderer
from hpsvid.render.overlay import Overlay
from hpsvid.tracking.tracker import track_in_one_frame
from hpsvid.types import N_BETAS, N_LANDMARKS, Array, Frames, Motion

WAIT_S = 0.2  # between two looks at the clock while no frame comes
SLACK_S = 0.01  # how long the networks may be ready before the solver is
RECENT = 300  # frames that latency and rate are told of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """How it went."""

    numbers: Numbers
    kept: Sequence[Kept]  # what was seen
    broken: InputError | None  # why the source ended before its time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """What draws the people, and where the pictures go."""

    renderer: Renderer
    alpha: float
    show: Show


@one_thread()
def watch(
    shots: Generator[Shot],
    looker: Looker,
    poser: Poser,
    drawing: Drawing,
    *,
    seconds: float | None,
    keep: bool,
) -> Outcome:
    """Follow and show people until the source ends or breaks, `seconds` are over, or Ctrl-C.

    What was seen is kept only with `keep`; that list is all that grows.
    """
    _warm_up(looker, poser, drawing)
    kept: list[Kept] = []
    broken = None
    delays: deque[tuple[float, float, int]] = deque(maxlen=RECENT)  # end s, delay s, frames
    shown = 0
    end = math.inf if seconds is None else time.monotonic() + seconds
    stopped = threading.Event()

    def looked(newest: Newest[Shot]) -> Iterator[tuple[int, Shot, list[Spot]]]:
        last, delay = 0, 0.0
        while not stopped.wait(delay) and (left := end - time.monotonic()) > 0:
            last, shot = newest.after(last, min(left, WAIT_S))
            if shot is not None:
                spots = looker.look(shot.rgb, shot.index, shot.pts_s)
                ready = time.monotonic()
                yield last, shot, spots
                # what waited for the solver had better been taken that much later
                delay = max(0.0, delay + time.monotonic() - ready - SLACK_S)
            elif newest.closed:
                break

    with capturing(shots) as newest, ThreadPoolExecutor(2) as pool:
        posed = (
            (number, shot, poser.pose(spots, shot.pts_s))
            for number, shot, spots in ahead(looked(newest), pool)
        )
        try:
            for number, shot, sights in ahead(posed, pool):
                if keep:
                    kept.append((shot.pts_s, sights))
                rgb, now = _drawn(shot, sights, poser, drawing)
                numbers = _numbers(newest.count, shown, delays)
                going = drawing.show(Picture(rgb=rgb, motion=now, numbers=numbers))
                done = time.monotonic()
                delays.append((done, done - shot.captured_s, newest.count - number))
                shown += 1
                if not going:
                    break
        except InputError as error:
            broken = error
        except KeyboardInterrupt:
            pass
        finally:
            stopped.set()
    return Outcome(numbers=_numbers(newest.count, shown, delays), kept=kept, broken=broken)


def _drawn(
    shot: Shot, sights: Sequence[Sight], poser: Poser, drawing: Drawing
) -> tuple[Array, Motion]:
    """The frame with the people drawn over it, and their motion in this frame alone."""
    now = poser.as_motion([(shot.pts_s, sights)])
    frames = Frames(rgb=shot.rgb[None], index=np.array([0]), pts_s=now.pts_s)
    (rgb,) = Overlay(now, poser.body, drawing.renderer, alpha=drawing.alpha).draw(frames)
    return rgb, now


def _warm_up(looker: Looker, poser: Poser, drawing: Drawing) -> None:
    """Let everything run once on a black picture: libraries load and compile at their first call.

    Otherwise the first person would be shown a second late.
    """
    size = np.array([looker.clip.width, looker.clip.height])
    rgb = np.zeros((*size[::-1], 3), np.uint8)
    box = np.array([[0, 0, *size]], np.float32)
    looker.detector(Frames(rgb=rgb[None], index=np.array([0]), pts_s=np.zeros(1)))
    looker.network.follow(rgb, box, [None])
    rest, ahead_m = torch.eye(3).expand(SMPL.n_rotations, 3, 3), torch.tensor([0.0, 0, 3])
    points = poser.body.landmarks(rest, torch.zeros(N_BETAS), ahead_m)
    sure = np.ones(N_LANDMARKS, np.float32)
    look = Look(
        image=project(points, torch.from_numpy(poser.camera.K).float()).numpy(),
        world=(points - ahead_m).numpy(), visibility=sure, presence=sure, score=1.0,
        crop=crop_around_box(box[0]), inner=looker.network.blank_inner(),
    )  # fmt: skip
    nobody = track_in_one_frame(-1, 0, box[0])
    sights = poser.pose([Spot(track=nobody, look=look, shown=True)], 0.0)
    _drawn(Shot(rgb=rgb, index=0, pts_s=0.0, captured_s=0.0), sights, poser, drawing)


def _numbers(captured: int, shown: int, delays: deque[tuple[float, float, int]]) -> Numbers:
    ends, seconds, frames = np.array(delays or [(0.0, 0.0, 0)]).T
    lasted = ends[-1] - ends[0]
    return Numbers(
        captured=captured,
        shown=shown,
        dropped=captured - shown,
        fps=(len(ends) - 1) / lasted if lasted else 0.0,
        latency_ms=1000 * float(np.median(seconds)),
        latency_ms_95=1000 * float(np.percentile(seconds, 95)),
        latency_frames=float(np.median(frames)),
        latency_frames_max=int(frames.max()),
    )
