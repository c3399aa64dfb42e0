"""What `--json` prints: one document, whatever the state, with keys that programs may rely on."""

import json

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.errors import ExitCode
from tests.unit.report_runs import SyntheticRun


@pytest.fixture
def storage(tmp_path):
    made = SyntheticRun(tmp_path / "runs" / "one")
    made.trial(alpha=5, rate=1e-3, select=(4.0, 3.5, 3.6, 3.7))
    made.trial("control", alpha=0, select=(4.0, 3.0, float("nan"), float("nan")), status="diverged",
               reason="not finite")  # fmt: skip
    made.trial(alpha=10, status=None)
    made.journal.close()
    return tmp_path / "runs"


def printed(*arguments, code=ExitCode.OK):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_runs_are_listed(storage):
    (run,) = printed("ls", "--storage", storage)
    assert run == {
        "run": "one", "path": str(storage / "one"), "state": "stopped",
        "num_trials": 3, "num_ended": 2, "best_select_loss": 3.0,
    }  # fmt: skip
    assert printed("ls", "--storage", storage / "none") == []


def test_a_runs_trials_are_shown_and_no_loss_that_json_does_not_have(storage):
    found = printed("status", "one", "--storage", storage)
    assert found["run"] == "one" and len(found["trials"]) == 3
    first, second, third = found["trials"]
    assert first == {
        "trial": "t000", "arm": "treatment", "phase": "search",
        "values": {"noise.alpha": 5, "optimizer.learning_rate": 1e-3}, "seed": 0,
        "step": 40, "num_steps": 40, "best_select_loss": 3.5, "last_select_loss": 3.7,
        "status": "completed", "reason": "",
    }  # fmt: skip
    assert (second["best_select_loss"], second["last_select_loss"]) == (3.0, None)
    assert (second["status"], second["reason"]) == ("diverged", "not finite")
    assert third["status"] == "running"


def test_problems_of_a_file_are_listed_and_the_code_is_that_of_bad_input(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("name: x\nmodle: {path: builtin:base}\n")
    problems = printed("validate", file, code=ExitCode.BAD_INPUT)
    assert {
        "where": f"{file}:2: modle",
        "what": "unknown key",
        "remedy": "did you mean 'model'?",
    } in (problems)
    assert printed("validate", "quickstart") == []
