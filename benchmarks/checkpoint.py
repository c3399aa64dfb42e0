"""Checkpoints while training goes on, against waiting for them: python -m benchmarks.checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from torch import distributed
from torch.multiprocessing.spawn import start_processes

from benchmarks.common import Row, arguments, finish, lower_is_better, spread
from benchmarks.synthetic import random_data, training, workers, write_llama
from neft_ray.cores import use_cores
from neft_ray.strategy.base import BackgroundEngine
from neft_ray.train import checkpoint
from neft_ray.train.contents import State

MEASURES = (
    "step",
    "step that saves",
    "step meanwhile",
    "stall, waits",
    "stall, goes on",
    "on disk, goes on",
)
Times = dict[str, list[float]]
LARGE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12}
SMALL = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}


@dataclass(frozen=True)
class Case:
    """A model of a size, and who trains it on eight random rows per step."""

    name: str
    kind: str
    workers: int
    vocabulary: int
    length: int
    targets: float
    """Share of the tokens that are."""
    sizes: Mapping[str, int]
    tied: bool = True


CASES = (
    Case("39.6M, ddp, 2 workers", "ddp", 2, 1024, 64, 1.0, LARGE),
    Case("39.6M, fsdp, 2 workers", "fsdp", 2, 1024, 64, 1.0, LARGE),
    Case("19M, ddp, 1 worker", "ddp", 1, 32_000, 256, 0.4, SMALL, tied=False),
)
"""475 MB with Adam's moments, and 228 MB."""


def work(rank: int, folder: str, case: Case, repeats: int) -> None:
    """Train as one of the workers; rank 0 writes down what it measured."""
    use_cores(2 // case.workers)
    data = random_data(1024, case.length, case.vocabulary, case.targets)
    values = {"strategy.kind": case.kind, "batch.size_examples": 8}
    with (
        workers(folder, rank, case.workers),
        training(f"{folder}/model", data, values) as (engine, steps),
    ):
        assert isinstance(engine, BackgroundEngine)
        times = measure(engine, steps, Path(folder) / "checkpoints", repeats)
        if rank == 0:
            Path(folder, "times.json").write_text(json.dumps(times))


def measure(
    engine: BackgroundEngine, steps: Iterator[dict[str, float]], there: Path, repeats: int
) -> Times:
    """Save in turns waiting and going on; one run of each before them is not counted."""
    times: Times = {name: [] for name in MEASURES}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        distributed.barrier()
        start = time.perf_counter()
        result = function()
        times[name].append(time.perf_counter() - start)
        return result

    for number in range(repeats + 1):
        state = State(number, "", {})
        timed("step", partial(next, steps))
        timed("stall, waits", partial(checkpoint.save, engine, there / "waits", state))
        start = time.perf_counter()
        pending = timed("stall, goes on", partial(checkpoint.Pending, engine, there, state))
        timed("step meanwhile", partial(next, steps))
        times["step that saves"].append(time.perf_counter() - start)
        while not pending.is_written():
            timed("step meanwhile", partial(next, steps))
        timed("stall, goes on", pending.complete)
        times["on disk, goes on"].append(time.perf_counter() - start)
        begun, ended = times["stall, goes on"][-2:]
        times["stall, goes on"][-2:] = [begun + ended]
        if number == 0:
            times = {name: [] for name in MEASURES}
    return times


def compare(case: Case, repeats: int) -> list[Row]:
    """Measure one case."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        write_llama(model, case.vocabulary, case.length, case.sizes, case.tied)
        given = (folder, case, repeats)
        start_processes(work, given, nprocs=case.workers, start_method="spawn")  # type: ignore[no-untyped-call]
        times: Times = json.loads(Path(folder, "times.json").read_text())
    for name in MEASURES:
        print(spread(f"{case.name}: {name}", times[name]))
    middle = {name: 1e3 * median(seconds) for name, seconds in times.items()}
    waits, step = middle["stall, waits"], middle["step"]
    return [
        lower_is_better(f"{case.name}: stall", middle["stall, goes on"], waits, "ms"),
        lower_is_better(f"{case.name}: until on disk", middle["on disk, goes on"], waits, "ms"),
        lower_is_better(
            f"{case.name}: a step that saves, to one that does not",
            middle["step that saves"],
            step,
            "ms",
        ),
    ]


def main() -> None:
    """Compare all cases."""
    given = arguments(__doc__ or "", repeats=5)
    finish([row for case in CASES for row in compare(case, given.repeats)], given)


if __name__ == "__main__":
    main()
