"""The live view: what it says of a trial's values."""

import json

import pytest

from neft_ray.cli import main
from neft_ray.cli.view import describe_values
from neft_ray.journal import TrialRecord
from tests.unit.report_runs import SyntheticRun

ALPHA, RATE = "noise.alpha", "optimizer.learning_rate"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({RATE: 3.14159e-4, ALPHA: 15}, "α=15 lr=0.000314"),
        ({"batch.size_examples": 32, ALPHA: 5.0}, "size_examples=32 α=5"),
        (
            {
                ALPHA: 5,
                RATE: 1e-3,
                "changes": [
                    {"after_step": 20, "alpha": 6.25, "learning_rate": 8e-4},
                    {"after_step": 40, "alpha": 5.0},
                ],
            },
            "α=5→6.25→5 lr=0.001→0.0008",
        ),
        (
            {RATE: 1e-3, "changes": [{"after_step": 20, "learning_rate": 2e-3}]},
            "lr=0.001→0.002",
        ),
    ],
)
def test_values_are_named_briefly_with_what_changed_on_the_way(values, text):
    record = TrialRecord(0, "treatment", "search", values, 0, 0.0, 80)
    assert describe_values(record) == text


def test_what_libraries_say_is_shown_as_it_is(tmp_path, monkeypatch, capsys):
    run = SyntheticRun(tmp_path / "run")
    run.trial(select=(4.0, 3.5, 3.6, 3.7))
    run.done()
    reason = "died: [/a/path.cc:129] reset by [bold]peer"
    end = {"event": "end", "trial": 0, "status": "failed", "reason": reason, "time": 1.0}
    with (tmp_path / "run/journal.jsonl").open("a") as file:
        file.write(json.dumps(end) + "\n")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["neft-ray", "status", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert reason in capsys.readouterr().out
