"""Many clips on a Ray cluster of two nodes on this machine, one of which is killed."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hpsvid.batch.folder import jobs_for
from hpsvid.batch.jobs import Job, Row
from hpsvid.batch.ray_cluster import RETRIES, run_on_ray
from hpsvid.cli import app
from hpsvid.errors import InputError
from hpsvid.options import DrawOptions, Options
from tests.factories import WALK, write_walk

FRAMES = 8
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}

# Ray leaves sockets and processes to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.timeout(600),  # nodes start slowly on a busy machine
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with one CPU; the test that kills a node adds it."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    quick = {  # a node that is gone is known to be gone after 2 s, not 20
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    }
    head = {**NODE, "include_dashboard": False, "_system_config": quick}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")  # a test tells nobody
        cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        yield cluster
        cluster.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """What `start` gives; Ray allows a node 30 s to start, which a crowded machine may not keep."""
    for _ in range(2):
        with suppress(Exception):
            return start()
    return start()


def note(job: Job, name: str) -> None:
    with (job.overlay.parent / name).open("a") as log:
        log.write(f"{job.source.name}\n")


def stand_in(job: Job) -> Row:
    """Done; but the node named in "weak" never ends a job, and b.mp4 ends every worker."""
    import ray

    note(job, "begun")
    if ray.get_runtime_context().get_node_id() == (job.overlay.parent / "weak").read_text():
        note(job, "weak_begun")
        time.sleep(600)
    while not (job.overlay.parent / "weak_begun").exists():  # so that it has one to lose
        time.sleep(0.02)
    if job.source.name == "b.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    note(job, "ended")
    return {"clip": job.source.name, "state": "done", "frames": 1, "people": 1, "fps": 1.0}


def test_a_killed_node_and_a_poison_clip_cost_no_other_clip(cluster: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in "abcdef":
        (source / f"{name}.mp4").write_bytes(b"no video")
    common = Job(source=source, overlay=out, options=Options(), drawing=DrawOptions())
    todo = jobs_for(source, out, common)
    node = patiently(lambda: cluster.add_node(**NODE))
    (out / "weak").write_text(node.node_id)

    def kill_when_begun() -> None:
        while not (out / "weak_begun").exists():
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill_when_begun, daemon=True)
    killer.start()
    rows = list(run_on_ray(todo, stand_in, address=cluster.address, at_once=None, threads=1))
    killer.join()
    states = {row["clip"]: row["state"] for row in rows}
    assert len(rows) == len(todo) == len(states)
    assert {name for name, state in states.items() if state == "failed"} == {"b.mp4"}
    ended = (out / "ended").read_text().split()
    assert sorted(ended) == [job.source.name for job in todo if job.source.name != "b.mp4"]
    attempts = {row["clip"]: row["attempts"] for row in rows}
    assert attempts["b.mp4"] == 1 + RETRIES
    lost = set((out / "weak_begun").read_text().split()) - {"b.mp4"}
    assert all(attempts[name] == 2 for name in lost)
    begun = Counter((out / "begun").read_text().split())
    assert all(begun[name] <= attempts[name] for name in attempts)


def test_the_real_pipeline_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_walk(source / "walk.mp4", FRAMES)
    (source / "bad.mp4").write_bytes(b"no video")
    many_clips = (
        "run", source, "--out", out, "--fast", "--json",
        "--engine", "ray", "--address", cluster.address, "--threads", 1,
    )  # fmt: skip
    ran = call(*many_clips)
    assert ran.exit_code == 1, ran.output
    rows = {row["clip"]: row for row in json.loads(ran.stdout)["clips"]}
    assert "cannot be read as a video" in rows["bad.mp4"]["reason"]
    assert (rows["walk.mp4"]["state"], rows["walk.mp4"]["frames"]) == ("done", FRAMES)
    files = ["walk_overlay.json", "walk_overlay.mp4", "walk_overlay.npz"]
    assert sorted(path.name for path in out.iterdir()) == files

    alone = call("run", source / "walk.mp4", "--out", tmp_path / "x.mp4", "--fast", "-q")
    assert alone.exit_code == 0, alone.output
    assert (tmp_path / "x.npz").read_bytes() == (out / "walk_overlay.npz").read_bytes()

    (source / "bad.mp4").unlink()
    ran = call(*many_clips)
    assert ran.exit_code == 0
    assert [row["state"] for row in json.loads(ran.stdout)["clips"]] == ["skipped"]


def test_more_cpus_than_a_node_has_is_an_error(cluster: Any, tmp_path: Path) -> None:
    job = Job(source=tmp_path, overlay=tmp_path, options=Options(), drawing=DrawOptions())
    rows = run_on_ray([job], stand_in, address=cluster.address, at_once=None, threads=99)
    with pytest.raises(InputError, match="--threads 99"):
        next(rows)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--address", "127.0.0.1:6379"), "--engine ray"),
        (("--engine", "ray"), "hpsvid[ray]"),
    ],
)
def test_without_ray_or_its_option_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "in").mkdir()
    shutil.copy(WALK, tmp_path / "in")
    ran = call("run", tmp_path / "in", "--out", tmp_path / "out", *arguments)
    assert ran.exit_code == 1
    assert ran.stderr.startswith("hpsvid: ") and ran.stderr.count("\n") == 1
    assert says in ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"no video")
    ran = call(
        "run", tmp_path / "in", "--out", tmp_path / "out", "--engine", "ray", "--address", address
    )
    assert ran.exit_code == 1
    assert ran.stderr.startswith(f"hpsvid: --address {address}") and ran.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
