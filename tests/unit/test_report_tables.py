"""The tables and the document that a run becomes."""

import csv
import json
import math

import pytest

from neft_ray.report import gather
from neft_ray.report.document import results_json
from neft_ray.report.lift import NO_EVIDENCE
from neft_ray.report.tables import evaluations_csv, trials_csv
from tests.unit.report_runs import ALPHA, RATE, SyntheticRun, small_run


def test_trials_csv_has_a_line_per_trial_and_every_value(root):
    results = gather(small_run(root))
    rows = list(csv.DictReader(trials_csv(results.trials).splitlines()))
    assert [row["trial"] for row in rows] == [trial.name for trial in results.trials]
    assert (rows[1]["status"], rows[1]["steps"], rows[1]["num_steps"]) == ("stopped", "10", "40")
    assert (rows[1][ALPHA], rows[2][ALPHA], float(rows[1][RATE])) == ("10", "0", 4e-3)
    assert (float(rows[4]["report_loss_at_best"]), float(rows[5]["report_loss_at_end"])) == (
        3.2,
        3.5,
    )


def test_evaluations_csv_has_a_line_per_report(root):
    results = gather(small_run(root))
    rows = list(csv.DictReader(evaluations_csv(results.trials).splitlines()))
    assert len(rows) == sum(len(trial.record.reports) for trial in results.trials)
    assert [float(row["select_loss"]) for row in rows[:4]] == [4.0, 3.5, 3.6, 3.7]
    assert rows[4]["decision"] == "stop"
    assert rows[0]["report_loss"] == ""


def test_results_json_is_strict_complete_and_equal_for_an_equal_run(root):
    synthetic = SyntheticRun(root)
    synthetic.trial(select={10: math.nan}, status="diverged", reason="loss is nan")
    synthetic.trial("control")
    synthetic.pair(1, {20: 3.2, 40: 3.3}, {20: 3.2, 40: 3.5})
    run = synthetic.done()
    text = results_json(gather(run))
    assert text == results_json(gather(run))

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(text, parse_constant=refuse)
    assert content["trials"][0]["evaluations"][0]["metrics"]["select_loss"] is None
    assert content["lift"]["at_end"]["difference"] == pytest.approx(-0.2)
    assert content["lift"]["at_end"]["verdict"] == NO_EVIDENCE
    assert content["arms"]["control"]["fixed"] == {ALPHA: 0}
    assert content["config"]["sweep"]["num_trials"] == 2
    assert (content["finished"], content["format"]) == (False, 1)
