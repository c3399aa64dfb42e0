"""Further controls in the report, and what is measured beside the lift."""

import csv
import json
import math

import pytest

from neft_ray.report import gather, write_report
from neft_ray.report.beside import MEASURES, compare_measures, measure_of
from neft_ray.report.lift import HELPS, NO_EVIDENCE
from neft_ray.report.words import budget_comparison, comparison_sentences, headline
from tests.unit.report_runs import SyntheticRun, run_with_controls


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = run_with_controls(tmp_path_factory.mktemp("controls") / "run")
    return run, write_report(run)


def test_every_arm_is_compared_with_the_control_and_the_treatment_with_every_arm(whole):
    _, results = whole
    names = [comparison.name for comparison in results.comparisons]
    assert names == ["treatment − control", "dropout − control", "treatment − dropout"]
    assert results.headline is results.comparisons[0]
    verdicts = [comparison.lift.at_end.verdict for comparison in results.comparisons]
    assert verdicts == [HELPS, HELPS, NO_EVIDENCE]
    assert results.comparisons[1].lift.at_end.difference == pytest.approx(-0.2)


def test_the_headline_stays_the_noise_against_the_control(whole):
    _, results = whole
    assert headline(results).startswith("Noise helps when training runs to the end")
    dropout, treatment = comparison_sentences(results)
    assert dropout == (
        "Dropout against control: better at the end (−0.200, −0.200 to −0.200); "
        "better at best (−0.200, −0.200 to −0.200)."
    )
    assert treatment.startswith("Treatment against dropout: no evidence of a difference at the end")


def test_budgets_of_all_arms_are_compared(whole):
    assert budget_comparison(whole[1]) == (
        "Equal tuning budgets, to within one whole trial: 50 optimizer steps in 2 trials of the "
        "treatment arm, 50 in 2 trials of the control arm, 50 in 2 trials of the dropout arm."
    )


def test_page_has_a_card_for_every_arm_and_the_picture_of_them(whole):
    run, _ = whole
    page = (run.report / "index.html").read_text()
    assert page.count('<div class="arm" data-arm=') == 3
    assert "Dropout arm (α = 0, model.embedding_dropout = 0.1)" in page
    assert page.count("<h3>Is it NEFTune, or any regulariser?</h3>") == 1
    assert (run.report / "controls.png").exists()


