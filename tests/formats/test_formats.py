"""Files that other programs read: our own npz, AMASS's npz, the options and the table."""

import dataclasses
import json
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsvid.body.model import Body
from hpsvid.body.world import in_world
from hpsvid.errors import InputError
from hpsvid.formats import FORMATS, check_formats, check_options
from hpsvid.formats.amass import write_amass
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.formats.ownership import written_by_hpsvid
from hpsvid.formats.target import target_for
from hpsvid.mocap.amass import read_mocap
from hpsvid.motion.world import find_world
from hpsvid.options import ExportOptions, FormatName, FrameName, Options
from hpsvid.types import BodyParams, Motion, Provenance
from hpsvid.video.egomotion import still_camera
from tests.factories import make_motion, make_params, make_person

CAMERA_TO_Y_UP = np.diag([1.0, -1, -1])


# Blender takes many seconds: tests/formats/test_readers.py has it
ROWS = [row for row in FORMATS.values() if row.name != "fbx"]


def test_the_focal_length_that_the_clip_states_is_kept(body, tmp_path):
    motion = make_motion(body, people=1, frames=4)
    stated = dataclasses.replace(motion, clip=dataclasses.replace(motion.clip, focal_35mm=26.0))
    write_motion(stated, tmp_path / "a.npz")
    assert read_motion(tmp_path / "a.npz").clip.focal_35mm == 26.0
    write_motion(motion, tmp_path / "b.npz")  # as files that have no such key
    assert read_motion(tmp_path / "b.npz").clip.focal_35mm is None
    wrong = dataclasses.replace(motion, clip=dataclasses.replace(motion.clip, focal_35mm=-1.0))
    write_motion(wrong, tmp_path / "c.npz")
    with pytest.raises(InputError, match="focal_35mm is -1"):
        read_motion(tmp_path / "c.npz")


def assert_same(left: Any, right: Any, where: str = "motion") -> None:
    """Equal to the last bit, dtype included, NaN equal to NaN."""
    assert type(left) is type(right), where
    if dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            name = field.name
            assert_same(getattr(left, name), getattr(right, name), f"{where}.{name}")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        np.testing.assert_array_equal(left, right, err_msg=where)
    elif isinstance(left, tuple):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    else:
        assert left == right, where


@pytest.mark.parametrize("people", [0, 1, 3])
def test_a_motion_comes_back_from_its_npz_as_it_was(
    tmp_path: Path, body: Body, people: int
) -> None:
    motion = make_motion(body, people=people)
    write_motion(motion, tmp_path / "a.npz")
    assert_same(read_motion(tmp_path / "a.npz"), motion)


def test_the_ground_and_contacts_come_back_and_files_without_them_are_read(
    tmp_path: Path, body: Body
) -> None:
    motion = make_motion(body)
    contacts = np.random.default_rng(0).random((len(motion.people[0].track), 4)).astype(np.float32)
    world = find_world(
        motion.people, body, motion.pts_s, still_camera(len(motion.pts_s)), Options()
    )
    people = (dataclasses.replace(motion.people[0], contacts=contacts), *motion.people[1:])
    motion = dataclasses.replace(motion, world=world, people=people)
    write_motion(motion, tmp_path / "a.npz")
    assert_same(read_motion(tmp_path / "a.npz"), motion)
    with np.load(tmp_path / "a.npz") as data:
        arrays = dict(data)
    for person in motion.people:
        placed = arrays[f"{person.track.id}/transl_world"]
        np.testing.assert_array_equal(placed, in_world(person, world).transl)
    for key, value, said in (
        ("world/R", np.zeros_like(world.R), "expected rotations"),
        ("world/t", np.full_like(world.t, np.nan), "a place on earth"),
        ("world/up", np.array([0.0, 2, 0]), "a direction"),
        ("0/contacts", contacts + 1, "numbers from 0 to 1"),
    ):
        np.savez(tmp_path / "wrong.npz", allow_pickle=False, **(arrays | {key: value}))
        with pytest.raises(InputError, match=said):
            read_motion(tmp_path / "wrong.npz")


