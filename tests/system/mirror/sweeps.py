"""A sweep and its mirror in a store that can be looked into, and what logs its points."""

import json
import math
import sqlite3
import subprocess
import sys
from collections import Counter

from neft_ray.tracking.cards import describe
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import MIRROR_FILE, num_waiting_points, points_files
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.points import POINTS_FILE, MetricsLog, read_points
from neft_ray.tracking.shown import shown_name

BIGGEST = 1.7976931348623157e308


class Sweep:
    """A run directory and its mirror, in a store whose sqlite file can be looked into."""

    def __init__(self, root, uri, storage, database):
        self.root = root
        self.database = database
        self.store = MlflowStore(uri, storage, root.parent.name)
        self.client = self.store.client
        self.mirror = MlflowMirror(self.store)
        describe(root, "sweep", {"model": "x"}, {"kind": "sweep"})
        self.parent_id = self.mirror.start_parent(root)

    def trial(self, number=7):
        directory = self.root / "trials" / f"t{number:03d}"
        describe(directory, f"t{number:03d} α=15", {"noise.alpha": 15.0}, {"arm": "treatment"})
        return directory

    def children(self):
        parent = f"tags.`mlflow.parentRunId` = '{self.parent_id}'"
        return self.client.search_runs([self.store.experiment_id], parent)

    def assert_exactly_once(self, directory):
        """Compare the table of metrics with the file, row by row."""
        run_id = json.loads((directory / MIRROR_FILE).read_text())["run_id"]
        with sqlite3.connect(self.database, timeout=20) as database:
            query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?"
            stored = Counter(database.execute(query, [run_id]).fetchall())
        logged = Counter(
            (shown_name(name), p.step, p.timestamp_ms, stored_value(value), math.isnan(value))
            for path in points_files(directory)
            for p in read_points(path)
            for name, value in p.metrics.items()
        )
        assert stored == logged
        assert max(Counter(row[:2] for row in stored.elements()).values()) == 1
        assert num_waiting_points(directory) == 0
        return sum(logged.values())


def stored_value(value):
    """Return how MLflow stores a number."""
    return 0.0 if math.isnan(value) else max(-BIGGEST, min(BIGGEST, value))


def log_steps(directory, steps, num_metrics=3):
    log = MetricsLog(directory / POINTS_FILE)
    for step in steps:
        log.log(step, {f"train/m{i}": step + i / 10 for i in range(num_metrics)})
    log.close()


def write_for(directory, seconds):
    """Start a process that logs as a training worker does; return it."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from neft_ray.tracking.points import MetricsLog\n"
        "log = MetricsLog(Path(sys.argv[1]))\nend = time.time() + float(sys.argv[2])\nstep = 0\n"
        "while time.time() < end:\n"
        "    step += 1\n    log.log(step, {f'm{i}': step / 7 for i in range(10)})\n"
        "    time.sleep(0.005)\n"
        "assert not {'mlflow', 'torch', 'ray'} & set(sys.modules)\n"
    )
    path = directory / POINTS_FILE
    return subprocess.Popen([sys.executable, "-c", code, str(path), str(seconds)])
