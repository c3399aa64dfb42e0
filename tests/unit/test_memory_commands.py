"""What `validate --memory` and `plan --compare` say of a sweep file's memory."""

import subprocess
import sys
from pathlib import Path

import torch
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from neft_ray.memory.predict import STRATEGIES, Predictor
from tests.unit.trial_runs import ROOT_FOLDER


def written(tmp_path, *changes):
    text = (ROOT_FOLDER / "sweeps" / "quickstart.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return str(file)


def test_validate_warns_and_does_not_refuse(tmp_path, monkeypatch):
    file = written(tmp_path)
    predictor = Predictor(load_sweep(Path(file)).trial)
    size = predictor.of(predictor.config).device - 1
    monkeypatch.setattr("neft_ray.memory.fit.num_cores", lambda: 1)
    monkeypatch.setattr("neft_ray.memory.fit.host_memory_bytes", lambda: size)
    result = CliRunner().invoke(app, ["validate", "--memory", file])
    assert result.exit_code == 0
    assert "warning" in result.output and "would need" in result.output


def test_validate_says_what_it_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = written(tmp_path, ("{num: 1, cpus: 1}", "{num: 1, gpus: 1}"))
    result = CliRunner().invoke(app, ["validate", "--memory", gpu])
    assert result.exit_code == 0 and "memory unknown" in result.output
    empty = tmp_path / "empty"
    empty.mkdir()
    lost = written(tmp_path, ("builtin:base", str(empty)))
    result = CliRunner().invoke(app, ["validate", "--memory", lost])
    assert result.exit_code == 0 and "memory unknown" in result.output


def test_validate_loads_no_framework_before_memory_is_asked_for():
    code = (
        "import sys; from neft_ray.cli.app import app\n"
        "try: app(['validate', 'sweeps/quickstart.yaml'])\n"
        "except SystemExit: print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT_FOLDER, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "set()"


def test_plan_compares_all_strategies(tmp_path):
    file = written(tmp_path, ("storage: runs", f"storage: {tmp_path}"))
    result = CliRunner().invoke(app, ["plan", "--compare", file], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert all(f"\n{name} " in result.output for name in STRATEGIES)
    assert "checkpointing" in result.output and "all of them targets" in result.output
