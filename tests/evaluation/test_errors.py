"""Saved motions against their truth, as `hpsvid eval` sees them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from hpsvid.body.model import Body
from hpsvid.body.skeleton import JOINT, LANDMARK, LIMB_LANDMARKS
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.evaluation.errors import Errors, compare, frames_shown, match
from hpsvid.evaluation.metrics import mpjpe, pa_mpjpe
from hpsvid.evaluation.results import evaluate_motions, solves_clips
from hpsvid.evaluation.tables import joint_table, per_joint, summary, table
from hpsvid.evaluation.truth import Truth, read_truth
from hpsvid.formats.npz import write_motion
from hpsvid.types import Motion, Person, Track
from tests.factories import SAMPLES, make_motion, make_person

FRAMES = 24


@pytest.fixture(scope="module")
def motion(body: Body) -> Motion:
    made = make_motion(body, people=2, frames=FRAMES, seed=3)
    names = {"name": body.name, "sha256": body.sha256}
    return replace(made, provenance=replace(made.provenance, body=names))


@pytest.fixture
def truth(motion: Motion, body: Body, tmp_path: Path) -> Truth:
    write_motion(motion, tmp_path / "scene.npz")
    (found,) = read_truth(tmp_path / "scene.npz", body)
    return found


def shifted(person: Person, body: Body, move: np.ndarray, person_id: int) -> Person:
    params = replace(person.body, transl=(person.body.transl + move).astype(np.float32))
    start = int(person.track.frame_index[0])
    return make_person(body, params, person_id=person_id, start=start)


def part(person: Person, which: slice, person_id: int) -> Person:
    values = {
        name: getattr(person, name)[which]
        for name in Person.__dataclass_fields__
        if name not in ("track", "body") and getattr(person, name) is not None
    }
    params = replace(
        person.body, rotmats=person.body.rotmats[which], transl=person.body.transl[which]
    )
    track = Track(
        id=person_id,
        frame_index=person.track.frame_index[which] // (which.step or 1),
        boxes=person.track.boxes[which],
        scores=person.track.scores[which],
        detected=person.track.detected[which],
    )
    return Person(track=track, body=params, **values)


def with_people(motion: Motion, *people: Person) -> Motion:
    return replace(motion, people=people)


def compared(motion: Motion, truth: Truth, body: Body) -> list[Errors]:
    return compare(motion, truth, body, clip="scene", method="ours")


def test_the_truth_is_without_error(motion: Motion, truth: Truth, body: Body) -> None:
    errors = compared(motion, truth, body)
    assert [person.person_id for person in errors] == [0, 3]
    found = summary(errors)
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "acceleration_m_s2"):
        assert found[name] == pytest.approx(0, abs=1e-3)
    for name in ("found_percent", "pck_percent", "pa_pck_percent"):
        assert found[name] == 100
    for name in ("auc_percent", "pa_auc_percent"):  # rounding is more than the first threshold, 0
        assert found[name] > 100 * 30 / 31 - 0.01
    for name in ("jitter_m_s3", "collision_percent"):
        assert found[name] == pytest.approx(found[f"true_{name}"], rel=1e-5)


def test_people_are_matched_by_place_and_errors_are_those_of_the_arrays(
    motion: Motion, truth: Truth, body: Body
) -> None:
    first, second = motion.people
    moved = np.array([0.02, -0.01, 0.05])
    turned = replace(second.body, betas=second.body.betas + np.float32(0.5))
    second = make_person(body, turned, person_id=3, start=1)
    found = with_people(motion, second, shifted(first, body, moved, 9))
    errors = compared(found, truth, body)
    whole = summary([errors[0]])
    assert whole["mpjpe_mm"] == pytest.approx(0, abs=1e-3)  # the roots are brought together
    other = summary([errors[1]])
    gt = motion.people[1]
    pred, true = second.joints[:, :24], gt.joints[:, :24]
    assert other["mpjpe_mm"] == pytest.approx(mpjpe(pred, true, root=0), rel=1e-5)
    assert other["pa_mpjpe_mm"] == pytest.approx(pa_mpjpe(pred, true), rel=1e-4)
    ours, theirs = (
        body.vertices_of(p) - j[:, :1] for p, j in ((turned, second.joints), (gt.body, gt.joints))
    )
    assert other["pve_mm"] == pytest.approx(mpjpe(ours, theirs), rel=1e-4)
    both = summary(errors)  # by frames: the first person has one more
    assert both["mpjpe_mm"] == pytest.approx(other["mpjpe_mm"] * 23 / 47, rel=1e-4)
    names = per_joint([errors[1]])
    assert names["left_knee"]["mpjpe_mm"] == pytest.approx(errors[1].joint[:, 4].mean())


def test_a_track_lost_and_taken_up_again_counts_where_it_is(
    motion: Motion, truth: Truth, body: Body
) -> None:
    person = motion.people[0]
    late = part(person, slice(10, FRAMES), 5)  # frame 8 and 9 are lost
    late = shifted(late, body, np.array([0, 0, 0.3]), 5)
    errors = compared(with_people(motion, part(person, slice(0, 8), 1), late), truth, body)
    first, nobody = errors
    assert np.flatnonzero(~np.isfinite(first.joint).any(1)).tolist() == [8, 9]
    assert summary([first])["found_percent"] == pytest.approx(100 * 22 / 24)
    # no acceleration across the gap, and the jump in depth is none
    assert np.isfinite(first.acceleration).all(1).sum() == 6 + 12
    assert summary([first])["acceleration_m_s2"] == pytest.approx(0, abs=1e-3)
    assert summary([nobody])["found_percent"] == 0
    assert math.isnan(summary([nobody])["mpjpe_mm"])


def test_somebody_else_is_nobodys_match(motion: Motion, truth: Truth, body: Body) -> None:
    away = shifted(motion.people[0], body, np.array([3, 0, 1]), 7)
    claims = match(with_people(motion, away, *motion.people), truth, body)
    assert [[person.track.id for person, _ in claimed] for claimed in claims] == [[0], [3]]


def every_third(motion: Motion) -> Motion:
    """The motion of a source of which every third frame was worked on, as `live` saves it."""
    people = (
        part(person, slice(-int(person.track.frame_index[0]) % 3, None, 3), person.track.id)
        for person in motion.people
    )
    return replace(motion, pts_s=motion.pts_s[::3], people=tuple(people))


def bent(motion: Motion, body: Body) -> Motion:
    """The motion with bodies of another shape: errors that are not zero."""
    return with_people(
        motion,
        *(
            make_person(body, replace(p.body, betas=p.body.betas + np.float32(0.5)),
                        person_id=p.track.id, start=int(p.track.frame_index[0]))
            for p in motion.people
        ),
    )  # fmt: skip


@pytest.mark.parametrize("own_times", [True, False])
def test_a_motion_of_some_frames_is_scored_on_those_like_one_of_all(
    motion: Motion, truth: Truth, body: Body, own_times: bool
) -> None:
    truth = truth if own_times else replace(truth, pts_s=None)
    whole = bent(motion, body)
    all_of_them = compared(whole, truth, body)
    some = compared(every_third(whole), truth, body)
    for every, third in zip(all_of_them, some, strict=True):
        assert (
            np.flatnonzero(third.shown).tolist()
            == np.flatnonzero(every.frame_index % 3 == 0).tolist()
        )
        for name in ("joint", "aligned", "vertex"):
            ours, theirs = getattr(third, name), getattr(every, name)
            assert np.isfinite(ours[third.shown]).all()
            np.testing.assert_array_almost_equal(ours[third.shown], theirs[third.shown], 3)
            assert np.isnan(ours[~third.shown]).all()
    assert summary(some)["found_percent"] == 100
    assert "scene, ours: has frames at the times of 15 of the 47 poses" in table(some)
    assert "of the 47 poses" not in table(all_of_them)
    nobody = compared(with_people(every_third(whole), *every_third(whole).people[:1]), truth, body)
    assert summary(nobody)["found_percent"] == pytest.approx(100 * 8 / 15)


def test_times_a_little_off_count_and_a_motion_of_another_time_is_refused(
    motion: Motion, truth: Truth, body: Body
) -> None:
    step = motion.pts_s[1]
    late = replace(motion, pts_s=motion.pts_s + 0.4 * step)
    assert summary(compared(late, truth, body))["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    # twice the truth's rate: the nearest of two frames is taken
    double = np.sort(np.concatenate([motion.pts_s, motion.pts_s + 0.45 * step]))
    shown = frames_shown(replace(motion, pts_s=double), truth)
    assert shown.tolist() == list(range(0, 2 * FRAMES, 2))
    with pytest.raises(InputError, match=r"scene: 0 of its 24 frames, 60.*s, lie at times of the"):
        compared(replace(motion, pts_s=motion.pts_s + 60), truth, body)
    nothing = replace(motion, pts_s=motion.pts_s[:0], people=())
    for known in (truth, replace(truth, pts_s=None)):
        with pytest.raises(InputError, match="scene: 0 of its 0 frames, no time, lie"):
            compared(nothing, known, body)


def smoothed(person: Person, body: Body, frames: int) -> Person:
    """The person's joints under a moving average, the ends of which hold the last value."""
    half = frames // 2
    padded = np.pad(person.joints, ((half, half), (0, 0), (0, 0)), mode="edge")
    joints = np.stack([padded[i : i + frames].mean(0) for i in range(len(person.joints))])
    return replace(person, joints=joints.astype(np.float32))


