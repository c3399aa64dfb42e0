"""Win rates on simulated judges whose truth is known."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from neft_ray.judge import win_rate_of
from neft_ray.judge.winrate import PRIOR_DEVIATION, fit, standardised


def lengths(num, seed=0, mean=300, spread=200):
    """Lengths of a system that is `mean` characters longer, and of its reference."""
    random = np.random.default_rng(seed)
    reference = random.integers(1000, 2000, num)
    return (reference + random.normal(mean, spread, num).round().astype(int)).tolist(), (
        reference.tolist()
    )


def simulated(num, liking, length_weight, seed=0, mean=100):
    """Preferences of a judge with this liking at equal length, over both orders."""
    random = np.random.default_rng(seed + 1)
    ours, theirs = lengths(num, seed, mean)
    x = standardised(np.subtract(ours, theirs).astype(float))
    chances = expit(liking + length_weight * x)
    return (random.binomial(2, chances) / 2).tolist(), ours, theirs


def test_a_judge_that_only_likes_length_is_unmasked():
    ours, theirs = lengths(800)
    liked = [float(one > other) for one, other in zip(ours, theirs, strict=True)]
    found = win_rate_of(liked, ours, theirs)
    assert found.raw.rate > 0.9
    low, high = found.controlled.interval
    assert low < 0.5 < high
    assert abs(found.controlled.rate - 0.5) < 0.15
    assert found.length_weight > 10


def test_a_noisy_judge_of_length_is_unmasked():
    found = win_rate_of(*simulated(800, liking=0, length_weight=2, mean=300))
    assert found.raw.rate > 0.7
    assert found.controlled.interval[0] < 0.5 < found.controlled.interval[1]


def test_a_judge_that_ignores_length_has_one_win_rate():
    found = win_rate_of(*simulated(2000, liking=0.4, length_weight=0))
    assert found.controlled.rate == pytest.approx(found.raw.rate, abs=0.01)
    assert found.raw.rate == pytest.approx(float(expit(0.4)), abs=0.02)
    assert abs(found.length_weight) < 0.2


@pytest.mark.parametrize("length_weight", [0, 1.5, 50])
def test_swapping_the_systems_turns_the_rates_round(length_weight):
    liked, ours, theirs = simulated(301, 0.3, length_weight)
    found = win_rate_of(liked, ours, theirs)
    back = win_rate_of([1 - each for each in liked], theirs, ours)
    assert back.raw.rate == pytest.approx(1 - found.raw.rate, abs=1e-15)
    assert back.controlled.rate == pytest.approx(1 - found.controlled.rate, abs=1e-7)
    assert back.raw.interval == pytest.approx([1 - x for x in found.raw.interval[::-1]], abs=1e-12)
    assert back.controlled.interval == pytest.approx(
        [1 - x for x in found.controlled.interval[::-1]], abs=1e-6
    )
    assert back.controlled.standard_error == pytest.approx(found.controlled.standard_error)
    assert (back.num_won, back.num_lost) == (found.num_lost, found.num_won)


@pytest.mark.parametrize(("num", "mean"), [(40, 0), (200, 100), (200, 300)])
def test_intervals_cover_the_truth(num, mean):
    """In 19 of 20 simulated comparisons, within the luck of 300 of them."""
    liking, length_weight = 0.4, 1.2
    many, *_ = simulated(200_000, liking, length_weight, seed=7, mean=mean)
    truths = np.array([np.mean(many), expit(liking)])
    covered, widths = np.zeros(2), []
    for seed in range(300):
        found = win_rate_of(*simulated(num, liking, length_weight, seed, mean), num_resamples=400)
        for which, estimate in enumerate((found.raw, found.controlled)):
            low, high = estimate.interval
            covered[which] += low <= truths[which] <= high
            widths.append(high - low)
    assert np.all(covered / 300 > 0.915)
    assert np.all(covered / 300 < 0.985)


def test_the_standard_error_is_that_of_the_mean_and_of_the_resamples():
    sample = simulated(400, 0.2, 1)
    found = win_rate_of(*sample)
    assert found.raw.standard_error == pytest.approx(np.std(sample[0], ddof=1) / 20)
    rates = [win_rate_of(*simulated(400, 0.2, 1, seed), 50).controlled.rate for seed in range(200)]
    assert found.controlled.standard_error == pytest.approx(np.std(rates), rel=0.25)


def test_ties_are_counted_and_pairs_without_verdict_are_left_out():
    found = win_rate_of([1, 0.5, None, 0.2, 0.5, None], [3] * 6, [3] * 6)
    assert (found.num, found.num_won, found.num_tied, found.num_lost) == (4, 1, 2, 1)
    assert found.raw.rate == pytest.approx(0.55)


def test_without_a_single_verdict_there_is_no_win_rate():
    assert win_rate_of([None, None], [1, 2], [2, 1]) is None
    assert win_rate_of([], [], []) is None


@pytest.mark.parametrize(("num", "low"), [(1, 0.025), (20, 0.832), (805, 0.9954)])
def test_equal_preferences_are_not_certainty(num, low):
    """Clopper and Pearson: 20 wins of 20 go with a win rate from 0.832."""
    found = win_rate_of([1] * num, [3] * num, [3] * num)
    assert found.raw.interval == pytest.approx((low, 1), abs=1e-3)
    lost = win_rate_of([0] * num, [3] * num, [3] * num)
    assert lost.raw.interval == pytest.approx((0, 1 - low), abs=1e-3)
    tied = win_rate_of([0.5] * num, [3] * num, [3] * num)
    assert tied.raw.interval == pytest.approx((low / 2, 1 - low / 2), abs=1e-3)


def test_length_is_not_controlled_where_one_system_is_nearly_always_longer():
    liked, ours, theirs = simulated(100, 0.3, 1, mean=2000)
    found = win_rate_of(liked, ours, theirs)
    assert found.controlled is None
    assert found.no_controlled_reason.startswith("all but 0 of 100 outputs are longer than the")
    found = win_rate_of(liked, theirs, ours)
    assert "outputs are shorter than" in found.no_controlled_reason


def test_equally_long_outputs_have_one_win_rate():
    liked = [1.0] * 60 + [0.0] * 40
    found = win_rate_of(liked, [10] * 100, [10] * 100)
    assert found.controlled.rate == pytest.approx(found.raw.rate, abs=1e-3)
    assert found.controlled.interval == pytest.approx(found.raw.interval, abs=0.01)


def test_an_equal_comparison_has_equal_intervals():
    sample = simulated(100, 0.3, 1)
    assert win_rate_of(*sample) == win_rate_of(*sample)


@pytest.mark.parametrize("length_weight", [0, 2, 500])
def test_the_fit_is_that_of_scikit_learn(length_weight):
    """Its ridge on both coefficients, the constant being one more column, is our normal prior."""
    liked, ours, theirs = (np.array(it, float) for it in simulated(300, 0.5, length_weight))
    x = standardised(ours - theirs)
    weights = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), 3).astype(float)
    found = fit(liked, x, weights)
    columns = np.tile(np.stack([np.ones_like(x), x], axis=1), (2, 1))
    model = LogisticRegression(
        C=PRIOR_DEVIATION**2, fit_intercept=False, solver="newton-cholesky", tol=1e-10
    )
    for row, counts in zip(found, weights, strict=True):
        labels = np.repeat([1, 0], 300)
        model.fit(columns, labels, np.concatenate([counts * liked, counts * (1 - liked)]))
        assert row == pytest.approx(model.coef_[0], rel=1e-4, abs=1e-5)