def test_tables_have_every_comparison(whole):
    run, _ = whole
    with (run.report / "lift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert [row["at"] for row in rows[:3]] == ["at_end", "at_best", "against_early_stopping"]
    second = rows[3]
    assert (second["first_arm"], second["second_arm"]) == ("dropout", "control")
    assert (second["verdict"], second["num_seeds"]) == ("helps", "3")
    content = json.loads((run.report / "results.json").read_text())
    assert content["lift"] == content["comparisons"][0]["lift"]
    assert list(content["arms"]) == ["treatment", "control", "dropout"]
    for row, comparison in zip(rows[::3], content["comparisons"], strict=True):
        assert float(row["difference"]) == comparison["lift"]["at_end"]["difference"]


def test_a_trial_shows_the_values_of_its_own_arm_alone(whole):
    from neft_ray.report.phrases import configuration_text

    texts = {trial.record.arm: configuration_text(trial) for trial in whole[1].trials[::2][:3]}
    assert texts == {
        "treatment": "α 5, learning rate 0.001",
        "control": "α 0, learning rate 0.001",
        "dropout": "α 0, learning rate 0.001, model.embedding_dropout 0.1",
    }


def test_without_a_control_arm_further_controls_are_compared_with_the_treatment(tmp_path):
    controls = {"decay": {"optimizer.weight_decay": 0.1}}
    synthetic = SyntheticRun(tmp_path / "run", control=None, controls=controls)
    for seed in (1, 2, 3):
        synthetic.trial("treatment", seed=seed, rows={20: 3.2, 40: 3.3})
        synthetic.trial("decay", seed=seed, rows={20: 3.4, 40: 3.5})
    results = write_report(synthetic.done(finished=True))
    assert [comparison.name for comparison in results.comparisons] == ["treatment − decay"]
    assert headline(results) == "Not measured: this sweep has no control arm."
    assert comparison_sentences(results)[0].startswith("Treatment against decay: better")


# Beside the lift.


def of(results, name, comparison=0):
    found = results.comparisons[comparison].beside
    return next(it for it in found if it.measure.name == name)


def test_measures_are_paired_by_seed(whole):
    words = of(whole[1], "answer_words")
    assert (words.treatment, words.control) == pytest.approx((32.2, 22.0))
    assert words.seed_differences == pytest.approx((10.1, 10.2, 10.3))
    low, high = words.interval  # 10.2 ± 4.3027 · 0.1 / √3
    assert (low, high) == pytest.approx((10.2 - 0.24842, 10.2 + 0.24842), abs=1e-4)
    assert (words.verdict, of(whole[1], "answer_repetition").verdict) == ("higher", "no evidence")


def test_the_gap_is_held_out_minus_training_loss():
    gap = next(measure for measure in MEASURES if measure.name == "gap")
    assert measure_of(gap, {"report_loss": 3.5, "train_eval_loss": 3.0}) == pytest.approx(0.5)
    assert measure_of(gap, {"report_loss": 3.5}) is None


def test_what_no_run_has_is_unknown_and_says_so(whole):
    run, results = whole
    bleu = of(results, "answer_bleu")
    assert (bleu.verdict, bleu.seeds, bleu.is_known) == ("unknown", (), False)
    assert math.isnan(bleu.treatment)
    with (run.report / "measures.csv").open() as file:
        rows = {(row["first_arm"], row["measure"]): row for row in csv.DictReader(file)}
    assert rows["dropout", "answer_bleu"]["says"] == "unknown"
    assert rows["dropout", "answer_bleu"]["first"] == ""
    assert len(rows) == 2 * len(MEASURES)
    assert "<td>unknown</td>" in (run.report / "index.html").read_text()


def test_only_runs_that_came_to_their_end_are_measured(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    words = {"answer_words": 10.0}
    synthetic.pair(1, {20: 3.0, 40: 3.0}, {20: 3.0, 40: 3.0}, answers=words)
    synthetic.trial("treatment", seed=2, rows={20: 3.0, 40: 3.0}, answers=words)
    synthetic.trial("control", seed=2, rows={20: 3.0}, select=(4, 3), status=None, answers=words)
    results = gather(synthetic.done())
    found = of(results, "answer_words")
    assert (found.seeds, found.interval, found.verdict) == ((1,), None, "no evidence")


def test_arms_without_finalists_have_no_measures(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.trial()
    results = gather(synthetic.done())
    assert compare_measures(results.treatment, results.control) == ()


# What failed.


def test_every_failure_is_listed_with_its_reason(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run", num_trials=9)
    synthetic.trial(status="completed")
    synthetic.trial(status="stopped", select=(4,))
    synthetic.trial(status="diverged", reason="spiked: its select loss rose 3 nats")
    synthetic.cut(reason="stalled: no lower select loss in 5 evaluations", select=(4, 5))
    synthetic.cut(reason="paused until the end of the search", select=(4,))
    synthetic.trial(status="cancelled", reason="by hand at step 20", select=(4, 3))
    synthetic.trial(status="evicted", reason="a status of a later version", select=(4,))
    synthetic.trial(status="completed", crashes=["node lost", "node lost"])
    run = synthetic.done()
    results = write_report(run)
    assert {trial.name: trial.problem for trial in results.with_problems} == {
        "t002": "spiked: its select loss rose 3 nats",
        "t003": "stalled: no lower select loss in 5 evaluations",
        "t005": "by hand at step 20",
        "t006": "a status of a later version",
        "t007": "crashed 2× (node lost)",
    }
    page = (run.report / "index.html").read_text()
    failed = page[page.index("<h2>What failed</h2>") : page.index("<h2>Trials</h2>")]
    for trial in results.with_problems:
        assert trial.problem in failed


def test_a_paused_trial_has_not_ended(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    number = synthetic.trial(status=None, select=())
    synthetic.journal.append(
        "report", trial=number, step=10, metrics={"select_loss": 4.0}, decision="pause"
    )
    (trial,) = write_report(synthetic.done()).trials
    assert (trial.status, trial.has_ended, trial.problem) == ("paused", False, "")


# Population-based training.


def test_a_trial_that_goes_on_from_another_says_so_and_counts_its_own_steps(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run", scheduler={"kind": "pbt", "interval_steps": 20})
    synthetic.trial()
    synthetic.trial(select=(5, 5), status=None)
    synthetic.journal.append(
        "suggest", trial=2, arm="treatment", phase="search", values={"noise.alpha": 5},
        seed=0, num_steps=40, parent=0, parent_step=20, replaces=1, reason="replaced by t002",
    )  # fmt: skip
    for step in (30, 40):
        synthetic.journal.append(
            "report", trial=2, step=step, metrics={"select_loss": 3.0}, decision="continue"
        )
    synthetic.journal.append("end", trial=2, status="completed", reason="")
    folder = synthetic.run.trial(2)
    folder.mkdir(parents=True)
    changes = [{"after_step": 20, "alpha": 6.25, "learning_rate": None}]
    (folder / "config.json").write_text(json.dumps({"changes": changes}))
    run = synthetic.done()
    results = write_report(run)
    arm = results.treatment
    assert (arm.steps, arm.full_steps, arm.saved_steps) == (40 + 20 + 20, 80, 0)
    with (run.report / "trials.csv").open() as file:
        remarks = [row["remarks"] for row in csv.DictReader(file)]
    assert remarks == [
        "",
        "replaced by t002",
        "goes on from t000 at step 20; after step 20: α 6.25",
    ]
    assert "α 5, learning rate 5e-05; after step 20: α 6.25" in (
        run.report / "index.html"
    ).read_text().replace("\n", " ")
