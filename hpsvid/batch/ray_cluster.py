"""Jobs as tasks of a Ray cluster, one clip a task."""

import logging
import socket
from collections.abc import Generator, Sequence
from typing import Any

from hpsvid.batch.jobs import Job, Row, Work, failed, finished
from hpsvid.errors import DependencyError, InputError, one_line

RETRIES = 3  # times that a clip is tried again after its worker was lost
CPUS_A_CLIP = 2  # one for the networks, one for decoding and encoding beside them
CONNECT_S = 10.0  # to wait for the cluster's port


def run_on_ray(
    jobs: Sequence[Job], work: Work, *, address: str, at_once: int | None, threads: int
) -> Generator[Row]:
    """The rows of `jobs` as they are done; each says in how many `attempts`.

    address: HOST:PORT of the cluster, or "auto" for the one that this machine belongs to.
    at_once: tasks at a time; None leaves it to the cluster. threads: CPUs that a task takes.
    A job whose worker or node is lost is tried again, RETRIES times; Ray's own retries are off,
    because those after a lack of memory know no bound. Raises DependencyError without Ray,
    InputError when no such cluster answers or none of its nodes is large enough.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError as error:
        raise DependencyError(
            f"--engine ray: the package ray cannot be used here ({one_line(error)}); "
            "pip install 'hpsvid[ray]'"
        ) from error
    _connect(ray, address, threads)
    task = ray.remote(num_cpus=threads, max_retries=0)(work)
    running: dict[Any, tuple[Job, int]] = {}
    waiting = [(job, 1) for job in reversed(jobs)]
    try:
        while waiting or running:
            while waiting and len(running) < (at_once or len(jobs)):
                job, attempt = waiting.pop()
                running[task.remote(job)] = job, attempt
            (reference,), _ = ray.wait(list(running), num_returns=1)
            job, attempt = running.pop(reference)
            try:
                row = ray.get(reference)
            except RayTaskError as error:  # `work` itself fails thus only when not found there
                row = failed(job, f"its task failed: {one_line(error).rpartition('Error: ')[2]}")
            except RayError as error:
                row = finished(job)  # lost after its last deed
                if row is None and attempt <= RETRIES:
                    waiting.append((job, attempt + 1))
                    continue
                name = type(error).__name__
                row = row or failed(job, f"its worker was lost {attempt} times ({name})")
            yield {**row, "attempts": attempt}
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _connect(ray: Any, address: str, threads: int) -> None:
    try:
        if address != "auto":  # Ray itself would try for minutes, and fill the screen
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises what its transports raise
        raise InputError(
            f"--address {address}: no Ray cluster answers ({one_line(error).split('. ')[0]}); "
            "start one with `ray start --head`, or give the HOST:PORT that it printed"
        ) from error
    largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    if largest < threads:
        ray.shutdown()
        raise InputError(
            f"--threads {threads}: the largest node of the cluster has {largest:.0f} CPUs; give "
            "at most that many, or a larger node would be waited for without end"
        )
