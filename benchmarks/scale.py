"""Does a sweep get slower as it grows? 1,000 trials in 64 simulated slots, no training.

    python -m benchmarks.scale [--json FILE]

What is timed is all that the driver does for a result: deciding, journaling with every event forced
to disk, proposing the next trial, looking for superfluous checkpoints. The peer of the last hundred
trials' results are the first hundred trials' (both after the first start-up trials of the model).
"""

from __future__ import annotations

import heapq
import math
import random
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import median

from benchmarks.common import Row, arguments, finish, lower_is_better
from neft_ray.config.load import parse_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.retention import Retention

NUM_TRIALS, NUM_SLOTS, NUM_STEPS, EVERY = 1000, 64, 160, 10
HUNDRED = 100
SWEEP = """
name: scale
model: {path: builtin:base}
data: {train: builtin:tales}
training: {eval_every_steps: 10}
sweep:
  space:
    noise.alpha: {uniform: [0, 20]}
    optimizer.learning_rate: {loguniform: [1e-5, 1e-2]}
  scheduler: {kind: none}
  num_trials: 1000
  finalists: {num: 0}
"""
KINDS = {
    "random, ASHA": ("{kind: random}", "{kind: asha, grace_steps: 10, eta: 4}"),
    "random, ASHA with promotion": (
        "{kind: random}",
        "{kind: asha, grace_steps: 10, eta: 4, promote: true}",
    ),
    "TPE, ASHA": ("{kind: optuna}", "{kind: asha, grace_steps: 10, eta: 4}"),
}
MAX_RATIO, MAX_KILOBYTES = 1.2, 100.0


class Lengths:
    """Every trial is as long as the others."""

    def num_steps(self, config: TrialConfig) -> int:
        """See `neft_ray.sweep.state.Lengths`."""
        return NUM_STEPS

    def num_tokens(self, config: TrialConfig) -> int:
        """See `neft_ray.sweep.state.Lengths`."""
        return NUM_STEPS


def loss_of(config: TrialConfig, step: int) -> float:
    """Return a bowl in both hyper-parameters that falls with the steps."""
    rate = (math.log10(config.optimizer.learning_rate) + 3) ** 2
    return 2 + rate + (config.noise.alpha - 7) ** 2 / 50 + 5 / (step + 5)


def replay(config: SweepConfig, root: Path, num_slots: int = NUM_SLOTS) -> list[tuple[int, float]]:
    """Run the sweep; return the newest trial's number and the driver's seconds of every result."""
    run = RunDirectory(root)
    conductor = Conductor(config, run, Lengths())
    conductor.open()
    conductor.hold(num_slots, num_slots)
    retention = Retention(
        run, conductor.records, config.sweep.keep_checkpoints, config.sweep.objective
    )
    noise, now = random.Random(0), 0.0
    idle, live = num_slots, [(0.0, -1, 0)]
    times: list[tuple[int, float]] = []
    while live:
        now, number, step = heapq.heappop(live)
        began = time.perf_counter()
        if number >= 0:
            record = conductor.records[number]
            loss = loss_of(conductor.trial_config(record), step)
            began = time.perf_counter()
            stops = conductor.report(number, step, {"select_loss": loss})
            retention.saved(number, step)
            if stops or step == NUM_STEPS:
                conductor.end(number, "stopped" if stops else "completed")
                retention.ended(number)
                idle += 1
            else:
                heapq.heappush(live, (now + noise.uniform(0.8, 1.2), number, step + EVERY))
        while idle and (given := conductor.next_trial()) is not None:
            idle -= 1
            first = given.last_step + EVERY
            heapq.heappush(live, (now + noise.uniform(0.8, 1.2), given.number, first))
        _ = conductor.is_finished
        if number >= 0:
            times.append((len(conductor.records), time.perf_counter() - began))
    conductor.close()
    return times


def config_of(searcher: str, scheduler: str, num_trials: int = NUM_TRIALS) -> SweepConfig:
    """Return the sweep with a searcher and a scheduler."""
    settings = {"searcher": searcher, "scheduler": scheduler, "num_trials": num_trials}
    overrides = [f"sweep.{key}={value}" for key, value in settings.items()]
    return parse_sweep(SWEEP, "scale.yaml", overrides)


def measure(name: str, repeats: int) -> list[Row]:
    """Return the rows of one kind of sweep."""
    config, ratios = config_of(*KINDS[name]), []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            times = replay(config, Path(folder))
        begin = NUM_SLOTS + HUNDRED
        early = [spent for newest, spent in times if NUM_SLOTS < newest <= begin]
        late = [spent for newest, spent in times if newest > NUM_TRIALS - HUNDRED]
        ratios.append((sum(late) / len(late), sum(early) / len(early)))
    late_ms, early_ms = (1e3 * median(pair[n] for pair in ratios) for n in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        tracemalloc.start()
        conductor = Conductor(config, RunDirectory(Path(folder)), Lengths())
        conductor.close()
        before = tracemalloc.get_traced_memory()[0]
        replay(config, Path(folder))
        again = Conductor(config, RunDirectory(Path(folder)), Lengths())
        kilobytes = (tracemalloc.get_traced_memory()[0] - before) / 1e3 / len(again.records)
        tracemalloc.stop()
        again.close()
    return [
        lower_is_better(f"{name}: driver per result, late to early", late_ms, early_ms, "ms"),
        lower_is_better(f"{name}: memory per trial, to 100 kB", kilobytes, MAX_KILOBYTES, "kB"),
    ]


def main() -> None:
    """Print the table."""
    given = arguments(__doc__ or "", repeats=3)
    finish([row for name in KINDS for row in measure(name, given.repeats)], given)


if __name__ == "__main__":
    main()
