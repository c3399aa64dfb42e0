"""Importance and surface: one fidelity for all trials, known answers, unknown where too few."""

import math

import numpy as np
import pytest

from neft_ray.report import gather, write_report
from neft_ray.report.fidelity import common_fidelity
from neft_ray.report.importance import FEWEST_TRIALS, importance_of
from neft_ray.report.surrogate import NoSurface, surface_of
from tests.unit.report_runs import ALPHA, RATE, SyntheticRun

SPACE = {
    ALPHA: {"uniform": [0.0, 20.0]},
    RATE: {"loguniform": [1e-5, 1e-2]},
    "optimizer.weight_decay": {"choice": [0.0, 0.1]},
}
SEARCH = {"space": SPACE, "num_trials": 40}


def results_of(root, loss, num=40, search=SEARCH, until=lambda n: 4):
    """A search whose n-th trial has the loss of its point, at its `until(n)` evaluations."""
    synthetic = SyntheticRun(root, **search)
    draw = np.random.default_rng(3)
    for n in range(num):
        alpha, rate = 20 * draw.random(), 10 ** (-5 + 3 * draw.random())
        decay = float(draw.choice([0.0, 0.1]))
        value = loss(alpha, math.log10(rate), decay)
        losses = [value + 0.1 * (4 - step) for step in range(1, until(n) + 1)]
        status = "completed" if until(n) == 4 else "stopped"
        extra = {"optimizer.weight_decay": decay}
        synthetic.trial(alpha=alpha, rate=rate, select=losses, status=status, extra=extra)
    return gather(synthetic.done())


def bowl(alpha, log_rate, decay):
    return 3 + 0.01 * (alpha - 8) ** 2 + 0.05 * (log_rate + 3.5) ** 2


def test_importance_finds_the_setting_that_matters(tmp_path):
    found = results_of(tmp_path / "run", lambda alpha, rate, decay: 3 + 0.2 * rate**2).importance
    assert next(iter(found.shares)) == RATE
    assert found.shares[RATE] > 0.9
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.basis == "40 trials by their lowest select loss in the first 40 steps"


def test_importance_tells_two_from_one(tmp_path):
    by_both = results_of(tmp_path / "run", bowl).importance.shares
    assert by_both[ALPHA] > by_both[RATE] > 3 * by_both["optimizer.weight_decay"]


def test_importance_is_repeatable(tmp_path):
    results = results_of(tmp_path / "run", bowl)
    again = importance_of(results.treatment, results.config.sweep.space)
    assert again == results.importance


def test_too_few_trials_have_no_importance(tmp_path):
    num = FEWEST_TRIALS - 1
    found = results_of(tmp_path / "run", bowl, num=num).importance
    assert found.shares == {}
    assert (
        found.basis == f"unknown: {num} trials came to step 40, at least {FEWEST_TRIALS} are needed"
    )


def test_trials_outside_of_a_space_that_was_narrowed_since_are_left_out(tmp_path):
    whole = results_of(tmp_path / "run", bowl)
    narrow = SPACE | {ALPHA: {"uniform": [4.0, 12.0]}}
    search = SEARCH | {"space": narrow}
    found = results_of(tmp_path / "narrow", bowl, search=search).importance
    num = sum(4 <= trial.alpha <= 12 for trial in whole.trials)
    assert FEWEST_TRIALS <= num < 40
    first = f"{num} trials by their lowest select loss in the first 40 steps"
    assert found.basis == f"{first}; {40 - num} are outside of the space as it is now"
    assert found.shares[ALPHA] < whole.importance.shares[ALPHA]
    few = {"space": SPACE | {ALPHA: {"uniform": [8.0, 9.0]}}, "num_trials": 40}
    found = results_of(tmp_path / "few", bowl, search=few).importance
    assert "at least 10 are needed; " in found.basis


def test_equal_losses_have_no_importance(tmp_path):
    found = results_of(tmp_path / "run", lambda *_: 3.0)
    assert found.importance.basis == "unknown: the losses of all trials are equal"
    assert found.no_surface_reason == "their losses are equal"


