"""What a cluster costs the machine that leads it: python -m benchmarks.head [--json FILE].

A real sweep in 1 and in 8 slots of a cluster whose cores are made up: memory and processor time of
the driver, of every slot and its helpers, of Ray. Idle machines, made up too: what Ray's own
processes take for 8 and for 64. Requests to a store per report and per trial, counted by one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from benchmarks.common import Row, arguments, finish, lower_is_better
from benchmarks.plays import FREE_SWEEP
from neft_ray.journal import read_events
from neft_ray.run_directory import find_runs
from tests.unit.bucket_server import Faulty, s3_server

SLOTS, NODES = (1, 8), (8, 64)
WATCHED_SECONDS = 20.0
EVERY = 12
"""Steps between reports."""
MB = 1e6
GROUPS = {
    "ray::Slot": "slot",
    "ray::Mailbox": "mailbox",
    "ray::Synchroniz": "synchronization",
    "ray::RayTrain": "worker",
    "neft_ray.cli": "driver",
    "gcs_server": "gcs",
    "raylet/raylet": "raylet",
}
Use = dict[str, tuple[float, float, int]]
"""Bytes, processor seconds per second and processes, by group."""


def use(seconds: float) -> Use:
    """Watch what this process has started, and what that has."""
    before = {p: p.cpu_times() for p in _processes()}
    began = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - began
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for process, times in before.items():
        try:
            group, now = _group(process), process.cpu_times()
            found[group][0] += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        found[group][1] += (now.user + now.system - times.user - times.system) / lasted
        found[group][2] += 1
    return {group: (size, share, int(num)) for group, (size, share, num) in found.items()}


def _processes() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))


def _group(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    return next((name for mark, name in GROUPS.items() if mark in line), "other")


@contextmanager
def sweep(
    folder: Path, num_slots: int, epochs: int, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sweep in so many slots on a cluster of its own; end it with the `with` block."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": num_slots})
    file = folder / "sweep.yaml"
    storage = environment.pop("storage", str(folder))
    text = FREE_SWEEP.format(
        storage=storage, num=num_slots, slots=num_slots, epochs=epochs, every=EVERY
    )
    file.write_text(text)
    command = [sys.executable, "-m", "neft_ray.cli", "sweep", str(file)]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [*command, "--address", cluster.address],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()
            ray.shutdown()
            cluster.shutdown()


def of_slots(num_slots: int) -> Use:
    """Watch a sweep once every slot has reported."""
    with tempfile.TemporaryDirectory() as name, sweep(Path(name), num_slots, 10_000):
        _wait(lambda: _num_reporting(Path(name)) == num_slots)
        return use(WATCHED_SECONDS)


def of_nodes(num_nodes: int) -> Use:
    """Watch a cluster of idle machines."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(wait=False, num_cpus=1)
        cluster.wait_for_nodes(timeout=600)
        return use(WATCHED_SECONDS)
    finally:
        cluster.shutdown()


def of_store() -> tuple[float, float]:
    """Return the requests to a store per report, with its checkpoint, and per trial beside them."""
    app, totals = Faulty(), []
    with s3_server(app) as bucket:
        for epochs in (8, 24):  # 2 and 6 reports
            with tempfile.TemporaryDirectory() as name:
                scratch = {"NEFT_RAY_SCRATCH": name, "storage": f"{bucket}/{epochs}"}
                before = app.num_requests
                with sweep(Path(name), 1, epochs, **scratch) as process:
                    process.wait()
                (run,) = Path(name).rglob("journal.jsonl")
                num = sum(event["event"] == "report" for event in read_events(run))
                totals.append((num, app.num_requests - before))
    (few, fewer), (many, more) = totals
    per_report = (more - fewer) / (many - few)
    return per_report, fewer - few * per_report


def _num_reporting(storage: Path) -> int:
    runs = find_runs(storage)
    events: Iterable[Any] = read_events(runs[-1].journal_file) if runs else ()
    return len({event["trial"] for event in events if event["event"] == "report"})


def _wait(until: Callable[[], bool]) -> None:
    while not until():
        time.sleep(1)


def main() -> None:
    """Print the tables."""
    given = arguments(__doc__ or "", repeats=1)
    slots = {num: of_slots(num) for num in SLOTS}
    nodes = {num: of_nodes(num) for num in NODES}
    for kind, found in (("slots", slots), ("machines", nodes)):
        for num, groups in found.items():
            for group, (size, share, processes) in sorted(groups.items()):
                text = f"{processes:4} processes {size / MB:8.0f} MB {100 * share:6.1f} % of a core"
                print(f"{num:4} {kind:9} {group:16} {text}")
    per_report, per_trial = of_store()
    print(f"store: {per_report:.1f} requests per report, {per_trial:.1f} per trial beside them")
    finish([*_rows("slots", slots), *_rows("machines", nodes)], given)


def _rows(kind: str, found: dict[int, Use]) -> list[Row]:
    (few, least), (many, most) = found.items()
    rows = []
    for group in sorted(least.keys() & most.keys()):
        name = f"{kind}: {group}, {many} to {few}"
        rows.append(lower_is_better(name, most[group][0] / MB, least[group][0] / MB, "MB"))
    return rows


if __name__ == "__main__":
    main()
