"""Runs real sweeps in processes of their own, and ends some of them the hard way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from neft_ray.journal import TrialRecord, read_records
from neft_ray.run_directory import RunDirectory, find_runs

SWEEP = {
    "name": "kill",
    "model": {"path": "builtin:base"},
    "data": {"train": "builtin:tales", "held_out": "builtin:tales", "template": "question",
             "max_rows": 96},
    "optimizer": {"learning_rate": 1e-3},
    "batch": {"size_examples": 16, "micro_tokens": 2048},
    "training": {"epochs": 4, "eval_every_steps": 6, "train_loss_rows": 8},
    "sweep": {
        "space": {
            "noise.alpha": {"choice": [5, 10]},
            "optimizer.learning_rate": {"choice": [5e-4, 2e-3]},
        },
        "control": {"noise.alpha": 0},
        "searcher": {"kind": "grid"},
        "scheduler": {"kind": "none"},
        "finalists": {"num": 1, "seeds": [1, 2]},
    },
}  # fmt: skip
ASHA_WITH_ONE_SLOT = {
    "slots": 1,
    "searcher": {"kind": "random"},
    "num_trials": 4,
    "scheduler": {"kind": "asha", "grace_steps": 6, "eta": 2},
    "finalists": {"num": 1, "seeds": [1]},
}
DEADLINE_SECONDS = 180.0


def neft_ray(*arguments, **options) -> subprocess.CompletedProcess:
    """Run a command to its end and return what it printed."""
    command = [sys.executable, "-m", "neft_ray.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, **options)


class Sweep:
    """One storage folder and the sweep that is run, killed and resumed in it."""

    def __init__(
        self,
        folder: Path,
        changes: dict | None = None,
        base: dict | None = None,
        uri: str | None = None,
        database: Path | None = None,
    ):
        self.storage, self.uri = folder / "runs", uri
        self.database = database or self.storage / "mlflow.db"
        self.file = folder / "sweep.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        config = json.loads(json.dumps(SWEEP)) | {"storage": str(self.storage)}
        config["mlflow"] = {"uri": uri}
        config["sweep"] |= changes or {}
        for section, values in (base or {}).items():
            config[section] = config.get(section, {}) | values
        self.file.write_text(json.dumps(config))  # JSON is YAML
        self.output = folder / "output.txt"
        self.process: subprocess.Popen | None = None
        self.children: list[psutil.Process] = []

    @property
    def run(self) -> RunDirectory:
        return find_runs(self.storage)[-1]

    @property
    def records(self) -> dict[int, TrialRecord]:
        return read_records(self.run.journal_file)

    def start(self, *arguments: str) -> None:
        """Start `neft-ray sweep` in the background."""
        command = [sys.executable, "-m", "neft_ray.cli", "sweep", str(self.file), *arguments]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    def resume(self) -> None:
        self.start("--resume", str(self.run.root))

    def wait(self) -> int:
        """Return the exit code once the command has ended; fail when it makes no progress."""
        while True:
            before = self.num_reports()
            try:
                return self.process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                if self.num_reports() == before:
                    self.kill_driver()
                    raise AssertionError(f"hangs:\n{self.told()}") from None

    def told(self) -> str:
        log = self.run.log_file if find_runs(self.storage) else None
        text = self.output.read_text()
        return text + (log.read_text()[-3000:] if log and log.exists() else "")

    def num_events(self, kind: str) -> int:
        if not find_runs(self.storage) or not self.run.journal_file.exists():
            return 0
        return self.run.journal_file.read_text().count(f'"event": "{kind}"')

    def num_reports(self) -> int:
        return self.num_events("report")

    def wait_for_reports(self, number: int) -> None:
        self.wait_for_events("report", number)

    def wait_for_events(self, kind: str, number: int) -> None:
        """Wait until so many events of a kind are in the journal."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.num_events(kind) < number:
            assert time.monotonic() < deadline, f"no progress:\n{self.told()}"
            assert self.process.poll() is None, f"ended early:\n{self.told()}"
            time.sleep(0.1)

    def kill(self, title: str) -> None:
        """Kill one process of this sweep whose title starts with `ray::<title>`, once there is."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := self._processes(title)):
            assert time.monotonic() < deadline, f"no ray::{title} runs:\n{self.told()}"
            assert self.process.poll() is None, f"ended early:\n{self.told()}"
            time.sleep(0.1)
        os.kill(found[0].pid, signal.SIGKILL)

    def _processes(self, title: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if any(part.startswith(f"ray::{title}") for part in child.cmdline()):
                    found.append(child)
        return found

    def kill_driver(self) -> None:
        """Kill the driver; what it had started ends by itself, see `assert_nothing_is_left`."""
        self.children += psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def assert_nothing_is_left(self) -> None:
        """Wait for the processes of killed drivers; Ray's own agents take half a minute."""
        _, alive = psutil.wait_procs(self.children, timeout=90)
        assert not alive, alive

    def points(self) -> dict[tuple, list]:
        """What MLflow's database holds: (trial, metric, step) → [(value, timestamp)]."""
        with sqlite3.connect(self.database) as database:
            return points_in(database)


def points_in(database: sqlite3.Connection) -> dict[tuple, list]:
    """Every stored value of the trials by (run name, metric, step)."""
    rows = database.execute(
        "select r.name, m.key, m.step, m.value, m.timestamp from metrics m "
        "join runs r on r.run_uuid = m.run_uuid where m.key not like 'system/%' "
        "and r.name like 't___ %'"
    )
    found: dict[tuple, list] = {}
    for name, key, step, value, timestamp in rows:
        found.setdefault((name, key, step), []).append((value, timestamp))
    return found


def curves(records: dict[int, TrialRecord]) -> dict[tuple, dict]:
    """Metrics by trial identity and step, whatever the order trials were started in."""
    return {
        (r.arm, r.phase, json.dumps(dict(r.values), sort_keys=True), r.seed, report.step): dict(
            report.metrics
        )
        for r in records.values()
        for report in r.reports
    }


def statuses(records: dict[int, TrialRecord]) -> dict[tuple, str]:
    """Status by trial identity."""
    return {
        (r.arm, r.phase, json.dumps(dict(r.values), sort_keys=True), r.seed): r.status
        for r in records.values()
    }


def assert_same(sweep: Sweep, undisturbed: Sweep) -> None:
    """The final tables are equal bitwise, and every report and point exists once."""
    assert curves(sweep.records) == curves(undisturbed.records)
    assert statuses(sweep.records) == statuses(undisturbed.records)
    for record in sweep.records.values():
        steps = [report.step for report in record.reports]
        assert steps == sorted(set(steps)), "a report entered twice"
    assert sweep.run.journal_file.read_text().count('"finish"') == 1
    points, expected = sweep.points(), undisturbed.points()
    assert not {key: values for key, values in points.items() if len(values) > 1}
    assert by_identity(points) == by_identity(expected)


def by_identity(points):
    """Values by trial name without its number, which follows the order of starting."""
    return {(k[0].split(" ", 1)[1], *k[1:]): values[0][0] for k, values in points.items()}


def finished(sweep: Sweep) -> Sweep:
    """Wait for a sweep's good end."""
    if sweep.process is None:
        sweep.start()
    assert sweep.wait() == 0, sweep.told()
    return sweep
