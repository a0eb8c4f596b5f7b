"""The readers, each with whole files to damage and strategies that do so."""

import io
import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from scipy import sparse

from hpsvid.batch.folder import line, summarise
from hpsvid.batch.jobs import Job, finished
from hpsvid.batch.jobs import _origin as origin_of
from hpsvid.bench.report import changed_settings, read_report, regressions
from hpsvid.body.model import Body
from hpsvid.body.skeleton import BLAZEPOSE
from hpsvid.body.smpl import load_chosen_body, load_smpl
from hpsvid.common.pickle_files import read_plain_pickle
from hpsvid.common.pickles import plain_array
from hpsvid.common.weights import imported_path, load_imported
from hpsvid.errors import InputError
from hpsvid.evaluation.errors import compare
from hpsvid.evaluation.threedpw import read_sequence
from hpsvid.evaluation.truth import read_truth
from hpsvid.foreign.reading import read_foreign
from hpsvid.formats import FORMATS
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.mocap.amass import read_mocap
from hpsvid.official.importing import CHECKPOINTS, import_weights
from hpsvid.official.niki_network import ReleasedNiki
from hpsvid.options import DrawOptions, ExportOptions, Options
from hpsvid.pipeline.answers import Answers
from hpsvid.pipeline.store import Store, store_folder
from hpsvid.types import N_BETAS, N_JOINTS, N_LANDMARKS, N_TWISTS, Observations
from hpsvid.video.egomotion import Steps, camera_turn
from hpsvid.video.probe import probe
from hpsvid.video.reader import read_frames
from tests.factories import make_motion
from tests.foreign.layouts import known, write_gvhmr, write_phalp, write_romp, write_wham
from tools.fuzz.guard import Read
from tools.fuzz.mutate import Strategy, changed_json, damaged, damaged_members, pickles


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader under test."""

    suffix: str
    read: Read
    cases: Strategy
    share: int  # of all cases, relative to the other readers


def readers(folder: Path) -> dict[str, Reader]:
    """All readers by name; whole files are made in `folder`."""
    torch.set_num_threads(1)  # children are forked, and threads do not survive that
    body = load_chosen_body(None)
    return {
        **_npz_readers(folder, body),
        **_store_readers(folder, body),
        **_foreign_readers(folder, body),
        **_pickle_readers(),
        **_weights_readers(folder),
        **_json_readers(folder),
        "video": Reader(suffix=".mp4", read=_read_clip, cases=damaged(_videos(folder)), share=2),
        "picture": Reader(suffix=".png", read=_read_clip, cases=damaged(_pictures()), share=6),
    }


def _npz_readers(folder: Path, body: Body) -> dict[str, Reader]:
    motion = make_motion(body, people=1, frames=4)
    write_motion(motion, folder / "result.npz")
    result = (folder / "result.npz").read_bytes()
    with np.load(folder / "result.npz") as arrays:
        members = {key: arrays[key] for key in arrays.files}

    def with_header(text: str) -> bytes:
        return _npz({**members, "header": np.array(text)})

    results = damaged([result]) | damaged_members([result])
    header = str(members["header"]).encode()
    points = _npz({
        "joints3d_m": np.random.default_rng(0).normal(0, 1, (40, 12, 3)), "fps": np.array(30.0),
        "joint_names": np.array([f"{side}{name}" for side in "LR" for name in (
            "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]),
        "cameras": np.array(["a", "b"]), "K": np.array([motion.camera.K] * 2),
        "rvec": np.ones((2, 3)), "t": np.ones((2, 3)),
    })  # fmt: skip
    capture = _npz({
        "poses": np.zeros((6, 72)), "trans": np.zeros((6, 3)), "betas": np.zeros(10),
        "mocap_framerate": np.array(60.0), "clip_nframes": np.array([2, 4]),
        "clip_names": np.array(["a", "b"]), "up_axis": np.array("y"), "licence": np.array("CC0"),
    })  # fmt: skip

    moving = _npz({
        "landmarks33_m": np.random.default_rng(0).normal(0, 1, (40, 33, 3)), "fps": np.array(30.0),
        "landmark_names": np.array(BLAZEPOSE.names), "K": motion.camera.K,
        "R_world_to_cam": np.tile(np.eye(3), (40, 1, 1)), "t_world_to_cam": np.ones((40, 3)),
        "reproj_px": np.ones((2, 40, 33)),
    })  # fmt: skip

    def read_one_truth(path: Path) -> None:
        for truth in read_truth(path, body):
            compare(motion, truth, body, clip="clip", method="method")

    read_one_truth(folder / "result.npz")  # what numba compiles first is not the readers' time
    return {
        "result": Reader(
            suffix=".npz", read=read_motion, share=30,
            cases=results | changed_json([header], with_header),
        ),
        "truth": Reader(
            suffix=".npz", read=read_one_truth, share=5,
            cases=damaged([result, points, moving]) | damaged_members([result, points, moving]),
        ),
        "mocap": Reader(
            suffix=".npz", read=lambda path: read_mocap(path, body), share=20,
            cases=damaged([capture]) | damaged_members([capture]),
        ),
    }  # fmt: skip


def _npz(arrays: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def _store_readers(folder: Path, body: Body) -> dict[str, Reader]:
    """The files of a run that was killed, each at its place in a store of the run that goes on."""
    motion = make_motion(body, people=1, frames=4)
    place = store_folder(folder / "out.npz")

    def opened() -> Store:
        store = Store(place, every_s=0.0)
        store.open({"run": 1})
        return store

    def wrong() -> NoReturn:
        raise InputError("made again")

    def make_all(store: Store) -> None:
        tracks = [person.track for person in motion.people]
        store.tracks(lambda: (tracks, motion.pts_s, steps))
        store.observations(0, lambda: [seen])
        store.person(motion.clip, motion.pts_s, motion.camera, 0, lambda: motion.people[0])
        answers = Answers(store, "crops_0")
        for number in range(3):
            answers([number], lambda: [(np.ones((2, 4), np.float32), np.zeros(2, bool))])

    steps = Steps(
        key=np.zeros(len(motion.pts_s), np.int64), scale=0.5, width=640, height=360,
        homography=np.tile(np.eye(3), (len(motion.pts_s), 1, 1)),
        segments=np.zeros((0, 4)),
        segment_frame=np.zeros(0, np.int64),
        flow_frames=np.array([[0, 1], [1, 3]]),
        flow=np.arange(80, dtype=np.int16).reshape(2, 10, 4),
    )  # fmt: skip
    track = motion.people[0].track
    seen = Observations(
        track_id=0,
        frame_index=track.frame_index,
        joints=np.zeros((4, N_JOINTS, 3), np.float32),
        sigma=np.ones((4, N_JOINTS), np.float32),
        twist=np.ones((4, N_TWISTS, 2), np.float32),
        betas=np.zeros((4, N_BETAS), np.float32),
        pelvis=np.ones((4, 3), np.float32),
        landmarks2d=np.zeros((4, N_LANDMARKS, 3), np.float32),
        valid=np.ones(4, bool),
    )
    store = opened()
    make_all(store)
    store.close()
    whole = {path.name: path.read_bytes() for path in place.glob("*.npz")}

    def reading(name: str) -> Read:
        def read(path: Path) -> None:
            path.replace(place / name)
            store = opened()
            try:
                if name.startswith("tracks"):
                    camera_turn(store.tracks(wrong)[2], 500.0, focal_known=False)
                if name.startswith("observations"):
                    store.observations(0, wrong)
                if name.startswith("person"):
                    store.person(motion.clip, motion.pts_s, motion.camera, 0, wrong)
                if name.startswith("crops"):
                    Answers(store, "crops_0")([0], wrong)
            finally:
                store.close()

        return read

    return {
        f"store {name.partition('_')[0].removesuffix('.npz')}": Reader(
            suffix=".npz", read=reading(name), share=3,
            cases=damaged([content]) | damaged_members([content]),
        )
        for name, content in whole.items()
        if not name.startswith("crops") or name.endswith("000000.npz")
    }  # fmt: skip


def _foreign_readers(folder: Path, body: Body) -> dict[str, Reader]:
    """Files of other tools that `hpsvid import` reads."""
    person = known("smpl")
    motion = make_motion(body, people=1, frames=4)
    whole = {
        "gvhmr": write_gvhmr(folder / "a.pt", known("smplx")),
        "wham": write_wham(folder / "a.pkl", {0: person}),
        "phalp": write_phalp(folder / "b.pkl", {0: person}),
        "romp": write_romp(folder / "romp.npz", {0: person}),
        "bvh": FORMATS["bvh"].write(motion, body, folder, "a", ExportOptions())[0],
    }

    def read(path: Path) -> None:
        read_foreign(path, body, fps=30)

    read(whole["bvh"])
    return {
        f"import {name}": Reader(
            suffix=path.suffix, read=read, share=4, cases=damaged([path.read_bytes()])
        )
        for name, path in whole.items()
    }


def _pickle_readers() -> dict[str, Reader]:
    rng = np.random.default_rng(0)
    content = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.ones((3, 2), ">i4")),
        "c": [1, 2.5, None, "x"], "d": {"e": (1, 2)}, "f": np.float32(3), "g": {1, 2},
        "h": np.array([None, "x"], object), "i": np.array(["ab"], "S2"), "j": b"bytes",
        "k": sparse.csc_matrix(np.eye(3)),
    }  # fmt: skip
    plain = [pickle.dumps(content, protocol) for protocol in range(6)]
    frames = 5
    sequence = {
        "sequence": "made_up", "genders": ["f", "m"], "cam_intrinsics": np.diag([900.0, 900, 1]),
        "cam_poses": np.tile(np.eye(4), (frames, 1, 1)), "betas": [rng.normal(size=10)] * 2,
        "poses": [rng.normal(size=(frames, 72))] * 2, "trans": [rng.normal(size=(frames, 3))] * 2,
        "jointPositions": [rng.normal(size=(frames, 72))] * 2,
        "campose_valid": [np.ones(frames)] * 2,
    }  # fmt: skip
    sequences = [pickle.dumps(sequence, protocol) for protocol in (0, 2)]
    body: dict[str, Any] = {key: np.zeros(shape, np.float32) for key, shape in {
        "v_template": (6890, 3), "shapedirs": (6890, 3, 1), "posedirs": (1, 3, 207),
        "weights": (1, 24), "f": (1, 3)}.items()}  # fmt: skip
    body["J_regressor"] = sparse.csc_matrix((24, 6890))
    bodies = [pickle.dumps(body, 2)]

    def read_all(path: Path) -> None:
        for value in read_plain_pickle(path, "pickle", InputError).values():
            with suppress(ValueError, KeyError):
                plain_array(value)

    return {
        "pickle": Reader(
            suffix=".pkl", read=read_all, cases=damaged(plain) | pickles(), share=30
        ),
        "sequence": Reader(
            suffix=".pkl", read=lambda path: read_sequence(path, None),
            cases=damaged(sequences), share=10,
        ),
        "smpl": Reader(suffix=".pkl", read=load_smpl, cases=damaged(bodies), share=2),
    }  # fmt: skip


KIND = "niki_1stage"


def _small() -> ReleasedNiki:
    return ReleasedNiki(KIND, (4, 8))


def _weights_readers(folder: Path) -> dict[str, Reader]:
    CHECKPOINTS[KIND] = replace(CHECKPOINTS[KIND], build=_small)
    state = _small().state_dict()
    whole = save(state, {"config": json.dumps({"file": "a.pth", "sha256": "0" * 64})})

    def read_imported(path: Path) -> None:
        os.environ["HPSVID_WEIGHTS"] = os.fspath(path.parent)
        path.replace(imported_path(KIND))
        load_imported(_small(), KIND)

    def read_checkpoint(path: Path) -> None:
        os.environ["HPSVID_WEIGHTS"] = os.fspath(path.parent)
        import_weights(path)

    checkpoints = []
    for new in (True, False):
        content = {"model": {f"regressor.{k}": v for k, v in state.items()}, "epoch": 3}
        torch.save(content, folder / "a.pth", _use_new_zipfile_serialization=new)
        checkpoints.append((folder / "a.pth").read_bytes())
    return {
        "safetensors": Reader(
            suffix=".safetensors", read=read_imported, cases=damaged([whole]), share=8
        ),
        "checkpoint": Reader(
            suffix=".pth", read=read_checkpoint, share=6,
            cases=damaged(checkpoints) | damaged_members(checkpoints[:1]),
        ),
    }  # fmt: skip


def job_with_receipt(folder: Path) -> tuple[Job, dict[str, Any]]:
    """A job that is done, and what its receipt says."""
    job = Job(
        source=folder / "a.mp4", overlay=folder / "a_overlay.mp4", options=Options(),
        drawing=DrawOptions(),
    )  # fmt: skip
    for path in (job.source, job.overlay, job.result):
        path.write_bytes(b"content")
    row = {"clip": "a.mp4", "state": "done", "frames": 9, "people": 1, "seconds": 2.0, "fps": 4.5}
    receipt = {**origin_of(job), "bytes": [7, 7], "row": row}
    job.receipt.write_text(json.dumps(receipt), encoding="utf-8")
    return job, receipt


def _json_readers(folder: Path) -> dict[str, Reader]:
    job, receipt = job_with_receipt(folder)
    row = {"clip": "a.mp4", "solver": "niki", "frames": 9, "seconds": 1.0, "fps": 9.0, "people": 1,
           "gaps": 0, "peak_mib": 300.0, "mpjpe_mm": 50.0, "stages": {}}  # fmt: skip
    report = {"hpsvid_version": "0", "settings": {"threads": 1}, "rows": [row], "totals": [row]}
    receipts, reports = [json.dumps(receipt).encode()], [json.dumps(report).encode()]

    def read_receipt(path: Path) -> None:
        path.replace(job.receipt)
        if done := finished(job):
            line({**done, "state": "skipped", "reason": "done earlier"})
            json.dumps(summarise([job], [done], 0.0))

    def read_one_report(path: Path) -> None:
        earlier = read_report(path)
        regressions([row], earlier)
        changed_settings({"threads": 2}, earlier)

    return {
        "receipt": Reader(
            suffix=".json", read=read_receipt, share=20,
            cases=damaged(receipts) | changed_json(receipts),
        ),
        "report": Reader(
            suffix=".json", read=read_one_report, share=20,
            cases=damaged(reports) | changed_json(reports),
        ),
    }  # fmt: skip


def _read_clip(path: Path) -> None:
    for _ in read_frames(probe(path)):
        pass


VIDEOS = {"mp4": "libx264", "avi": "mpeg4", "mkv": "ffv1", "webm": "libvpx", "mpegts": "mpeg2video",
          "flv": "flv", "mov": "mjpeg"}  # fmt: skip


def _videos(folder: Path) -> list[bytes]:
    """A clip of 12 small pictures in each of several containers."""
    rng = np.random.default_rng(0)
    videos = []
    for kind, codec in VIDEOS.items():
        path = folder / f"clip.{kind}"
        with av.open(path, "w", format="matroska" if kind == "mkv" else kind) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(25))
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for _ in range(12):
                picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        videos.append(path.read_bytes())
    return videos


def _pictures() -> list[bytes]:
    """A small picture in each of several formats."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8))
    pictures = []
    for kind in ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF"):
        packed = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        exif.get_ifd(0x8769)[0xA405] = 28
        picture.save(packed, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
        pictures.append(packed.getvalue())
    return pictures
