"""Several objectives: the configurations that no other one beats in all of them."""

import math

from neft_ray.report import gather, summary_lines, write_report
from neft_ray.report.front import LOSS, candidates_of
from neft_ray.report.words import choice_text
from tests.unit.report_runs import SyntheticRun

OBJECTIVES = {LOSS: "min", "answer_repetition": "min", "answer_words": "max"}


def made_run(tmp_path, **search):
    """Three finalist configurations, the first on two seeds, and a control."""
    made = SyntheticRun(tmp_path / "run", **search)
    for seed, loss in ((1, 2.0), (2, 4.0)):
        finalist(made, 5, loss, repetition=0.30, words=20, seed=seed)
    finalist(made, 10, 3.5, repetition=0.20, words=10)
    finalist(made, 15, 3.6, repetition=0.25, words=10)
    finalist(made, 0, 3.9, repetition=0.40, words=30, arm="control")
    made.trial(alpha=20, rows={40: 1.0}, status="failed", answers={"answer_repetition": 0.0})
    made.journal.close()
    return made.run


def finalist(made, alpha, loss, repetition, words, arm="treatment", seed=1):
    answers = {"answer_repetition": repetition, "answer_words": float(words)}
    made.trial(arm, alpha, seed=seed, rows={40: loss}, answers=answers)


def found(run, objectives):
    arms = gather(run).arms
    return [(it.trial.alpha, it.values, it.is_on_front) for it in candidates_of(arms, objectives)]


def test_what_another_beats_in_all_objectives_is_not_on_the_front(tmp_path):
    run = made_run(tmp_path)
    assert found(run, OBJECTIVES) == [
        (5, (3.0, 0.30, 20), True),
        (10, (3.5, 0.20, 10), True),
        (15, (3.6, 0.25, 10), False),
        (0, (3.9, 0.40, 30), True),
    ], "means over seeds; longest answers keep the control on it; what failed is none"


def test_with_one_objective_the_best_alone_is_on_the_front(tmp_path):
    run = made_run(tmp_path)
    assert [on for _, _, on in found(run, {LOSS: "min"})] == [True, False, False, False]
    assert found(run, {"answer_words": "max"})[-1][2], "the control, whose answers are longest"


def test_equals_are_both_on_the_front(tmp_path):
    made = SyntheticRun(tmp_path / "run")
    for alpha in (5, 10):
        finalist(made, alpha, 3.0, repetition=0.1, words=5)
    made.journal.close()
    assert [on for _, _, on in found(made.run, OBJECTIVES)] == [True, True]


def test_an_unknown_measure_leaves_a_configuration_out(tmp_path):
    made = SyntheticRun(tmp_path / "run")
    finalist(made, 5, 3.0, repetition=math.nan, words=5)
    made.trial(alpha=10, rows={40: 3.0})
    made.journal.close()
    assert found(made.run, OBJECTIVES) == []


def test_the_report_shows_the_objectives_of_the_configuration(tmp_path):
    run = made_run(tmp_path, objective={"beside": {"answer_words": "max"}})
    write_report(run)
    page = (run.report / "index.html").read_text()
    assert "<h2>Several objectives</h2>" in page
    assert "answer words (max)" in page and "answer repetition (min)" not in page
    assert (
        page.count("on the front") == 2 and page.count("another is as good in all, and better") == 2
    )


def weighed(tmp_path, name, **objective):
    results = gather(made_run(tmp_path / name, objective=objective))
    return results.best.alpha, choice_text(results), summary_lines(results)


def test_the_model_is_chosen_by_the_weighed_sum(tmp_path):
    """All finalists have a lowest select loss of 3.5; what failed is none of them."""
    both = {"answer_repetition": "min", "answer_words": "max"}
    alpha, says, lines = weighed(tmp_path, "min", weights={"answer_repetition": 2.0})
    assert alpha == 10 and says in lines
    assert says.endswith(
        "the finalist with the lowest select loss + 2 × answer repetition: 3.9000."
    )
    alpha, says, _ = weighed(tmp_path, "max", beside=both, weights={"answer_words": 0.1})
    assert alpha == 0 and "select loss - 0.1 × answer words: 0.5000" in says
    assert weighed(tmp_path, "none")[1] == "", "nothing is said where nothing is weighed"


def test_without_a_measured_finalist_the_loss_alone_chooses(tmp_path):
    made = SyntheticRun(tmp_path / "run", objective={"weights": {"answer_repetition": 2.0}})
    made.trial(alpha=10, select=(3.0, 2.0, 2.5, 2.6))
    made.trial(alpha=5, rows={40: 3.0})
    results = gather(made.done())
    assert results.best.alpha == 10
    assert "by its loss alone: no finalist has all of select loss" in choice_text(results)
