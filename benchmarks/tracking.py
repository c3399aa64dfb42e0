"""The cost of metric points in MLflow, against Ray's own callback: python -m benchmarks.tracking.

The same points of the same trials go to a real MLflow server with a sqlite file, on loopback, by
two ways. Ours: each trial appends to its file, and the mirror's thread sends what is new. The
peer: `ray.air.integrations.mlflow.MLflowLoggerCallback`, called as Tune calls it, in the driver's
thread. The calls take turns over the trials; the two ways take turns too. What Tune itself adds to
each result, a dozen more numbers to send, is left out: it would favour ours.

Counted and timed is everything from the connection to the end of the last run. Requests are the
lines in the server's own log of them. Afterwards every value is read back and compared. At full
speed nothing waits between two steps. As the mirror sends every two seconds what there is, a
request for each trial, it asks more often the longer training takes: so ours is also run once at a
given pace.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.common import Row, arguments, finish, lower_is_better, spread
from neft_ray.strategy.base import Engine
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.shown import shown_name
from neft_ray.train.outputs import metrics_log
from tests.system.servers import Server

TRIALS, STEPS = 4, 40
WARM_STEPS = 5
PACE_SECONDS = 0.1
"""Between two steps of a trial that trains at its pace."""
PARAMS = {"noise.alpha": 5.0, "optimizer.learning_rate": 3e-4, "optimizer.weight_decay": 0.01}
ITERATION = "training_iteration"
"""The callback takes the step from this metric, which it sends as well."""
METRICS = ("train_loss", "grad_norm", "learning_rate", "epoch", "tokens", "noise_norm", "rows")


@dataclass(frozen=True, eq=False)
class Trial:
    """What the callback asks of one of Tune's trials; the hash is the object's own, as there."""

    name: str
    config: dict[str, float]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True)
class Cost:
    """What the points of all trials came to."""

    requests: int
    seconds: float
    """Until all points were there and all runs ended."""
    step_seconds: float
    """What a step waits for its call, on average."""


def num_requests(server: Server) -> int:
    """Return how many requests a server has answered: its log has a line for each."""
    return server.log.read_text().count(' HTTP/1.1" ')


def names() -> list[str]:
    """Return the trials' names."""
    return [f"t{number:03d}" for number in range(TRIALS)]


def point(trial: int, step: int) -> dict[str, float]:
    """Return the metrics of one step."""
    found = {name: (trial + 1) / (step + i) for i, name in enumerate(METRICS)}
    return {**found, ITERATION: step}


def log_all(log: list[Callable[[int, dict[str, float]], Any]], steps: int, pause: float) -> float:
    """Log all steps, the trials in turns; return the seconds that a call takes on average."""
    seconds = 0.0
    for step in range(1, steps + 1):
        for trial, call in enumerate(log):
            metrics = point(trial, step)
            start = time.perf_counter()
            call(step, metrics)
            seconds += time.perf_counter() - start
        time.sleep(pause)
    return seconds / (steps * len(log))


def run_ours(server: Server, folder: Path, steps: int, pause: float = 0.0) -> Cost:
    """Write the points to files while the mirror sends them; the experiment is the folder's."""
    before, start = num_requests(server), time.perf_counter()
    mirror = MlflowMirror(MlflowStore(server.uri, folder, folder.name))
    describe(folder, folder.name, {}, {})
    mirror.start_parent(folder)
    engine = cast(Engine, SimpleNamespace(rank=0))
    with MirrorThread(mirror) as thread:
        trials = [folder / "trials" / name for name in names()]
        with ExitStack() as stack:
            for trial in trials:
                describe(trial, trial.name, PARAMS, {})
                thread.add(trial)
            logs = [stack.enter_context(metrics_log(engine, trial)) for trial in trials]
            step_seconds = log_all(logs, steps, pause)
        for ended in (*trials, folder):
            thread.finish(ended, "FINISHED")
    seconds = time.perf_counter() - start
    if thread.num_failures or thread.num_waiting_points:
        raise RuntimeError(f"{thread.num_failures} failures, {thread.num_waiting_points} waiting")
    requests = num_requests(server) - before
    check(mirror.store.client, folder.name, steps, shown_name)
    return Cost(requests, seconds, step_seconds)


