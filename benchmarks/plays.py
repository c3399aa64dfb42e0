"""One sweep from a cold start, by neft_ray and by the stock script, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.stock import REPORT_FILE, STEP_FILE, Spec
from neft_ray.config.load import parse_sweep
from neft_ray.model import resolve_path
from neft_ray.run_directory import find_runs
from neft_ray.sweep.driver import DataCache

POLL_SECONDS = 0.25
WORKER = "ray::RayTrain"
"""How the name of a Ray Train worker's process begins; the kernel keeps 15 letters."""
FREE_SWEEP = """
name: free
storage: {storage}
model: {{path: "builtin:base"}}
data: {{train: "builtin:tales", template: question, max_length_tokens: 192, max_rows: 64}}
batch: {{size_examples: 16, micro_tokens: 4096}}
training: {{epochs: {epochs}, eval_every_steps: {every}, train_loss_rows: 0}}
sweep:
  space: {{noise.alpha: {{uniform: [0, 20]}}}}
  searcher: {{kind: random}}
  scheduler: {{kind: none}}
  num_trials: {num}
  control: null
  finalists: {{num: 0}}
  slots: {slots}
"""
"""The text of a sweep whose trials are all alike but for α."""
Report = tuple[float, float]
"""Time and held-out loss."""
Steps = Mapping[str, list[float]]
"""When each trial's steps ended."""


@dataclass
class Play:
    """What was seen of a sweep; times are seconds since it was started.

    Attributes:
        seconds: Until its process ended.
        processor: Processor seconds of the process and all it started, over time.
        reports: In order of time.
        steps: By trial.
        worker_bytes: Resident memory of the largest Ray Train worker, over time.
    """

    seconds: float
    processor: list[tuple[float, float]]
    reports: list[Report] = field(default_factory=list)
    steps: Steps = field(default_factory=dict)
    worker_bytes: list[tuple[float, float]] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The lowest loss of all reports."""
        return min(loss for _, loss in self.reports)

    def until(self, target: float) -> tuple[float, float]:
        """Return seconds and processor seconds until the first report at or below a loss."""
        when = next(time for time, loss in self.reports if loss <= target)
        return when, next(spent for time, spent in self.processor if time >= when)


def play_both(sweep: str, fields: Mapping[str, object]) -> tuple[Play, Play]:
    """Run ours, then the stock script.

    Args:
        sweep: The text of a sweep file with fields in braces, `{storage}` among them.
        fields: The others.
    """
    with tempfile.TemporaryDirectory() as folder:
        ours, stock = Path(folder) / "ours", Path(folder) / "stock"
        ours.mkdir()
        stock.mkdir()
        text = sweep.format(storage=ours, **fields)
        return play_ours(text, ours), _play_stock(_spec_of(text, stock))


def play_ours(text: str, folder: Path) -> Play:
    """Run a sweep file's text in a folder, which its `storage` names."""
    file = folder / "sweep.yaml"
    file.write_text(text)
    start, play = _run([sys.executable, "-m", "neft_ray.cli", "sweep", str(file)], folder)
    run = find_runs(folder)[-1]
    events = _lines(run.journal_file)
    play.reports = [
        (event["time"] - start, event["metrics"]["select_loss"])
        for event in events
        if event["event"] == "report"
    ]
    for number in sorted(event["trial"] for event in events if event["event"] == "suggest"):
        points = _lines(run.trial(number) / "metrics.jsonl")
        times = [p["timestamp_ms"] / 1000 - start for p in points if "train_loss" in p["metrics"]]
        play.steps = {**play.steps, str(number): times}
    return play


def _play_stock(spec: Spec) -> Play:
    """Run the stock script."""
    folder = Path(spec.output)
    file = folder / "spec.json"
    file.write_text(json.dumps(asdict(spec)))
    start, play = _run([sys.executable, "-m", "benchmarks.stock", str(file)], folder)
    play.reports = [(e["time"] - start, e["loss"]) for e in _lines(folder / REPORT_FILE)]
    for event in _lines(folder / STEP_FILE):
        times = [*play.steps.get(event["trial"], []), event["time"] - start]
        play.steps = {**play.steps, event["trial"]: times}
    return play


def _spec_of(text: str, output: Path) -> Spec:
    """Return the same sweep for the stock script, its rows tokenized in `output`."""
    config = parse_sweep(text, "sweep.yaml", [])
    space, scheduler = config.sweep.space, config.sweep.scheduler
    return Spec(
        model=resolve_path(config.model.path),
        data=str(DataCache(output / "cache").folder(config.trial)),
        output=str(output),
        alphas=tuple(map(float, map(str, space["noise.alpha"].corners))),
        rates=tuple(map(float, map(str, space["optimizer.learning_rate"].corners))),
        batch=config.batch.size_examples,
        epochs=config.training.epochs,
        eval_every=config.training.eval_every_steps,
        grace_steps=getattr(scheduler, "grace_steps", None) or 0,
        slots=config.sweep.slots or 1,
    )


def _run(command: list[str], folder: Path) -> tuple[float, Play]:
    """Run a command to its end; return when it started and what it cost."""
    with (folder / "output.txt").open("w") as output:
        start = time.time()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        spent: dict[tuple[int, float], float] = {}
        play = Play(0.0, [])
        while process.poll() is None:
            largest = _count(psutil.Process(process.pid), spent)
            play.seconds = time.time() - start
            play.processor.append((play.seconds, sum(spent.values())))
            if largest:
                play.worker_bytes.append((play.seconds, largest))
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{command} failed: {(folder / 'output.txt').read_text()[-3000:]}")
    return start, play


def _count(root: psutil.Process, spent: dict[tuple[int, float], float]) -> int:
    """Note the processor seconds so far of a process and its descendants, those that ended too.

    Returns:
        The bytes of its largest Ray Train worker.
    """
    largest = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
            if process.name().startswith(WORKER):
                largest = max(largest, process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue  # what it had spent when last seen stays counted
    return largest


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
