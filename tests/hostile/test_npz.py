"""Crafted npz files: bombs, headers, members that no writer makes; and the results in them."""

import io
import json
import os
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsvid.body.model import Body, load_body
from hpsvid.common import files
from hpsvid.common.files import read_npz, write_npz
from hpsvid.errors import InputError, WeightsError
from hpsvid.evaluation.truth import read_truth
from hpsvid.formats.npz import read_motion, write_motion
from hpsvid.mocap.amass import read_mocap
from tests.factories import make_motion


def member(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=True)
    return content.getvalue()


def headed(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + content


def save(folder: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "made.npz"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # duplicate names
        for name, content in members:
            archive.writestr(name, content)
    return path


def refused(path: Path, said: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError, match=said) as error:
        read_npz(path, "numbers")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert time.perf_counter() - start < 5


def zeros_of(size: int) -> bytes:
    return headed(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.npy", "b.npy"):
            with archive.open(name, "w") as stream:
                stream.write(zeros_of(140 << 20))
                for _ in range(140):
                    stream.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(path, "unpack to far more")
    assert len(read_npz(path, "numbers", ("a",))["a"]) == 140 << 20  # half of it is no bomb


def test_what_is_as_large_as_it_unpacks_is_read_and_a_large_bomb_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of hours of video pass the limit (2 GiB, a tenth of a MiB here) without a bomb."""
    for limit in ("MAX_NPZ_BYTES", "FREE_NPZ_BYTES"):
        monkeypatch.setattr(files, limit, 100 << 10)
    values = np.random.default_rng(0).normal(size=(3, 50_000)).astype(np.float32)
    write_npz(tmp_path / "long.npz", {"a": values, "b": values[:, ::-1]})
    assert (read_npz(tmp_path / "long.npz", "numbers")["a"] == values).all()
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10 << 20, np.uint8), b=values)
    refused(tmp_path / "bomb.npz", "unpack to far more")


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(4, 1000000000000000000000)", "(0, 1000000000)", "(-1,)", "(2,)"]
)
def test_a_shape_that_does_not_fit_the_content(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    content = b"" if shape.startswith("(0") else b"\0" * 8
    if shape == "(-1,)":  # the sign is no part of a size
        content = b"\0" * 16
    refused(save(tmp_path, ("a.npy", headed(header, content))), "shape")


@pytest.mark.parametrize(
    "header",
    [
        "(" * 9000,
        "{'descr': " + "[" * 5000,
        "-" * 9000,
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<V8', 'fortran_order': False, 'shape': (1,), }",
        "",
        "x" * 20_000,
    ],
    ids=range(9),
)
def test_a_header_is_never_evaluated(tmp_path: Path, header: str) -> None:
    refused(save(tmp_path, ("a.npy", headed(header, b"\0" * 8))), "`a`")


def test_members_that_no_writer_makes(tmp_path: Path) -> None:
    one = member(np.arange(3))
    refused(save(tmp_path, ("a.npy", one), ("a.npy", one)), "`a` is in it twice")
    refused(save(tmp_path, ("/etc/a.npy", one)), "no name")
    refused(save(tmp_path, ("../a.npy", one)), "no name")
    refused(save(tmp_path, ("a.npy", one), method=zipfile.ZIP_LZMA), "packed by method")
    refused(save(tmp_path, ("a.npy", one + b"more")), "does not fit")
    refused(save(tmp_path, ("a.npy", b"no array")), "no array")
    refused(save(tmp_path, ("a.npy", member(np.array([{}], object)))), "pickled objects")
    assert read_npz(save(tmp_path, ("readme.txt", b"hello"), ("a.npy", one)), "x").keys() == {"a"}
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", "named pipe")
    with pytest.raises(WeightsError, match="named pipe"):
        load_body(tmp_path / "pipe.npz")


def test_a_zip_of_a_huge_directory(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    entry = b"PK\1\2" + bytes(42)
    count = (20 << 20) // len(entry)
    end = b"PK\5\6" + bytes(4) + b"\xff\xff" * 2
    end += (count * len(entry)).to_bytes(4, "little") + bytes(6)
    path.write_bytes(entry * count + end)
    refused(path, "not a readable npz")


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_byte_order_and_layout_is_read(tmp_path: Path, order: str) -> None:
    values = np.arange(6).reshape(2, 3)
    arrays = {
        **{kind: values.astype(order + kind) for kind in ("i2", "u4", "f2", "f4", "f8")},
        "fortran": np.asfortranarray(values.astype(order + "f8")),
        "flags": np.array([True, False]),
        "text": np.array(["ab", "ç"]).astype(order + "U2"),
        "no text": np.array(""),
        "none": np.zeros((0, 3)),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz", "numbers")
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype.isnative and found[key].flags.writeable


def test_flags_are_0_and_1_and_characters_exist(tmp_path: Path) -> None:
    header = "{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }"
    flags = read_npz(save(tmp_path, ("a.npy", headed(header, b"\0\1\2\xff"))), "flags")["a"]
    assert flags.view(np.uint8).tolist() == [0, 1, 1, 1]
    header = "{'descr': '<U1', 'fortran_order': False, 'shape': (), }"
    refused(save(tmp_path, ("a.npy", headed(header, b"\xff" * 4))), "do not exist")


@pytest.fixture(scope="module")
def result(body: Body, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("result") / "a.npz"
    write_motion(make_motion(body, people=1, frames=4), path)
    return read_npz(path, "a result")


def in_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def changed(arrays: dict[str, Any]) -> None:
        header = json.loads(str(arrays["header"]))
        change(header)
        arrays["header"] = np.array(json.dumps(header))

    return changed


def with_header(text: str) -> Callable[[dict[str, Any]], Any]:
    return lambda arrays: arrays.update(header=np.array(text))


@pytest.mark.parametrize(
    "change",
    [
        with_header("[" * 100_000),
        with_header('{"schema_version": Infinity}'),
        with_header('{"schema_version": ' + "9" * 5000 + "}"),
        with_header('{"schema_version": 1, "x": "' + "x" * (2 << 20) + '"}'),
        with_header('{"schema_version": 1, "clip": []}'),
        in_header(lambda h: h["clip"].update(fps="1e999999999")),
        in_header(lambda h: h["clip"].update(fps=float("inf"))),
        in_header(lambda h: h["clip"].update(width=float("inf"))),
        in_header(lambda h: h["clip"].update(width=10**30)),
        in_header(lambda h: h["clip"].update(height=-1)),
        in_header(lambda h: h["clip"].update(path=None)),
        in_header(lambda h: h.update(camera_source=[])),
        lambda a: a.update(header=np.array(["x"])),
        lambda a: a.update(K=np.zeros((3, 3))),
        lambda a: a.update(person_ids=np.zeros(1_000_000, int)),
        lambda a: a.update(person_ids=np.array(1)),
        lambda a: a.update({"pts_s": a["pts_s"] * 1e300}),
    ],
    ids=range(17),
)
def test_a_crafted_result_is_one_line(
    tmp_path: Path, result: dict[str, Any], body: Body, change: Callable[[dict[str, Any]], Any]
) -> None:
    arrays = dict(result)
    change(arrays)
    write_npz(tmp_path / "a.npz", arrays)
    for read in (read_motion, lambda path: read_truth(path, body)):
        with pytest.raises(InputError) as error:
            read(tmp_path / "a.npz")
        assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_track_whose_frame_numbers_wrap_is_refused(tmp_path: Path, result: dict) -> None:
    person = str(result["person_ids"][0])
    wrap = np.arange(4).astype(np.int64) + np.iinfo(np.int64).max - 1
    write_npz(tmp_path / "a.npz", {**result, f"{person}/frame_index": wrap})
    with pytest.raises(InputError, match="frame_index"):
        read_motion(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"clip_nframes": np.array(5)},
        {"clip_nframes": np.array([2.5, 2.5])},
        {"clip_nframes": np.array([1 << 62, 1 << 62, 1 << 62, 1 << 62, 5])},
        {"mocap_framerate": np.array(1e-300)},
        {"mocap_framerate": np.array("x")},
        {"poses": np.full((5, 72), 1e300)},
        {"betas": np.array(1.0)},
    ],
    ids=range(7),
)
def test_crafted_motion_capture_is_one_line(tmp_path: Path, body: Body, change: dict) -> None:
    plain = {
        "poses": np.zeros((5, 72)), "trans": np.zeros((5, 3)), "betas": np.zeros(10),
        "mocap_framerate": np.array(60.0),
    }  # fmt: skip
    write_npz(tmp_path / "a.npz", {**plain, **change})
    with pytest.raises(InputError):
        read_mocap(tmp_path / "a.npz", body)
    write_npz(tmp_path / "a.npz", plain)
    assert len(read_mocap(tmp_path / "a.npz", body)) == 1
