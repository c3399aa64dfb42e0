"""Every run has a whole report: without a trial, all diverged, hundreds of trials, one alpha."""

import json
import math
import struct
from pathlib import Path

import jsonschema
import pytest

from neft_ray.report import summary_lines, write_report
from tests.unit.report_runs import ALPHA, PICTURES, RATE, SyntheticRun

FILES = {
    *("index.html", "results.json", "lift.pdf", "lift.svg"),
    *("trials.csv", "evaluations.csv", "lift.csv", "measures.csv"),
}
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/results.schema.json").read_text())


def nothing_started(run):
    pass


def two_trials(run):
    run.trial()
    run.trial("control")


def all_diverged(run):
    for arm in ("treatment", "control"):
        run.trial(arm, select={}, status="diverged", reason="loss is nan at step 3")
        run.trial(arm, rate=2e-3, select={10: math.nan}, status="diverged")


def all_equal(run):
    for arm in ("treatment", "control"):
        run.trial(arm, select=(3.0, 3.0, 3.0, 3.0))


def every_status(run):
    run.trial(select=(4,), status="stopped")
    run.trial(status=None, select=(4, 3))
    run.trial(status="failed", reason="out of memory", crashes=["node lost"])
    run.trial(status="diverged", select={10: 9.0, 20: math.inf})
    run.pair(1, {20: 3.2, 40: 3.3}, {20: 3.2, 40: 3.5})


CONTINUOUS = {ALPHA: {"uniform": [0.0, 20.0]}, RATE: {"loguniform": [1e-6, 1e-1]}}
OTHER_KEY = {**CONTINUOUS, "optimizer.weight_decay": {"choice": [0.0, 0.1]}}


def two_hundred(run):
    for n in range(200):
        arm = ("treatment", "control")[n % 2]
        losses = (4 + n / 40, 3 + n / 50)[: 1 + n % 3]
        extra = {"optimizer.weight_decay": (0.0, 0.1)[n % 4 // 2]}
        status = "completed" if n % 3 else "stopped"
        run.trial(arm, 20 * (n * 0.618 % 1), 10 ** (-6 + n / 50), losses, status, extra=extra)


def fixed_rate(run):
    for alpha in (0.5, 5, 15):
        run.trial(alpha=alpha, rate=None, select=(4, 3 + alpha / 20))
    run.trial("control", rate=None, select={10: math.nan}, status="diverged")


def single_alpha(run):
    run.trial(alpha=None, rate=2.0e-3)
    run.trial(alpha=None, rate=2.2e-3)


ODD_RUNS = [
    (nothing_started, {}),
    (two_trials, {}),
    (all_diverged, {}),
    (all_equal, {}),
    (every_status, {"num_trials": 4}),
    (two_hundred, {"space": OTHER_KEY, "num_trials": 100}),
    (fixed_rate, {"space": {ALPHA: {"choice": [0.5, 5, 15]}}}),
    (single_alpha, {"space": {RATE: {"loguniform": [1e-4, 1e-2]}}, "control": None}),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("fill", "search"), ODD_RUNS, ids=lambda it: getattr(it, "__name__", ""))
def test_every_run_has_a_whole_report(tmp_path, fill, search):
    synthetic = SyntheticRun(tmp_path / "run", **search)
    fill(synthetic)
    run = synthetic.done()
    results = write_report(run)
    assert {path.stem for path in run.report.glob("*.png")} == PICTURES
    for path in run.report.glob("*.png"):
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert width >= 1000
        assert height >= 200
    names = {path.name for path in run.report.iterdir() if path.suffix != ".png"}
    assert names == FILES
    assert summary_lines(results)
    jsonschema.Draft202012Validator(SCHEMA).validate(
        json.loads((run.report / "results.json").read_text())
    )
