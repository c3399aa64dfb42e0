"""A short version of docs/results.md on real data, where it lies beside the checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neft_ray.journal import read_records
from neft_ray.run_directory import find_runs

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "stories260k").is_dir(), reason="no real data beside the checkout")
def test_noise_lowers_the_final_loss_on_real_rows(tmp_path):
    settings = {
        "storage": tmp_path,
        "model.path": DATA / "stories260k",
        "data.train": DATA / "alpaca_train_4000.jsonl",
        "data.held_out": DATA / "alpaca_heldout_1200.jsonl",
        "data.max_rows": 200,
        "training.eval_every_steps": 104,
        "sweep.finalists.num": 0,
    }
    command = [sys.executable, "-m", "neft_ray.cli", "sweep", ROOT / "sweeps" / "alpaca-260k.yaml"]
    for key, value in settings.items():
        command += [
            "--set",
            f"{key}={json.dumps(str(value)) if isinstance(value, Path) else value}",
        ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_records(find_runs(tmp_path)[-1].journal_file)
    final = {record.arm: record.objective("end") for record in records.values()}
    assert final["treatment"] < final["control"] - 0.15