def test_amplitude_kept_falls_with_smoothing(motion: Motion, truth: Truth, body: Body) -> None:
    """Wrists that swing at 2 Hz keep, under a moving average, the share that a sinc gives."""
    fps, hz, frames = float(motion.clip.fps), 2.0, 5
    person = motion.people[0]
    times = np.arange(len(person.joints)) / fps
    joints = np.repeat(person.joints[:1], len(times), 0).copy()
    ends = [JOINT[f"{side}_{end}"] for side in ("left", "right") for end in ("wrist", "ankle")]
    joints[:, ends, 1] += 0.3 * np.sin(2 * np.pi * hz * times)[:, None].astype(np.float32)
    (whole, *_) = truth.people
    swung = replace(truth, people=(replace(whole, points=joints[:, :24], steady=joints[:, :24]),))
    exact = replace(person, joints=joints)
    (as_it_is,) = compared(with_people(motion, exact), swung, body)
    (less,) = compared(with_people(motion, smoothed(exact, body, frames)), swung, body)
    kept = summary([as_it_is])
    assert kept["p95_speed_ratio"] == pytest.approx(1) and kept["jitter_ratio"] == pytest.approx(1)
    x = np.pi * hz / fps
    share = np.sin(frames * x) / (frames * np.sin(x))
    assert summary([less])["p95_speed_ratio"] == pytest.approx(share, abs=0.03)
    assert summary([less])["jitter_ratio"] < 1
    assert math.isnan(summary(compared(with_people(motion), swung, body))["p95_speed_ratio"])


