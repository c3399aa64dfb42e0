"""Evaluating a tuned model through the command line: replies, pages, judges, bad input, chat."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from neft_ray.evaluate.record import REPLIES_FILE
from neft_ray.judge import read_outputs
from tests.system.evaluations import ROWS, SHORT, evaluate
from tests.system.runs import Sweep, finished
from tests.unit.judge_server import KEY, SEPARATOR, judge_server

SMALL = {
    "space": {"noise.alpha": {"choice": [5]}},
    "finalists": {"num": 1, "seeds": [1], "generated_rows": 0},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A small sweep of both arms that has ended."""
    return finished(Sweep(tmp_path_factory.mktemp("tuned"), SMALL, {"training": {"epochs": 2}}))


@pytest.fixture(scope="module")
def told(sweep, prompts):
    """What the command says of a run with both arms."""
    return evaluate(sweep, "latest", "--on", prompts, *SHORT)


def folder_of(sweep) -> Path:
    return sweep.run.root / "evaluation" / "people"


def trials_of(sweep) -> tuple[str, str]:
    """The best trial and the best of the other arm."""
    best = json.loads((sweep.run.best_model / "neft_ray.json").read_text())["trial"]
    (there,) = folder_of(sweep).glob(f"{best}-against-t*")
    return best, there.name.rpartition("-")[2]


def test_both_arms_answer_and_are_set_side_by_side(sweep, told):
    best, other = trials_of(sweep)
    arms = {sweep.records[int(name[1:])].arm for name in (best, other)}
    assert arms == {"treatment", "control"}
    for name in (best, other):
        outputs = read_outputs(folder_of(sweep) / name / "outputs.json")
        assert outputs.name == f"{sweep.run.name}-{name}"
        assert [row.instruction for row in outputs.rows] == [row["instruction"] for row in ROWS]
        assert [row.dataset for row in outputs.rows] == [row["dataset"] for row in ROWS]
        assert any(row.output for row in outputs.rows)
    page = folder_of(sweep) / f"{best}-against-{other}" / "index.html"
    assert ROWS[0]["instruction"] in page.read_text()
    assert str(page) in told
    assert "18 prompts have outputs of both" in told
    assert "α 5" in told and "α 0" in told


def test_measures_are_in_mlflow_at_the_step_of_the_model(sweep, told):
    with sqlite3.connect(sweep.database) as database:
        rows = database.execute(
            "select r.name, m.value, m.step from metrics m join runs r on r.run_uuid = m.run_uuid "
            "where m.key = 'evaluation/people/mean_tokens'"
        ).fetchall()
    assert {name[:4] for name, _, _ in rows} == set(trials_of(sweep))
    for name, value, step in rows:
        measures = json.loads((folder_of(sweep) / name[:4] / "measures.json").read_text())
        assert value == pytest.approx(measures["mean_tokens"])
        assert step == sweep.records[int(name[1:4])].best.step


def test_what_was_written_is_not_written_again(sweep, prompts, told):
    files = list(folder_of(sweep).glob(f"t*/{REPLIES_FILE}"))
    assert len(files) == 2
    before = {file: file.stat().st_mtime_ns for file in files}
    again = evaluate(sweep, "latest", "--on", prompts, *SHORT)
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert "18 prompts have outputs of both" in again
    longer = ("--set", "decoding.max_new_tokens=17")
    refused = evaluate(sweep, "latest", "--on", prompts, *longer, fails=True)
    assert "max_new_tokens 16 → 17" in " ".join(refused.split())


def test_the_outputs_of_a_set_can_be_the_other_side(sweep, prompts, told):
    evaluate(sweep, "latest:control", "--on", prompts, "--against", "outputs", *SHORT)
    (there,) = folder_of(sweep).glob("t*-against-nobody")
    summary = json.loads((there / "comparison.json").read_text())
    assert summary["reference"] == "nobody"
    assert summary["texts"]["reference"]["characters"] == len("Nothing.")


@pytest.fixture
def judge(tmp_path):
    """Options for a judge that likes the longer one, and its server."""
    prompt = tmp_path / "prompt.txt"
    names = ("instruction", "output_1", "output_2")
    prompt.write_text(SEPARATOR.join([f"{{{{ {name} }}}}" for name in names] + ["A or B?"]))
    with judge_server() as server:
        settings = {"model": "judge-1", "url": server.url, "key_variable": "OUR_KEY",
                    "prompt": prompt, "num_at_once": 2}  # fmt: skip
        server.options = [
            part for key, value in settings.items() for part in ("--set", f"judge.{key}={value}")
        ]
        yield server