def run_peer(server: Server, experiment: str, steps: int) -> Cost:
    """Hand the points to Ray's callback, as Tune's driver does."""
    from mlflow import MlflowClient
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    before, start = num_requests(server), time.perf_counter()
    callback = MLflowLoggerCallback(server.uri, experiment_name=experiment)
    callback.setup()
    trials = [Trial(name, dict(PARAMS)) for name in names()]
    for trial in trials:
        callback.log_trial_start(trial)

    def result(trial: Trial, step: int, metrics: dict[str, float]) -> None:
        callback.log_trial_result(step, trial, metrics)

    step_seconds = log_all([partial(result, trial) for trial in trials], steps, 0.0)
    for trial in trials:
        callback.log_trial_end(trial)
    seconds = time.perf_counter() - start
    requests = num_requests(server) - before
    check(MlflowClient(server.uri), experiment, steps, str)
    return Cost(requests, seconds, step_seconds)


def check(client: Any, experiment: str, steps: int, shown: Callable[[str], str]) -> None:
    """Raise an error unless the store holds every point once, and no other, in ended runs."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    runs = {run.info.run_name: run for run in found if run.info.run_name in names()}
    if len(runs) != TRIALS:
        raise RuntimeError(f"{experiment}: {len(runs)} runs instead of {TRIALS}")
    for trial, name in enumerate(names()):
        run, metrics = runs[name], {shown(metric): metric for metric in (*METRICS, ITERATION)}
        if run.info.status != "FINISHED" or run.data.metrics.keys() != metrics.keys():
            raise RuntimeError(f"{experiment}, {name}: {run.info.status}, {run.data.metrics}")
        for there, here in metrics.items():
            history = client.get_metric_history(run.info.run_id, there)
            stored = sorted((value.step, value.value) for value in history)
            if stored != [(step, point(trial, step)[here]) for step in range(1, steps + 1)]:
                raise RuntimeError(f"{experiment}, {name}, {there}: not {steps} values: {stored}")


def compare(ours: list[Cost], peer: list[Cost], paced: Cost) -> list[Row]:
    """Print what the runs came to, and return the rows."""
    for name, costs in (("neft_ray", ours), ("MLflowLoggerCallback", peer)):
        print(spread(f"{name}: until all is there", [cost.seconds for cost in costs]))
        print(spread(f"{name}: 1000 steps wait", [1e3 * cost.step_seconds for cost in costs]))
        print(f"{name}: requests {', '.join(str(cost.requests) for cost in costs)}")

    def row(name: str, unit: str, value: Callable[[Cost], float]) -> Row:
        return lower_is_better(name, median(map(value, ours)), median(map(value, peer)), unit)

    asked = row("requests, at full speed", "requests", lambda cost: cost.requests)
    pace = f"requests, {1 / PACE_SECONDS:.0f} steps a second and trial"
    return [
        asked,
        lower_is_better(pace, paced.requests, asked.peer, "requests"),
        row("until all points are there", "s", lambda cost: cost.seconds),
        row("a step waits", "µs", lambda cost: 1e6 * cost.step_seconds),
    ]


def main() -> None:
    """Compare both ways."""
    given = arguments(__doc__ or "", repeats=3)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = Server(folder / "server")
        stack.callback(server.kill)
        ours, peer = list[Cost](), list[Cost]()
        run_ours(server, folder / "warm", WARM_STEPS)
        run_peer(server, "warm peer", WARM_STEPS)
        for number in range(given.repeats):
            ours.append(run_ours(server, folder / f"ours {number}", STEPS))
            peer.append(run_peer(server, f"peer {number}", STEPS))
        paced = run_ours(server, folder / "paced", STEPS, PACE_SECONDS)
    print(f"{TRIALS} trials, {STEPS} steps, {len(METRICS) + 1} metrics")
    finish(compare(ours, peer, paced), given)


if __name__ == "__main__":
    main()
