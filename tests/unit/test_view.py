"""The live view: what it says of a trial's values."""

from io import StringIO

import pytest
from rich.console import Console

from neft_ray.cli.view import describe_values, trials_table
from neft_ray.journal import TrialRecord

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


def test_what_libraries_say_is_shown_as_it_is():
    names = {"arm": "treatment", "phase": "search", "values": {}, "seed": 0}
    record = TrialRecord(0, num_steps=10, started=0.0, **names)
    record.status, record.reason = "failed", "died: [/a/path.cc:129] reset by [bold]peer"
    console = Console(file=StringIO(), width=200, markup=False)
    console.print(trials_table([record]))
    assert record.reason in console.file.getvalue()
