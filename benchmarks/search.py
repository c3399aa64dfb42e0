"""What early stopping and models save, on recorded learning curves: python -m benchmarks.search.

Whole sweeps are replayed through the real conductor: which trial comes next, which one stops, what
the searcher is told. Only the training is looked up in `benchmarks/data/curves.json`.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.common import Row, arguments, finish, lower_is_better
from benchmarks.curves import Curves
from benchmarks.players import (
    ETA,
    GRACE_STEPS,
    SHARE,
    Independent,
    OptunaAlone,
    Ours,
    Player,
    Point,
    RayAsha,
    Task,
)

SLOTS = 4
EQUAL_SHARES = (0.1, 0.15, 0.2, SHARE)
TARGET_PERCENT = 5.0
RESOLUTION_PERCENT = 0.01
"""Of the recorded losses, about; what is nearer to the best counts as this."""
MEMORY = Path("/dev/shm")


def tasks() -> list[Task]:
    """Return the recorded seeds."""
    recorded = Curves.load()
    keys = [tuple(map(float, point.values())) for point in recorded.points]
    return [
        Task(recorded.grid, recorded.steps, dict(zip(keys, losses, strict=True)))
        for losses in recorded.losses
    ]


Trace = list[tuple[int, float]]
"""Steps spent and the lowest loss so far, after every report."""


def replay(player: Player, task: Task) -> Trace:
    """Play a sweep in slots side by side until its budget is spent or it has ended."""
    every = task.steps[0]
    trace: Trace = []
    live: list[tuple[int, int, int, Point]] = []  # time, number, step, values
    lowest, now = np.inf, 0
    while (len(trace) + 1) * every <= task.budget:
        while len(live) < SLOTS and (started := player.start()) is not None:
            number, point, step = started
            heapq.heappush(live, (now + every, number, step + every, point))
        if not live:
            break
        now, number, step, point = heapq.heappop(live)
        losses = task.curve(point)[: step // every]
        diverged = len(losses) < step // every
        stops = False
        if not diverged:
            lowest = min(lowest, losses[-1])
            stops = player.report(number, step, losses[-1])
        trace.append(((len(trace) + 1) * every, float(lowest)))
        if diverged or (not stops and step == task.steps[-1]):
            player.end(number, diverged)
        elif not stops:
            heapq.heappush(live, (now + every, number, step + every, point))
    return trace


ASHA = {"kind": "asha", "grace_steps": GRACE_STEPS, "eta": ETA}
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {"kind": "none"}),
    "random + ASHA": ("random", ASHA),
    "quasi-random + ASHA": ("quasi_random", ASHA),
    "random + ASHA with promotion": ("random", ASHA | {"promote": True}),
    "BOHB + ASHA": ("bohb", ASHA),
    "BOHB + ASHA with promotion": ("bohb", ASHA | {"promote": True}),
    "TPE": ("optuna", {"kind": "none"}),
    "TPE + ASHA": ("optuna", ASHA),
    "TPE + ASHA with promotion": ("optuna", ASHA | {"promote": True}),
}
PEERS: dict[str, Callable[[Task, int], Player]] = {
    "independent random search": Independent,
    "Optuna's TPE alone": OptunaAlone,
    "Ray's ASHA": RayAsha,
}


@dataclass
class Result:
    """What many sweeps of one kind came to; percentages throughout.

    Attributes:
        regret: At the end of each sweep.
        share: Of the grid's steps that each took.
        regret_at: At equal steps, by share of the grid.
        share_to_target: Of the grid's steps to a regret of `TARGET_PERCENT`; the whole budget where
            it was not reached.
    """

    regret: list[float]
    share: list[float]
    regret_at: dict[float, list[float]]
    share_to_target: list[float]

    def line(self, name: str) -> str:
        """Return a line of the table."""
        at = " ".join(f"{mean(found):6.1f}" for found in self.regret_at.values())
        shares = f"{median(self.share_to_target):7.1f} {median(self.share):7.1f}"
        return f"{name:<30} {median(self.regret):7.2f} {mean(self.regret):6.2f} {at} {shares}"


HEADER = (
    f"{'':<30} {'median':>7} {'mean':>6} "
    + " ".join(f"{f'{share:.0%}':>6}" for share in EQUAL_SHARES)
    + f" {'to 5 %':>7} {'steps':>7}"
)


def play(make: Callable[[Task, int], Player], num_seeds: int) -> Result:
    """Play a sweep for every seed, on the recorded seeds in turn."""
    result = Result([], [], {share: [] for share in EQUAL_SHARES}, [])
    recorded = tasks()
    for seed in range(num_seeds):
        task = recorded[seed % len(recorded)]
        trace = replay(make(task, seed), task)
        whole = len(task.curves) * task.steps[-1]
        regrets = [(spent / whole, task.regret(lowest)) for spent, lowest in trace]
        result.regret.append(regrets[-1][1])
        result.share.append(100 * regrets[-1][0])
        for share, found in result.regret_at.items():
            found.append([regret for at, regret in regrets if at <= share][-1])
        there = (at for at, regret in regrets if regret <= TARGET_PERCENT)
        result.share_to_target.append(100 * next(there, SHARE))
    return result


def _ours(searcher: str, scheduler: dict[str, Any], parent: Path) -> Callable[[Task, int], Player]:
    def make(task: Task, seed: int) -> Player:
        folder = tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)
        return Ours(
            task, Path(folder), searcher={"kind": searcher, "seed": seed}, scheduler=scheduler
        )

    return make


def compared(ours: Mapping[str, Result], peers: Mapping[str, Result]) -> list[Row]:
    """Return the rows: three of ours against every peer."""
    rows = []
    for name in ("quasi-random + ASHA", "random + ASHA", "BOHB + ASHA"):
        for peer, theirs in peers.items():
            mine = ours[name]
            label = f"{name}, {peer}"
            target = median(mine.share_to_target), median(theirs.share_to_target)
            rows.append(lower_is_better(f"{label}: to 5 %", *target, "% of the grid's steps"))
            us, them = (mean(it.regret_at[SHARE]) for it in (mine, theirs))
            unit = f"%, mean at {SHARE:.0%} of the steps"
            us, them = max(us, RESOLUTION_PERCENT), max(them, RESOLUTION_PERCENT)
            rows.append(lower_is_better(f"{label}: regret", us, them, unit))
    return rows


def main() -> None:
    """Replay everything and print the table of regrets, then the ratios."""
    given = arguments(__doc__ or "", repeats=100)
    print(HEADER)
    ours, peers = {}, {}
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for name, (searcher, scheduler) in OURS.items():
            ours[name] = play(_ours(searcher, scheduler, Path(folder)), given.repeats)
            print(ours[name].line(name), flush=True)
    for name, make in PEERS.items():
        peers[name] = play(make, given.repeats)
        print(peers[name].line(name), flush=True)
    finish(compared(ours, peers), given)


if __name__ == "__main__":
    main()