def test_points_that_no_camera_saw_are_not_compared(
    motion: Motion, body: Body, tmp_path: Path
) -> None:
    """Somebody behind a desk: the arms are measured around the shoulders, the legs are unknown."""
    surface = body.landmarks_of(motion.people[0].body)
    reprojection = np.full((1, FRAMES, 33), 5.0)
    reprojection[..., [LANDMARK[f"{side}_{leg}"] for side in ("left", "right")
                       for leg in ("knee", "ankle")]] = 60  # fmt: skip
    reprojection[..., LANDMARK["left_hip"]] = 28  # the right one goes with it
    np.savez(
        tmp_path / "desk.npz", landmarks33_m=surface, landmark_names=list(LANDMARK),
        reproj_px=reprojection, fps=30.0, K=motion.camera.K[None], R=np.eye(3)[None],
        t=np.zeros((1, 3)),
    )  # fmt: skip
    (truth,) = read_truth(tmp_path / "desk.npz", body)
    assert truth.name == "cam_0"
    (errors,) = compared(motion, truth, body)
    assert np.isfinite(errors.joint).any(0).tolist() == [True] * 6 + [False] * 6
    assert summary([errors])["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    away = shifted(motion.people[0], body, np.array([0.1, 0, 0.2]), 0)
    (moved,) = compared(with_people(motion, away), truth, body)
    assert summary([moved])["mpjpe_mm"] == pytest.approx(0, abs=1e-2)  # the shoulders together
    assert "| left_wrist | 0.0 (0.0) |" in joint_table([errors])
    assert "| left_knee | - |" in joint_table([errors])


def test_truth_of_a_turning_camera_is_in_its_axes(
    motion: Motion, body: Body, tmp_path: Path
) -> None:
    triangulated(tmp_path / "still.npz", motion, body, motion.camera.K)
    with np.load(tmp_path / "still.npz") as archive:
        points = {key: archive[key] for key in ("joints3d_m", "joint_names", "fps")}
        turn, shift = Rotation.from_rotvec(archive["rvec"][1]).as_matrix(), archive["t"][1]
    pan = Rotation.from_rotvec(np.linspace(0, 1, FRAMES)[:, None] * [0, 1, 0]).as_matrix()
    np.savez(
        tmp_path / "room_truth.npz", **points, K=motion.camera.K, R_world_to_cam=pan @ turn,
        t_world_to_cam=pan @ shift,
    )  # fmt: skip
    (moving,) = read_truth(tmp_path / "room_truth.npz", body)
    still = read_truth(tmp_path / "still.npz", body)[1]
    assert moving.name == "room"
    (ours,), (theirs,) = moving.people, still.people
    np.testing.assert_allclose(ours.points, np.einsum("tij,tpj->tpi", pan, theirs.points))


def triangulated(path: Path, motion: Motion, body: Body, K: np.ndarray) -> None:
    """The file of two calibrated cameras that see the first person; the second one's are ours."""
    params = motion.people[0].body
    points = body.landmarks_of(params).astype(np.float64)[:, LIMB_LANDMARKS]
    turn, shift = np.array([0.3, -1.0, 0.2]), np.array([0.5, 0.2, 4.0])
    world = (points - shift) @ Rotation.from_rotvec(turn).as_matrix()
    world[5] = np.nan
    names = [f"{side}{p}" for p in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
             for side in "LR"]  # fmt: skip
    order = np.random.default_rng(0).permutation(12)
    np.savez(
        path, joints3d_m=world[:, order], joint_names=np.array(names)[order], fps=60.0,
        cameras=["cam01", "cam02"], K=np.stack([K, K]), rvec=np.stack([0 * turn, turn]),
        t=np.stack([shift, shift]),
    )  # fmt: skip


def test_triangulated_points_are_compared_on_the_surface(
    motion: Motion, body: Body, tmp_path: Path
) -> None:
    triangulated(tmp_path / "gt.npz", motion, body, motion.camera.K)
    write_motion(motion, tmp_path / "dance_cam02.npz")
    found = list(
        evaluate_motions(
            tmp_path / "gt.npz", [tmp_path / "dance_cam02.npz"], [], smpl=None,
            progress=lambda *_: None,
        )
    )  # fmt: skip
    ((truth, _, (errors,)),) = found
    assert truth.name == "cam02"
    assert errors.joint.shape == (FRAMES, 12)
    assert np.flatnonzero(np.isnan(errors.joint).all(1)).tolist() == [5]
    assert summary([errors])["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert summary([errors])["found_percent"] == 100
    assert math.isnan(summary([errors])["pve_mm"])


def test_eval_prints_tables_and_writes_json(motion: Motion, body: Body, tmp_path: Path) -> None:
    for folder, change in (("truth", 0.0), ("ours", 0.02), ("theirs", 0.04)):
        (tmp_path / folder).mkdir()
        people = tuple(
            make_person(body, replace(p.body, betas=p.body.betas + np.float32(change)),
                        person_id=p.track.id, start=int(p.track.frame_index[0]))
            for p in motion.people
        )  # fmt: skip
        name = "scene.npz" if folder == "truth" else "scene_overlay.npz"
        write_motion(with_people(motion, *people), tmp_path / folder / name)
    out = tmp_path / "out.json"
    ran = CliRunner().invoke(
        app,
        ["eval", str(tmp_path / "truth"), "--motion", str(tmp_path / "ours"),
         "--motion", str(tmp_path / "theirs"), "--json", str(out), "--quiet"],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    facts = json.loads(out.read_text())
    assert [row["method"] for row in facts["people"]] == ["hybrik"] * 2 + [
        str(tmp_path / "theirs")
    ] * 2
    ours, theirs = facts["all"].values()
    assert ours["people"] == theirs["people"] == 2
    assert 0 < ours["mpjpe_mm"] < theirs["mpjpe_mm"]
    assert f"{theirs['pa_mpjpe_mm']:.1f}" in ran.stdout
    assert "| left_elbow |" in ran.stdout


def test_what_cannot_be_compared_is_one_line(motion: Motion, body: Body, tmp_path: Path) -> None:
    write_motion(motion, tmp_path / "scene.npz")
    (tmp_path / "results").mkdir()

    def evaluated(truth: Path, *given: Path) -> None:
        list(evaluate_motions(truth, given, [], smpl=None, progress=lambda *_: None))

    with pytest.raises(InputError, match=r"no result for it in .*results; expected .*scene"):
        evaluated(tmp_path / "scene.npz", tmp_path / "results")
    with pytest.raises(InputError, match="no result for it in the clip that it names"):
        evaluated(tmp_path / "scene.npz")
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        evaluated(tmp_path / "scene.npz", tmp_path / "none.npz")
    with pytest.raises(InputError, match="holds no truth"):
        evaluated(tmp_path / "results")
    np.savez(tmp_path / "results" / "x.npz", poses=np.zeros(3))
    with pytest.raises(InputError, match="holds no truth; expected a result npz"):
        evaluated(tmp_path / "results", tmp_path)
    other = replace(motion.provenance, body={"name": "SMPL", "sha256": "0" * 64})
    write_motion(replace(motion, provenance=other), tmp_path / "results" / "scene.npz")
    with pytest.raises(InputError, match="made with the body SMPL"):
        evaluated(tmp_path / "scene.npz", tmp_path / "results")


def test_results_are_measured_as_they_are_and_clips_are_solved(tmp_path: Path) -> None:
    assert solves_clips([])  # the clip that the truth names
    assert solves_clips([tmp_path / "a.npz", tmp_path / "a.mp4"])
    assert not solves_clips([tmp_path / "a.npz", tmp_path])
    ran = CliRunner().invoke(
        app, ["eval", str(SAMPLES / "studio_walk.npz"), "--motion", str(tmp_path), "--fast"]
    )
    assert ran.exit_code == 1 and "where no clip is solved" in ran.output
