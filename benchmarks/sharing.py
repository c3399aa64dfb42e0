"""Trials that share a machine: python -m benchmarks.sharing [--repeats 2] [--json FILE].

Tokens per second of all trials together, on two cores: one trial with both, two with one each, and
two that believe to have both, as torch would have it without `workers.cpus`. The built-in base, and
a Llama of 4 layers of 256 with 32,000 words; packed rows.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from torch.multiprocessing.spawn import start_processes

from benchmarks.common import Row, arguments, finish, higher_is_better
from benchmarks.synthetic import random_data, training, write_llama
from neft_ray.cores import use_cores
from neft_ray.model import resolve_path

SIZES = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}
LENGTH, ROWS_PER_STEP = 128, 16
WAYS = {
    "1 trial, 2 threads": (1, 2),
    "2 trials, 1 thread each": (2, 1),
    "2 trials, 2 threads each": (2, 2),
}
BEST = "2 trials, 1 thread each"


@dataclass(frozen=True)
class Load:
    """A model, and how many steps of it are timed."""

    name: str
    model: str
    vocabulary: int
    steps: int


def work(number: int, folder: str, load: Load, trials: int, threads: int) -> None:
    """Train as one of the trials; write down when each step ended."""
    use_cores(threads)
    data, ends = random_data(4 * ROWS_PER_STEP, LENGTH, load.vocabulary), []
    sizes = {"size_examples": ROWS_PER_STEP, "micro_tokens": 4096, "kind": "packed"}
    values = {f"batch.{key}": value for key, value in sizes.items()}
    with training(load.model, data, values) as (_, steps):
        next(steps)
        Path(folder, f"ready-{number}").touch()
        while not all(Path(folder, f"ready-{other}").exists() for other in range(trials)):
            time.sleep(0.01)
        for _ in range(load.steps):
            next(steps)
            ends.append(time.time())
    Path(folder, f"ends-{number}.json").write_text(json.dumps(ends))


def rate(load: Load, trials: int, threads: int) -> float:
    """Return tokens per second of all trials, while all of them train."""
    with tempfile.TemporaryDirectory() as folder:
        given = (folder, load, trials, threads)
        start_processes(work, given, nprocs=trials, start_method="spawn")  # type: ignore[no-untyped-call]
        ends: list[list[float]] = [
            json.loads(path.read_text()) for path in Path(folder).glob("ends-*.json")
        ]
    begin, end = max(found[0] for found in ends), min(found[-1] for found in ends)
    num_steps = sum(begin < when <= end for found in ends for when in found)
    return num_steps * ROWS_PER_STEP * LENGTH / (end - begin)


def compare(load: Load, repeats: int) -> list[Row]:
    """Measure all ways in turns."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, (trials, threads) in WAYS.items():
            rates[way].append(rate(load, trials, threads))
    for way, found in rates.items():
        low, middle, high = min(found), median(found), max(found)
        print(f"{load.name}: {way:<28} {low:9.0f} {middle:9.0f} {high:9.0f}  tokens/s")
    middles = {way: median(found) for way, found in rates.items()}
    return [
        higher_is_better(f"{load.name}: {BEST}, to {way}", middles[BEST], found, "tokens/s")
        for way, found in middles.items()
        if way != BEST
    ]


def main() -> None:
    """Print the table."""
    given = arguments(__doc__ or "", repeats=2)
    with tempfile.TemporaryDirectory() as folder:
        write_llama(Path(folder), 32_000, LENGTH, SIZES)
        loads = [
            Load("built-in base", resolve_path("builtin:base"), 1024, 12),
            Load("11M", folder, 32_000, 3),
        ]
        finish([row for load in loads for row in compare(load, given.repeats)], given)


if __name__ == "__main__":
    main()