@pytest.mark.parametrize("name", ["bvh", "amass", "glb"])
def test_people_stand_on_the_ground_unless_the_camera_is_asked_for(
    tmp_path: Path, body: Body, name: FormatName
) -> None:
    motion = make_motion(body, people=1)
    world = find_world(
        motion.people, body, motion.pts_s, still_camera(len(motion.pts_s)), Options()
    )
    grounded = dataclasses.replace(motion, world=world)

    def written(motion: Motion, frame: FrameName | None) -> bytes:
        target = target_for(tmp_path / str(len(list(tmp_path.iterdir()))), "x", [FORMATS[name]])
        (path,) = target.write(FORMATS[name], motion, body, ExportOptions(frame=frame))
        return path.read_bytes()

    assert written(grounded, None) == written(grounded, "world")
    assert written(grounded, "camera") == written(motion, None) == written(motion, "camera")
    assert written(grounded, None) != written(grounded, "camera")


def test_the_feet_of_amass_are_at_0_with_z_up(tmp_path: Path, body: Body) -> None:
    upright = make_params(12, 0, turn=0.05)
    motion = dataclasses.replace(make_motion(body, 0), people=(make_person(body, upright),))
    world = find_world(
        motion.people, body, motion.pts_s, still_camera(len(motion.pts_s)), Options()
    )
    (path,) = write_amass(
        dataclasses.replace(motion, world=world), body, tmp_path, "x", ExportOptions(frame="world")
    )
    with np.load(path) as data:
        trans = data["trans"]
        root = Rotation.from_rotvec(data["root_orient"]).as_matrix()
    rotmats = upright.rotmats.copy()
    rotmats[:, 0] = root
    placed = BodyParams(rotmats=rotmats, betas=upright.betas, transl=trans.astype(np.float32))
    height = body.vertices_of(placed)[..., 2]
    assert abs(np.median(height.min(1))) < 0.05
    assert (height.max(1) > 1.2).all()


