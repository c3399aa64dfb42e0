"""How cost grows: python -m benchmarks.growth [--plot FILE] [--json FILE].

Tokens per second of training against workers, accumulation, length of the rows and vocabulary: a
Llama of 4 layers of 256, random tokens, one thread per worker. The driver's time per result against
the number of trials and of slots, as in `benchmarks/scale.py`. The memory of a slot's worker over
50 trials of the built-in base. A row compares each with the first of its kind.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

from torch.multiprocessing.spawn import start_processes

from benchmarks.common import Arguments, Row, finish, higher_is_better, lower_is_better, parser
from benchmarks.plays import FREE_SWEEP, play_ours
from benchmarks.scale import KINDS, config_of, replay
from benchmarks.synthetic import random_data, training, workers, write_llama
from neft_ray.cores import use_cores

TOKENS_PER_STEP = 4096
SIZES = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}
NUM_TRIALS, SETTLED = 50, 10


@dataclass(frozen=True)
class Panel:
    """One plot: what grows, and what it does to a cost."""

    title: str
    across: str
    up: str
    points: Mapping[int, float] = field(default_factory=dict)
    is_rate: bool = True
    """Higher is better."""

    @property
    def rows(self) -> list[Row]:
        """Each point beside the first."""
        (_, first), *others = self.points.items()
        compare = higher_is_better if self.is_rate else lower_is_better
        start = next(iter(self.points))
        return [
            compare(f"{self.title}: {value} {self.across} to {start}", found, first, self.up)
            for value, found in others
        ]


@dataclass(frozen=True)
class Load:
    """What is trained."""

    workers: int = 1
    micro_tokens: int = TOKENS_PER_STEP
    length: int = 256
    vocabulary: int = 1024


def work(rank: int, folder: str, load: Load, repeats: int) -> None:
    """Train as one of the workers; rank 0 writes down the tokens per second."""
    use_cores(1)
    rows, times = TOKENS_PER_STEP // load.length, []
    data = random_data(4 * rows, load.length, load.vocabulary)
    sizes = {"size_examples": rows, "micro_tokens": load.micro_tokens, "kind": "packed"}
    values = {f"batch.{key}": value for key, value in sizes.items()}
    with (
        workers(folder, rank, load.workers),
        training(f"{folder}/model", data, values) as (_, steps),
    ):
        next(steps)
        for _ in range(repeats):
            start = time.perf_counter()
            next(steps)
            times.append(time.perf_counter() - start)
    if rank == 0:
        Path(folder, "rate.json").write_text(json.dumps(TOKENS_PER_STEP / median(times)))


def rate(load: Load, repeats: int) -> float:
    """Return tokens per second."""
    with tempfile.TemporaryDirectory() as folder:
        write_llama(Path(folder) / "model", load.vocabulary, load.length, SIZES)
        given = (folder, load, repeats)
        start_processes(work, given, nprocs=load.workers, start_method="spawn")  # type: ignore[no-untyped-call]
        return float(json.loads(Path(folder, "rate.json").read_text()))


def throughput(repeats: int) -> list[Panel]:
    """Return the plots of tokens per second."""
    panels = [
        ("workers", "workers", [Load(workers=n) for n in (1, 2)]),
        (
            "accumulation",
            "tokens per micro-batch",
            [Load(micro_tokens=n) for n in (4096, 2048, 1024, 512, 256)],
        ),
        ("length", "tokens per row", [Load(length=n) for n in (64, 256, 1024, 4096)]),
        ("vocabulary", "words", [Load(vocabulary=n) for n in (1024, 8192, 32768, 131072)]),
    ]
    keys = ("workers", "micro_tokens", "length", "vocabulary")
    return [
        Panel(title, across, "tokens/s", {getattr(at, key): rate(at, repeats) for at in loads})
        for (title, across, loads), key in zip(panels, keys, strict=True)
    ]


def driver() -> list[Panel]:
    """Return the plots of the driver's milliseconds per result."""

    def milliseconds(num_trials: int, num_slots: int) -> float:
        config = config_of(*KINDS["TPE, ASHA"], num_trials)
        with tempfile.TemporaryDirectory() as folder:
            times = replay(config, Path(folder), num_slots)
        return 1e3 * sum(spent for _, spent in times) / len(times)

    up = "ms of the driver per result"
    return [
        Panel("trials", "trials", up, {n: milliseconds(n, 8) for n in (10, 100, 1000)}, False),
        Panel("slots", "slots", up, {n: milliseconds(256, n) for n in (1, 8, 64)}, False),
    ]


def memory() -> Panel:
    """Return the plot of a worker's memory."""
    with tempfile.TemporaryDirectory() as folder:
        text = FREE_SWEEP.format(storage=folder, num=NUM_TRIALS, slots=1, epochs=1, every=2)
        play = play_ours(text, Path(folder))
    ends = sorted(times[-1] for times in play.steps.values())
    megabytes = {}
    for number, end in enumerate(ends, start=1):
        after = (used for when, used in play.worker_bytes if when >= end)
        megabytes[number] = next(after, play.worker_bytes[-1][1]) / 1e6
    return Panel("memory", "trials", "MB of a slot's worker", megabytes, False)


def draw(panels: list[Panel], path: Path) -> None:
    """Write all plots as one picture."""
    import matplotlib

    from neft_ray.report.figures.style import BLUE, SETTINGS

    matplotlib.use("agg")
    with matplotlib.rc_context(SETTINGS):
        figure = matplotlib.figure.Figure(figsize=(13, 6))
        for place, panel in zip(figure.subplots(2, 4).flat, panels, strict=False):
            place.plot(list(panel.points), list(panel.points.values()), "o-", color=BLUE, ms=4)
            place.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
            place.set_ylim(0, 1.1 * max(panel.points.values()))
            if max(panel.points) > 8 * min(panel.points) and panel.title != "memory":
                place.set_xscale("log", base=2 if panel.is_rate else 10)
            if len(panel.points) == 2:
                place.set_xticks(list(panel.points))
        for place in islice(figure.axes, len(panels), None):
            place.set_axis_off()
        figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    """Print the table and draw the picture."""
    options = parser(__doc__ or "", repeats=3)
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG there")
    given = options.parse_args()
    panels = [*throughput(given.repeats), *driver(), memory()]
    for panel in panels:
        found = ", ".join(f"{value}: {cost:.4g}" for value, cost in panel.points.items())
        print(f"{panel.title} ({panel.up}): {found}")
    if given.plot is not None:
        draw(panels, given.plot)
    last = panels[-1].points
    per_trial = (last[NUM_TRIALS] - last[SETTLED]) / (NUM_TRIALS - SETTLED)
    print(f"memory per trial after the tenth: {per_trial:.3f} MB")
    rows = [row for panel in panels[:-1] for row in panel.rows]
    finish(rows, Arguments(given.repeats, given.json))


if __name__ == "__main__":
    main()
