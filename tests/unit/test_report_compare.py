"""Several sweeps on one page, and the command that makes it."""

import csv
import json

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.errors import UserError
from neft_ray.report import compare_runs
from tests.unit.report_runs import ALPHA, RATE, SPACE, SyntheticRun, run_with_controls, small_run

FILES = {
    *("index.html", "comparison.json", "arms.csv", "lifts.csv"),
    *("lifts.png", "lifts.pdf", "lifts.svg"),
}


@pytest.fixture
def runs(tmp_path):
    unfinished = SyntheticRun(tmp_path / "third")
    unfinished.trial()
    return [
        small_run(tmp_path / "first"),
        run_with_controls(tmp_path / "second"),
        unfinished.done(),
    ]


def test_a_comparison_has_every_sweeps_lift_best_and_budget(runs, tmp_path):
    lines = compare_runs(runs, tmp_path / "out")
    assert [line.split(":")[0] for line in lines] == ["first", "second", "third"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    with (tmp_path / "out" / "arms.csv").open() as file:
        arms = list(csv.DictReader(file))
    assert [(row["run"], row["arm"]) for row in arms] == [
        *(("first", "treatment"), ("first", "control")),
        *(("second", "treatment"), ("second", "control"), ("second", "dropout")),
        *(("third", "treatment"), ("third", "control")),
    ]
    assert (arms[0]["best_select_loss"], arms[0]["steps"], arms[0]["saved_steps"]) == (
        *("3.5", "50", "30"),
    )
    assert (arms[6]["best_trial"], arms[6]["best_configuration"]) == ("", "")
    with (tmp_path / "out" / "lifts.csv").open() as file:
        lifts = list(csv.DictReader(file))
    assert [row["run"] for row in lifts] == ["first"] * 3 + ["second"] * 9
    assert float(lifts[0]["difference"]) == pytest.approx(-0.2, abs=0.002)


def test_the_same_numbers_are_on_the_page_and_in_the_document(runs, tmp_path):
    compare_runs(runs, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (document["format"], len(document["sweeps"])) == (1, 3)
    for sweep in document["sweeps"]:
        assert sweep["headline"] in page
    assert "noise.alpha: choice 5, 10; optimizer.learning_rate: loguniform 0.0001, 0.01" in page
    assert "third has not finished; its figures are so far." in page
    assert page.count("<td>treatment − control</td>") == 2
    assert "their losses do not" not in page


def test_sweeps_on_other_data_are_told_apart(runs, tmp_path):
    runs[0].write_manifest(runs[0].manifest | {"data": {"content_hash": "abc"}})
    compare_runs(runs, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "The sweeps have different data: their lifts compare, their losses do not." in page


def test_without_any_lift_there_is_no_picture(tmp_path):
    runs = []
    for name in ("one", "other"):
        synthetic = SyntheticRun(tmp_path / name)
        synthetic.trial()
        runs.append(synthetic.done())
    compare_runs(runs, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        name for name in FILES if not name.endswith((".png", ".pdf", ".svg"))
    }
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Not measured" in page
    assert "lifts.pdf" not in page


def test_no_picture_of_an_earlier_comparison_stays_beside_the_page(runs, tmp_path):
    compare_runs(runs, tmp_path / "out")
    compare_runs(runs[2:], tmp_path / "out")
    assert not list((tmp_path / "out").glob("lifts.p*")) + list((tmp_path / "out").glob("*.svg"))


def test_a_value_that_is_drawn_sometimes_is_told_as_such(tmp_path):
    rate = {"loguniform": [1e-4, 1e-2], "when": {ALPHA: [5]}}
    synthetic = SyntheticRun(tmp_path / "one", space=SPACE | {RATE: rate})
    compare_runs([synthetic.done(), small_run(tmp_path / "other")], tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert (
        f"{ALPHA}: choice 5, 10; {RATE}: loguniform 0.0001, 0.01 (where its “when” holds)</td>"
        in page
    )


def test_runs_of_one_name_are_refused_for_none_could_be_told_apart(tmp_path):
    runs = [small_run(tmp_path / place / "same") for place in ("here", "there")]
    with pytest.raises(UserError, match="same: is the name of 2 of the runs; rename the folder"):
        compare_runs(runs, tmp_path / "out")


def report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_command_compares_when_it_is_given_several(runs, tmp_path):
    done = report(runs[0].root, runs[1].root, "--storage", tmp_path)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "comparison" / "index.html") in done.output.replace("\n", "")
    assert (tmp_path / "comparison" / "lifts.pdf").exists()
    elsewhere = tmp_path / "elsewhere"
    assert report(runs[0].root, runs[1].root, "--out", elsewhere).exit_code == 0
    assert (elsewhere / "index.html").exists()


def test_the_command_reports_one_run_into_its_own_folder(runs, tmp_path):
    assert report(runs[0].root).exit_code == 0
    assert (runs[0].report / "index.html").exists()
    assert report("--storage", tmp_path).exit_code == 0  # the latest
    refused = report(runs[0].root, "--out", tmp_path / "x")
    assert "one run's report lies in its own folder" in str(refused.exception)