@pytest.mark.parametrize("own", [{}, {"solver": "niki", "seed": None, "lifter": None}])
def test_a_header_of_another_version_is_kept(
    tmp_path: Path, body: Body, own: dict[str, object]
) -> None:
    kept = {"captures": ["a", "b"], "weights": "of another type", **own}
    write_motion(make_motion(body), tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as data:
        arrays = dict(data)
    made = {field.name for field in dataclasses.fields(Provenance)}
    header = json.loads(str(arrays["header"]))
    header = {key: value for key, value in header.items() if key not in made} | kept
    arrays["header"] = np.array(json.dumps(header))
    np.savez(tmp_path / "other.npz", allow_pickle=False, **arrays)
    motion = read_motion(tmp_path / "other.npz")
    assert motion.provenance.solver == own.get("solver")
    write_motion(motion, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as data:
        again = json.loads(str(data["header"]))
    assert {key: again.get(key) for key in header} == header


def test_the_shot_of_a_track_is_kept(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body)
    first, *others = motion.people
    moved = dataclasses.replace(first, track=dataclasses.replace(first.track, shot_start=7))
    motion = dataclasses.replace(motion, people=(moved, *others))
    write_motion(motion, tmp_path / "a.npz")
    assert_same(read_motion(tmp_path / "a.npz"), motion)


def test_a_clip_that_announces_no_length_and_has_no_frames(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=0, frames=0)
    clip = dataclasses.replace(motion.clip, frame_count=None, audio=False, fps=Fraction(25))
    motion = dataclasses.replace(motion, clip=clip)
    write_motion(motion, tmp_path / "a.npz")
    assert_same(read_motion(tmp_path / "a.npz"), motion)


def test_a_result_holds_the_keys_that_scripts_rely_on(tmp_path: Path, body: Body) -> None:
    write_motion(make_motion(body), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        header = json.loads(str(data["header"]))
        assert data["person_ids"].tolist() == [0, 3]
        assert data["pts_s"].shape == (12,)
        assert data["K"].shape == (3, 3)
        shapes = {key: data[f"3/{key}"].shape for key in (
            "frame_index", "rotmats", "betas", "transl", "joints", "joints2d", "sigma", "boxes",
            "detected", "valid", "reprojection_px", "evidence_error", "scores",
        )}  # fmt: skip
    assert shapes == {
        "frame_index": (11,), "rotmats": (11, 24, 3, 3), "betas": (10,), "transl": (11, 3),
        "joints": (11, 29, 3), "joints2d": (11, 29, 2), "sigma": (11, 29), "boxes": (11, 4),
        "detected": (11,), "valid": (11,), "reprojection_px": (11,), "scores": (11,),
        "evidence_error": (11, 29),
    }  # fmt: skip
    wanted = ("schema_version", "units", "axes", "frame", "solver", "backbone", "weights", "seed")
    assert not set(wanted) - header.keys()
    assert (header["clip"]["name"], header["clip"]["fps"]) == ("two people.mp4", "30000/1001")


def test_a_result_of_the_first_version_reads_without_evidence_errors(tmp_path, body) -> None:
    motion = make_motion(body)
    write_motion(motion, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as data:
        old = {key: data[key] for key in data.files if not key.endswith("evidence_error")}
    np.savez(tmp_path / "old.npz", allow_pickle=False, **old)
    for found, person in zip(read_motion(tmp_path / "old.npz").people, motion.people, strict=True):
        assert np.isnan(found.evidence_error).all()
        assert np.array_equal(found.joints, person.joints)


def test_a_motion_that_its_file_could_not_hold_is_refused(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, people=1)
    twins = dataclasses.replace(motion, people=motion.people * 2)
    with pytest.raises(ValueError, match="ids that differ"):
        write_motion(twins, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"\['units'\] are the header's own"):
        foreign = Provenance(other={"units": 1})
        write_motion(dataclasses.replace(motion, provenance=foreign), tmp_path / "a.npz")


def test_files_written_twice_are_the_same_bytes(
    tmp_path: Path, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, clock in (("a", 0), ("b", 2e9)):
        monkeypatch.setattr("time.time", lambda clock=clock: clock)
        (tmp_path / name).mkdir()
        for row in ROWS:
            row.write(make_motion(body), body, tmp_path / name, "clip", ExportOptions())
    first, second = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert [path.name for path in first] == sorted(
        f"clip{which}{row.suffix}"
        for row in ROWS
        for which in (("_person00", "_person03") if row.a_person else ("",))
    )
    assert all(written_by_hpsvid(path) for path in first)  # and may be written again
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_a_writer_names_what_it_wrote_and_leaves_nothing_else(
    tmp_path: Path, body: Body, name: FormatName
) -> None:
    paths = FORMATS[name].write(make_motion(body), body, tmp_path, "clip", ExportOptions())
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert all(path.name.endswith(FORMATS[name].suffix) for path in paths)
    with pytest.raises(InputError, match="cannot be written"):
        FORMATS[name].write(make_motion(body), body, tmp_path / "none", "c", ExportOptions())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_motion(make_motion(body), tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(InputError, match="No space left"):
        write_motion(make_motion(body, seed=1), tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"hello", b"PK\x03\x04 torn"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_motion(path)


def test_a_torn_result_is_refused(tmp_path: Path, body: Body) -> None:
    path = tmp_path / "a.npz"
    write_motion(make_motion(body), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    for torn in (bytes(content), path.read_bytes()[: len(content) // 2]):
        path.write_bytes(torn)
        with pytest.raises(InputError, match="not a readable npz"):
            read_motion(path)


@pytest.mark.parametrize("fps", ["1/0", "0", "-30", "1000000000"])
def test_a_result_of_an_impossible_rate_is_refused(tmp_path: Path, body: Body, fps: str) -> None:
    path = tmp_path / "a.npz"
    write_motion(make_motion(body), path)
    with np.load(path) as data:
        header = json.loads(str(data["header"]))
    header["clip"]["fps"] = fps
    changed(path, header=np.array(json.dumps(header)))
    with pytest.raises(InputError, match="cannot be read as a result"):
        read_motion(path)


@pytest.mark.parametrize(
    "shape", ["(1000000000000000,)", "(((("], ids=["more than memory", "unfinished"]
)
def test_an_array_with_a_hostile_head_is_refused(tmp_path: Path, shape: str) -> None:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("header.npy", b"\x93NUMPY\x01\x00v\x00" + head.encode("ascii"))
    with pytest.raises(InputError, match="not a readable npz"):
        read_motion(tmp_path / "a.npz")


def test_pickles_and_foreign_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", header=np.array({"a": 1}, dtype=object))
    with pytest.raises(InputError, match="pickled objects"):
        read_motion(tmp_path / "pickle.npz")
    np.savez(tmp_path / "smpl.npz", poses=np.zeros(3), trans=np.zeros(3))
    with pytest.raises(InputError, match=r"did not write.*poses, trans"):
        read_motion(tmp_path / "smpl.npz")
    np.savez(tmp_path / "other.npz", header=np.array("x,y,z"))
    with pytest.raises(InputError, match="not hpsvid's JSON"):
        read_motion(tmp_path / "other.npz")


def changed(path: Path, **changes: np.ndarray | None) -> None:
    """Rewrite an npz with some keys replaced, or left out (None); `__` stands for `/`."""
    with np.load(path) as data:
        arrays: dict[str, Any] = dict(data)
    for key, value in changes.items():
        arrays[key.replace("__", "/")] = value
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pts_s": None}, "has no 'pts_s'"),
        ({"K": None}, "has no 'K'"),
        ({"3__scores": None}, "has no '3/scores'"),
        ({"person_ids": np.array([0, 3, 9])}, "has no '9/"),
        ({"3__joints": np.zeros((11, 24, 3))}, r"person 3: Person.joints.*\(11, 29, 3\)"),
        ({"3__rotmats": np.zeros((4, 24, 3, 3))}, r"person 3: .*\(4, 3\)"),
        ({"0__betas": np.array(["a"] * 10)}, "person 0: BodyParams.betas.*dtype"),
        ({"pts_s": np.zeros(5)}, "reaches frame 11, the clip has 5"),
        ({"pts_s": np.linspace(1, 0, 12)}, "pts_s: .* increase"),
        ({"pts_s": np.append(np.arange(11.0), np.nan)}, "pts_s: expected finite"),
        ({"person_ids": np.array([3, 3])}, r"differ, found \[3, 3\]"),
        ({"3__frame_index": np.arange(-1, 10)}, "person 3: frame_index goes from -1 to 9"),
        ({"0__transl": np.full((12, 3), np.nan, np.float32)}, "0/transl: .* not finite"),
        ({"3__rotmats": np.full((11, 24, 3, 3), np.inf)}, "3/rotmats: .* not finite"),
        ({"header": np.array('{"schema_version": 99}')}, "99.*reads up to 1; update"),
        ({"header": np.array('{"schema_version": 1}')}, "has no 'clip'"),
    ],
)
def test_a_damaged_result_says_where(
    tmp_path: Path, body: Body, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "a.npz"
    write_motion(make_motion(body), path)
    changed(path, **changes)
    with pytest.raises(InputError, match=says) as caught:
        read_motion(path)
    assert "\n" not in str(caught.value)


def test_amass_files_mean_the_same_body_to_their_readers(tmp_path: Path, body: Body) -> None:
    motion = make_motion(body, frames=20)
    for person, path in zip(
        motion.people, write_amass(motion, body, tmp_path, "a", ExportOptions()), strict=True
    ):
        with np.load(path, allow_pickle=False) as data:
            poses = data["poses"]
            assert poses.shape == (len(person.track), 156)
            assert not poses[:, 66:].any()
            np.testing.assert_array_equal(data["poses_root"], poses[:, :3])
            np.testing.assert_array_equal(data["poses_body"], poses[:, 3:66])
            assert data["betas"].shape == (16,)
            assert str(data["gender"]) == "neutral"
            assert data["fps"] == data["mocap_framerate"] == pytest.approx(30 / 1.001)
            assert data["start_s"] == motion.pts_s[person.track.frame_index[0]]
        (clip,) = read_mocap(path, body)  # turns z-up into y-up
        params = BodyParams(rotmats=clip.rotmats, betas=clip.betas, transl=clip.transl)
        joints = body.joints_of(params)
        kept = [j for j in range(29) if j not in (25, 26)]  # SMPL-H has no hand joint: fingertips
        np.testing.assert_allclose(
            joints[:, kept], (person.joints @ CAMERA_TO_Y_UP)[:, kept], atol=1e-5
        )


def steady_walk(times: np.ndarray) -> BodyParams:
    """Turns 1 rad/s about the vertical, slides 1 m/s to the right; exact at any time."""
    params = make_params(1, seed=5)
    rotmats = np.repeat(params.rotmats, len(times), 0)
    cos, sin, zero, one = np.cos(times), np.sin(times), 0 * times, 0 * times + 1
    turn = np.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).reshape(-1, 3, 3)
    rotmats[:, 0] = turn @ rotmats[:, 0]
    transl = params.transl + times[:, None] * [1, 0, 0]
    return BodyParams(
        rotmats=rotmats.astype(np.float32), betas=params.betas, transl=transl.astype(np.float32)
    )


@pytest.mark.parametrize("fps", [30, 60])
def test_variable_rate_is_resampled_by_its_time_stamps(
    tmp_path: Path, body: Body, fps: int
) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.08, 50))
    motion = make_motion(body, people=0, pts_s=np.concatenate([[0.0], times]))
    person = make_person(body, steady_walk(times), start=1)
    motion = dataclasses.replace(motion, people=(person,))
    (path,) = write_amass(motion, body, tmp_path, "a", ExportOptions(fps=fps))
    (clip,) = read_mocap(path, body)
    assert clip.fps == fps
    even = times[0] + np.arange(len(clip)) / fps
    assert abs(even[-1] - times[-1]) <= 0.5 / fps + 1e-9
    exact = body.joints_of(steady_walk(even.clip(max=times[-1])))
    params = BodyParams(rotmats=clip.rotmats, betas=clip.betas, transl=clip.transl)
    kept = np.r_[0:25, 27:29]
    np.testing.assert_allclose(
        body.joints_of(params)[:, kept], (exact @ CAMERA_TO_Y_UP)[:, kept], atol=1e-5
    )


def test_millisecond_clocks_do_not_blur_a_constant_rate(tmp_path: Path, body: Body) -> None:
    """Matroska rounds 1/30 s to 33 ms: the frames are passed on as they are."""
    motion = make_motion(body, people=1, fps=Fraction(30), pts_s=(np.arange(40) / 30).round(3))
    (path,) = write_amass(motion, body, tmp_path, "a", ExportOptions())
    (clip,) = read_mocap(path, body)
    np.testing.assert_allclose(
        clip.rotmats[:, 1:22], motion.people[0].body.rotmats[:, 1:22], atol=1e-6
    )


def test_options_are_refused_before_any_work() -> None:
    for fps in (0, -30, 5000):
        with pytest.raises(InputError, match="--fps"):
            ExportOptions(fps=fps)
    with pytest.raises(InputError, match="smpl, hik, mixamo, cmu"):
        ExportOptions(rig="unreal")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="choose npz, bvh"):
        check_options("maya", ExportOptions())  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"--fps has no part in --format npz.*bvh or amass or"):
        check_options("npz", ExportOptions(fps=30))
    with pytest.raises(InputError, match="--rig has no part"):
        check_options("amass", ExportOptions(rig="cmu"))
    assert check_options("bvh", ExportOptions(fps=30, rig="cmu")) is FORMATS["bvh"]
    with pytest.raises(InputError, match="--pad-to-clip has no part in --format npz"):
        check_options("npz", ExportOptions(pad_to_clip=True))
    rows = check_formats(["amass", "bvh"], ExportOptions(rig="cmu"))  # one of them heeds it
    assert rows == [FORMATS["amass"], FORMATS["bvh"]]
