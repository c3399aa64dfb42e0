"""What `--json` prints: one document, whatever the state, with keys that programs may rely on."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.errors import ExitCode, UserError
from neft_ray.run_directory import RunDirectory
from tests.unit.report_runs import SyntheticRun

ARMS = {"treatment", "control"}
ROOT = Path(__file__).parents[2]


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


def test_a_trial_that_waits_at_a_rung_has_not_ended(storage):
    event = {"event": "report", "trial": 2, "step": 10, "metrics": {"select_loss": 3.9},
             "decision": "pause", "time": 1.0}  # fmt: skip
    with (storage / "one/journal.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
    (run,) = printed("ls", "--storage", storage)
    assert (run["num_trials"], run["num_ended"]) == (3, 2)
    assert printed("status", "one", "--storage", storage)["trials"][2]["status"] == "paused"


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


def test_a_report_is_the_document_that_lies_beside_its_page(storage):
    found = printed("report", "one", "--storage", storage)
    lies = json.loads((storage / "one" / "report" / "results.json").read_text())
    assert found == lies and found["best_trial"] == "t001"


def test_a_comparison_is_the_document_that_lies_beside_its_page(storage):
    other = SyntheticRun(storage / "two")
    other.trial(alpha=5)
    other.done()
    found = printed("report", "one", "two", "--storage", storage)
    lies = json.loads((storage / "comparison" / "comparison.json").read_text())
    assert found == lies and [sweep["run"] for sweep in found["sweeps"]] == ["one", "two"]


def test_what_is_deleted_is_listed_and_only_where_that_is_asked_for(storage):
    scratch = RunDirectory(storage / "one").scratch / "tune" / "x"
    scratch.parent.mkdir(parents=True)
    scratch.write_bytes(b"x" * 7)
    asked = ("gc", "one", "--storage", storage)
    refused = CliRunner().invoke(app, [*map(str, asked), "--json"])
    assert isinstance(refused.exception, UserError) and "--dry-run" in str(refused.exception)
    item = {"what": "Ray's scratch files", "path": str(scratch.parents[1]), "num_bytes": 7,
            "run": "one"}  # fmt: skip
    shown = printed(*asked, "--dry-run")
    assert shown == {"items": [item], "deleted": False, "left_alone": {}} and scratch.exists()
    assert printed(*asked, "--yes") == {"items": [item], "deleted": True, "left_alone": {}}
    assert not scratch.exists() and printed(*asked, "--yes")["items"] == []


def test_a_plan_says_what_it_does_not_know_and_why_it_cannot_be(tmp_path):
    asked = ("plan", "quickstart", "--set", f"storage={tmp_path}", "--slots", 2)
    found = printed(*asked)
    assert found["num_steps"] == 160 and found["rungs"] == [40, 80]
    assert [(arm["name"], arm["trials_at_rung"]) for arm in found["arms"]] == [
        ("treatment", [6, 3]), ("control", [6, 3]),
    ]  # fmt: skip
    assert found["time"] is None and found["problems"] == [] and found["unknown"] == {}
    disk, (memory,) = found["disk"], found["memory"]["strategies"]
    assert disk["total_bytes"] == (
        disk["num_checkpoints"] * disk["checkpoint_bytes"] + disk["model_bytes"]
    )
    assert memory["fits"] and memory["peak_bytes"] == pytest.approx(
        sum(memory["held_bytes"].values()) + memory["host_bytes"]
    )
    limited = (*asked, "--measure", "--set", "sweep.budget.hours=1e-6")
    found = printed(*limited, code=ExitCode.BAD_INPUT)
    assert found["time"]["hours"] > 0 and set(found["time"]["step_seconds"]) == ARMS
    assert [problem["where"] for problem in found["problems"]] == ["sweep.budget.hours"]


def test_what_is_wrong_with_a_cluster_is_listed():
    found = printed("doctor", ROOT / "clusters/onprem.yaml", code=ExitCode.BAD_INPUT)
    assert found[0]["what"] == "file" and found[0]["state"] == "bad"
    assert {"where", "what", "remedy"} == set(found[0]["problems"][0])
    assert "placeholder" in found[0]["problems"][0]["what"]
