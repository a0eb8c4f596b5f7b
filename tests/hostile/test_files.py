"""What is no regular file is refused before it is opened: it would hang or never end."""

import os
import socket
from pathlib import Path

import pytest

from hpsvid.common.files import regular_file
from hpsvid.errors import InputError, WeightsError


def test_a_file_and_a_link_to_one_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    assert regular_file(tmp_path / "file") == tmp_path / "file"
    assert regular_file(tmp_path / "link") == tmp_path / "link"


def test_anything_else_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        for name, said in {
            "pipe": "a named pipe",
            "zero": "a device",
            "socket": "a socket",
            "circle": "cannot be opened",
            "none": "No such file",
            ".": "a folder",
            "a\0b": "null",
        }.items():
            with pytest.raises(InputError, match=said) as refused:
                regular_file(tmp_path / name)
            assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError):
        regular_file(tmp_path / "pipe", WeightsError)
