"""Receipts and bench reports that say anything else than ours."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hpsvid.batch.jobs import finished
from hpsvid.bench.report import read_report
from hpsvid.common.files import parse_json
from hpsvid.errors import InputError
from tools.fuzz.readers import job_with_receipt


def test_json_without_end_is_a_value_error() -> None:
    for text in ("[" * 1_000_000, "[" * 900 + "]" * 900, '{"a":' * 100 + "1" + "}" * 100):
        with pytest.raises(ValueError, match="inside each other"):
            parse_json(text)
    assert parse_json("[" * 40 + "]" * 40) is not None


@pytest.mark.parametrize(
    "row",
    [None, [], {}, {"clip": "a.mp4", "state": "done"}, {"frames": float("nan")},
     {"frames": "many"}, {"clip": "other.mp4"}, {"state": "failed"}, {"people": [1]}],
)  # fmt: skip
def test_a_receipt_with_another_row_is_none(tmp_path: Path, row: Any) -> None:
    job, receipt = job_with_receipt(tmp_path)
    assert finished(job) is not None
    receipt["row"] = {**receipt["row"], **row} if row and len(row) == 1 else row
    job.receipt.write_text(json.dumps(receipt))
    assert finished(job) is None


def test_a_receipt_that_is_no_file_is_none(tmp_path: Path) -> None:
    job, _ = job_with_receipt(tmp_path)
    job.receipt.unlink()
    os.mkfifo(job.receipt)
    assert finished(job) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"rows": [[]]}', '{"rows": 5}', "nul", "\xff"])
def test_a_report_of_another_shape_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin1")
    with pytest.raises(InputError, match="bench") as error:
        read_report(tmp_path / "a.json")
    assert "\n" not in str(error.value)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="named pipe"):
        read_report(tmp_path / "pipe")
