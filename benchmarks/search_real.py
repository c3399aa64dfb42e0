"""One sweep of benchmarks/search.py for real: python -m benchmarks.search_real.

The same grid, searcher and scheduler as a replay, but every trial is trained: Ray Tune, warm slots,
checkpoints, MLflow. Its best loss is put beside what the recorded grid holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import arguments, finish, lower_is_better
from benchmarks.curves import CHANGED, RECIPE
from benchmarks.players import SHARE, config_of
from benchmarks.search import ASHA, TARGET_PERCENT, tasks
from neft_ray.journal import read_records
from neft_ray.run_directory import find_runs


def main() -> None:
    """Run the sweep and print its regret and its share of the grid's steps."""
    given = arguments(__doc__ or "", repeats=1)
    task = tasks()[0]
    search = {"searcher": {"kind": "random", "seed": 0}, "scheduler": ASHA}
    config = config_of(task, search).model_dump_json()
    print(f"{len(task.curves)} trials of {RECIPE}, changed: {json.dumps(CHANGED)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(config)  # JSON is YAML
        storage = Path(folder) / "runs"
        command = [sys.executable, "-m", "neft_ray.cli", "sweep", str(file)]
        subprocess.run([*command, "--set", f"storage={storage}"], check=True)
        records = read_records(find_runs(storage)[-1].journal_file).values()
    spent = sum(record.last_step for record in records)
    share = 100 * spent / (len(task.curves) * task.steps[-1])
    regret = task.regret(min(record.objective("best") for record in records))
    unit = "% of the grid's steps, at most"
    rows = [
        lower_is_better("steps of a real sweep", share, 100 * SHARE, unit),
        lower_is_better("its regret", max(regret, 0.01), TARGET_PERCENT, "%, at most"),
    ]
    finish(rows, given)


if __name__ == "__main__":
    main()
