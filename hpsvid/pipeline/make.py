"""The only file that strings the stages together: video -> Motion.

Pass 1 decodes, detects and tracks; pass 2 decodes again and observes the tracked people; then
each track is smoothed, solved and placed. Pixels are held a chunk at a time.
"""

from functools import partial

import hpsvid
from hpsvid.body.keypoints import People2D
from hpsvid.body.model import Body
from hpsvid.common.threads import one_thread
from hpsvid.common.weights import imported_source, shipped_hashes
from hpsvid.edit import select_tracks
from hpsvid.errors import NoPersonError
from hpsvid.ik import Solver
from hpsvid.motion.ground import on_ground
from hpsvid.motion.world import find_world
from hpsvid.official.hybrik_evidence import check_official
from hpsvid.official.niki_network import OFFICIAL
from hpsvid.options import Options
from hpsvid.pipeline.stages import (
    Context,
    StageClock,
    detector_of,
    find_people,
    load_backbone,
    load_chosen_solver,
    make_context,
    observe_people,
    solve_track,
    trim,
    with_turn,
)
from hpsvid.pipeline.store import Store, run_key
from hpsvid.tracking import Detector
from hpsvid.types import Clip, Motion, Observations, Provenance, Source, Track
from hpsvid.video.egomotion import BackgroundWatch


@one_thread()
def make_motion(
    clip: Clip, body: Body, options: Options, clock: StageClock, store: Store | None = None,
    people: People2D | None = None,
) -> Motion:  # fmt: skip
    """Every person of the clip as a smooth track.

    store: what the run keeps, and takes from a run that was killed; None keeps nothing. people:
    whom another program found, in place of the detector and of the landmark network's 2D.
    Raises InputError when the clip cannot be read to its end or the store cannot be written,
    NoPersonError when nobody is in it, WeightsError when a network's file is missing or damaged.
    """
    context = make_context(clip, body, options, clock, store, people)
    check_official(body, options)
    store = context.store
    detector = detector_of(context)
    solver = load_chosen_solver(body, options)
    store.open(run_key(clip, body, options, [detector.provenance]))
    watch = BackgroundWatch(clip.width, clip.height)
    tracks, pts_s, steps = store.tracks(
        lambda: (*find_people(clip, store.detector(detector), clock, watch), watch.steps())
    )
    context, turn = with_turn(context, steps)
    seen, source = _observe_chosen(tracks, context)
    if not seen:
        raise NoPersonError(_nobody(clip, len(pts_s), options))
    solved = [
        store.person(
            clip, pts_s, context.camera, track.id,
            partial(solve_track, track, obs, pts_s, solver, context),
        )
        for track, obs in seen
    ]  # fmt: skip
    with clock.stage("ground", len(pts_s)):
        world = find_world(solved, body, pts_s, turn, options)
        solved = on_ground(solved, body, context.camera, world, pts_s, options)
    return Motion(
        clip=clip,
        pts_s=pts_s,
        camera=context.camera,
        people=tuple(solved),
        provenance=provenance(detector, source, solver, body, options),
        world=world,
    )


def _observe_chosen(
    tracks: list[Track], context: Context
) -> tuple[list[tuple[Track, Observations]], Source]:
    """The tracks that the options ask for, with what the backbone sees of them, and which it is.

    The backbone itself, with all that it saw, is let go. Tracks in which it hardly sees a person
    are left out. With --max-people the next ones take their places, and all are observed again,
    because the backbone compares them.
    """
    options, store = context.options, context.store
    left, tries = tracks, 0
    while left:
        chosen = select_tracks(left, person=options.person, max_people=options.max_people)
        backbone = load_backbone(chosen, context)
        observe = partial(observe_people, chosen, store.backbone(backbone, tries), context)
        pairs = zip(chosen, store.observations(tries, observe), strict=True)
        trimmed = [(track, trim(track, obs, float(context.clip.fps))) for track, obs in pairs]
        false_alarms = {track.id for track, part in trimmed if part is None}
        if not false_alarms or len(chosen) == len(left) or options.person is not None:
            return [part for _, part in trimmed if part is not None], backbone.provenance
        left = [track for track in left if track.id not in false_alarms]
        tries += 1
    return [], {}


def provenance(
    detector: Detector, backbone: Source, solver: Solver, body: Body, options: Options
) -> Provenance:
    """What a motion is made with."""
    return Provenance(
        hpsvid_version=hpsvid.__version__,
        detector=detector.provenance,
        backbone=backbone,
        lifter=options.lifter_in_use if options.lifts else None,
        solver=solver.name,
        weights=_hashes(solver, options),
        body={"name": body.name, "sha256": body.sha256},
        seed=0,  # nothing in the pipeline is random
    )


def _nobody(clip: Clip, frames: int, options: Options) -> str:
    asked = "" if options.person is None else f" with --person {options.person}"
    return (
        f"{clip.path}: no person found{asked} in {frames} frames of {clip.width}x{clip.height} "
        "px; expected at least one person of about 40 px height or more"
    )


def _hashes(solver: Solver, options: Options) -> dict[str, str]:
    """The sha256 of the weights of lifter and solver; of the authors', that of their file."""
    learned = options.lifter_in_use == "learned" and options.lifts
    lifter = "lifter" if learned else ""
    if options.weights == "official":
        name = OFFICIAL[solver.name]
        return shipped_hashes(lifter) | {name: imported_source(name)["sha256"]}
    return shipped_hashes(lifter, solver.name.replace("-", "_"))
