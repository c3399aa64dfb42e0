"""The live view: what it says of a trial's values."""

import io
import json

import pytest
from rich.console import Console

from neft_ray.cli import main
from neft_ray.cli.view import SweepView, describe_values
from neft_ray.journal import TrialRecord
from neft_ray.plan import make_plan
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


def test_the_view_is_drawn_while_trials_start(tmp_path):
    made = SyntheticRun(tmp_path / "run")
    made.trial()
    plan = make_plan(made.config, 40, 1000)
    console = Console(file=io.StringIO(), width=200)
    view = SweepView(console, made.done(), made.config, plan)
    numbers = iter(range(30))

    class Starting(TrialRecord):
        """A trial beside which the next one starts whenever somebody looks at it."""

        def __getattribute__(self, name):
            if name in ("phase", "ended", "best") and (number := next(numbers, None)) is not None:
                record = Starting(number, "treatment", "search", {ALPHA: 5}, 0, 0.0, 40)
                view.started(record, made.config.trial, tmp_path)
            return super().__getattribute__(name)

    first = Starting(99, "treatment", "search", {ALPHA: 5}, 0, 0.0, 40)
    view.started(first, made.config.trial, tmp_path)
    for _ in range(5):
        console.print(view)
    assert next(numbers, None) is None, "all have started"
    assert "t099" in console.file.getvalue()
