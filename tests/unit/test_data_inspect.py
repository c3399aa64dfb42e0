"""The command that shows rows as the model sees them."""

import json

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.cli.sweeps import quickstart_file
from neft_ray.errors import UserError


def inspect(*options) -> str:
    done = CliRunner().invoke(app, ["data", "inspect", str(quickstart_file()), *options])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_supervised_text_is_marked_where_there_is_no_colour():
    shown = inspect("--rows", "1", "--split", "report")
    assert "320  train" in shown and "159  report" in shown
    row = shown[shown.index("── ") :]
    assert "· report ·" in row
    assert row.count("⟦") == row.count("⟧") == 1
    assert row.split("⟦")[0].endswith("\nAnswer:") and "<s>" in row.split("⟦")[0]
    assert row.rstrip().endswith("</s>⟧")


def test_a_text_does_not_steer_the_terminal():
    shown = inspect(
        "--rows", "1", "--set", r"data.template=Q {{ '\x1b[2J' }}{{ instruction }}{{ input }}"
    )
    assert "␛[2J" in shown and "\x1b" not in shown


def test_a_row_that_was_dropped_does_not_steer_it_either(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "\x1b[2Jgone \x9b2J", "output": ""}) + "\n")
    done = CliRunner().invoke(
        app, ["data", "inspect", "quickstart", "--dropped", "--set", f"data.train={rows}"]
    )
    assert "user: ␛[2Jgone ␛[2J" in done.output
    assert not {"\x1b", "\x9b"} & set(done.output)


def test_json_holds_counts_lengths_tokens_and_marks():
    told = json.loads(inspect("--json", "--rows", "2"))
    assert told["rows"] == {"select": 161, "report": 159, "train": 320}
    assert sum(told["lengths"]["tokens"]["counts"]) == 640
    assert len(told["shown"]) == 2
    for row in told["shown"]:
        assert len(row["tokens"]) == len(row["supervised"]) == row["num_tokens"]
        assert [span["supervised"] for span in row["spans"]] == [False, True]


def test_dropped_rows_are_shown_with_their_reason():
    shown = inspect("--dropped", "--rows", "1", "--set", "data.max_prompt_tokens=20")
    row = shown[shown.index("── ") :]
    assert row.count("── ") == 1 and "dropped: prompt over max_prompt_tokens" in row


def test_what_empties_a_split_is_shown_before_it_is_an_error(capsys):
    with pytest.raises(UserError, match="no rows are left to train"):
        inspect("--set", "data.max_prompt_tokens=1")