def test_cut_trials_are_compared_after_as_many_steps(tmp_path):
    """Half of the trials are cut at step 20, where a trial's loss is 0.2 above that at its end."""
    results = results_of(
        tmp_path / "run", bowl, num=12, until=lambda n: 1 if n == 0 else 2 if n % 2 else 4
    )
    found = common_fidelity(results.treatment.trials, 10)
    assert (found.step, len(found.points), found.num_left_out) == (20, 11, 1)
    for trial, loss in found.points:
        expected = bowl(trial.alpha, math.log10(trial.learning_rate), 0) + 0.2
        assert loss == pytest.approx(expected)
    assert found.text.endswith("in the first 20 steps (1 did not get so far)")
    few = common_fidelity(results.treatment.trials, 3)
    assert (few.step, len(few.points)) == (20, 11)
    whole = common_fidelity([t for t in results.treatment.trials if t.status == "completed"], 3)
    assert whole.step == 40


def test_trials_without_a_finite_loss_are_left_out(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.trial(select=(math.nan,), status="diverged")
    synthetic.trial(select={}, status="failed")
    synthetic.trial(select=(4,), status="stopped")
    found = common_fidelity(gather(synthetic.done()).treatment.trials, 1)
    assert ([trial.name for trial, _ in found.points], found.num_left_out) == (["t002"], 2)


def test_surface_finds_the_bottom_of_a_bowl(tmp_path):
    surface = results_of(tmp_path / "run", bowl).surface
    row, column = np.unravel_index(surface.mean_AR.argmin(), surface.mean_AR.shape)
    assert surface.alphas[row] == pytest.approx(8, abs=1)
    assert math.log10(surface.rates[column]) == pytest.approx(-3.5, abs=0.25)
    assert surface.mean_AR.min() == pytest.approx(3, abs=0.03)


def test_surface_is_as_wrong_as_it_says(tmp_path):
    """Of the places between the trials, most lie within two standard deviations of the truth."""
    draw = np.random.default_rng(1)
    results = results_of(tmp_path / "run", lambda *at: bowl(*at) + 0.05 * draw.normal(), num=30)
    surface = results.surface
    truth = bowl(surface.alphas[:, None], np.log10(surface.rates)[None, :], 0)
    errors = np.abs(surface.mean_AR - truth) / surface.std_AR
    assert (errors < 2).mean() > 0.8
    assert surface.noise_std == pytest.approx(0.05, abs=0.03)


def test_surface_is_less_sure_where_there_are_no_trials(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run", space={k: SPACE[k] for k in (ALPHA, RATE)})
    draw = np.random.default_rng(0)
    for _ in range(20):
        alpha, rate = 3 * draw.random(), 10 ** (-5 + 3 * draw.random())
        synthetic.trial(alpha=alpha, rate=rate, select=(bowl(4 * alpha, math.log10(rate), 0),))
    synthetic.trial(alpha=20, rate=1e-5, select=(4.5,))
    surface = gather(synthetic.done()).surface
    known, unknown = surface.std_AR[:5].mean(), surface.std_AR[30:].mean()
    assert unknown > 3 * known


def test_a_huge_loss_does_not_bend_the_surface(tmp_path):
    def loss(alpha, log_rate, decay):
        return 300.0 if log_rate > -2.2 else bowl(alpha, log_rate, decay)

    surface = results_of(tmp_path / "run", loss).surface
    assert surface.num_capped > 0
    assert surface.mean_AR.min() == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(
    ("num", "alphas", "reason"),
    [
        (7, [1.0, 2.0], "7 trials came to step 10, at least 8 are needed"),
        (9, [5.0], "α is 5 in all of them"),
    ],
)
def test_without_enough_variety_there_is_no_surface(tmp_path, num, alphas, reason):
    space = {ALPHA: {"choice": alphas}, RATE: SPACE[RATE]}
    synthetic = SyntheticRun(tmp_path / "run", space=space)
    for n in range(num):
        synthetic.trial(alpha=alphas[n % len(alphas)], rate=1e-3 * (n + 1), select=(3 + n,))
    results = gather(synthetic.done())
    assert (results.surface, results.no_surface_reason) == (None, reason)
    with pytest.raises(NoSurface):
        surface_of(results.treatment)


@pytest.mark.filterwarnings("error")
def test_the_pictures_say_which_trials_at_which_fidelity(tmp_path):
    results = results_of(tmp_path / "run", bowl)
    root = tmp_path / "run"
    from neft_ray.run_directory import RunDirectory

    write_report(RunDirectory(root))
    page = (root / "report" / "index.html").read_text()
    assert page.count("40 trials by their lowest select loss in the first 40 steps") >= 2
    assert results.surface.basis in page