PRICED = [
    part
    for setting in ("input_price_per_million=2", "output_price_per_million=8", "max_cost=1")
    for part in ("--set", f"judge.{setting}")
]


def judged(sweep, prompts, judge, *arguments, **options):
    environment = {**os.environ, "OUR_KEY": KEY}
    given = ("latest", "--on", prompts, "--against", "outputs", *SHORT, *judge.options, *arguments)
    return evaluate(sweep, *given, env=environment, stdin=subprocess.DEVNULL, **options)


def test_a_judge_that_costs_is_asked_only_if_someone_agrees(sweep, prompts, told, judge):
    refused = " ".join(judged(sweep, prompts, judge, fails=True).split())
    assert re.search(r"nobody agreed to 3\d questions to the judge, .* price unknown", refused)
    assert judge.requests == []


def test_a_judge_compares_and_is_asked_nothing_twice(sweep, prompts, told, judge):
    first = judged(sweep, prompts, judge, *PRICED)
    assert "win rate" in first
    num_asked = len(judge.requests)
    assert 0 < num_asked <= 2 * len(ROWS)
    judged(sweep, prompts, judge, *PRICED)
    assert len(judge.requests) == num_asked
    best, _ = trials_of(sweep)
    there = folder_of(sweep) / f"{best}-against-nobody" / "comparison.json"
    rate = json.loads(there.read_text())["win_rate"]
    ours = read_outputs(folder_of(sweep) / best / "outputs.json").rows
    longer = sum(
        0.5 if row.output == "Nothing." else float(len(row.output) > len("Nothing."))
        for row in ours
        if len(row.output) != len("Nothing.") or row.output == "Nothing."
    )
    assert rate["raw"]["rate"] == pytest.approx(longer / rate["num"], abs=0.5 / rate["num"])
    files = [path for path in sweep.storage.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_model_here_can_be_the_judge(sweep, prompts, told):
    told = evaluate(
        sweep, "latest", "--on", prompts, "--set", "judge.model=builtin:base",
        "--set", f"judge.prompt={short_prompt(sweep)}", *SHORT,
    )  # fmt: skip
    assert "win rate" in told and "builtin:base" in told


def short_prompt(sweep):
    file = sweep.storage.parent / "short.txt"
    file.write_text("{{ instruction }} A: {{ output_1 }} B: {{ output_2 }} Which?")
    return file


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["latest"], "has nothing to answer; name a set with --on"),
        (["OUTPUTS", "--against", "latest"], "has nothing to answer; name a set with --on"),
        (["nothing", "--on", "SET"], "nothing: no such run"),
        (["latest:t999", "--on", "SET"], "has no trial t999"),
        (["builtin:base", "--on", "SET"], "no chat template; say how it was tuned"),
        (["latest", "--on", "SET", "--set", "decodin.seed=1"], "did you mean 'decoding'?"),
        (["latest", "--on", "SET", "--set", "judge.max_cost=1"], "judge.model"),
        (["latest", "--on", "SET", "--against", "none", "--set", "judge.model=builtin:base"],
         "has nothing to compare with"),
        (["latest", "--on", "SET", "--set", "engine=vllm", *SHORT, "--set", "overwrite=true"],
         "vLLM is not installed"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_written(sweep, prompts, told, arguments):
    before = {path: path.stat().st_mtime_ns for path in folder_of(sweep).rglob("*.jsonl")}
    given = [prompts if part in ("SET", "OUTPUTS") else part for part in arguments]
    assert told in " ".join(evaluate(sweep, *given, fails=True).split())
    after = {path: path.stat().st_mtime_ns for path in folder_of(sweep).rglob("*.jsonl")}
    assert after == before


def chat_against(sweep, arm: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neft_ray.cli", "chat", "latest", "--against", arm]
    return subprocess.run(
        [*command, "--storage", sweep.storage],
        input=f"{ROWS[0]['instruction']}\n\n",
        capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip


def test_two_models_chat_side_by_side(sweep):
    best = json.loads((sweep.run.best_model / "neft_ray.json").read_text())["trial"]
    own = sweep.records[int(best[1:])].arm
    (other,) = {"treatment", "control"} - {own}
    done = chat_against(sweep, other)
    assert done.returncode == 0, done.stderr
    assert "an empty line ends" in done.stdout
    assert re.search(r"╭─+ t\d{3}, α .*╮╭─+ t\d{3}, α", done.stdout)
    refused = chat_against(sweep, own)
    assert refused.returncode == 2
    assert f"--against {own}: is {best}," in refused.stderr
