"""The lift's difference, interval and verdict."""

import numpy as np
import pytest

from neft_ray.report.lift import (
    HELPS,
    HURTS,
    NO_EVIDENCE,
    Pair,
    bootstrap_interval,
    difference_of,
)

COUNTS = np.array([10.0, 20.0, 30.0, 40.0])


def pairs_of(treatment, control):
    """One pair per seed from losses per token, [S, R]."""
    both = zip(np.asarray(treatment), np.asarray(control), strict=True)
    return [Pair(seed, t * COUNTS, c * COUNTS) for seed, (t, c) in enumerate(both)]


def noisy(offset, num_seeds=5, scale=0.01, seed=0):
    rng = np.random.default_rng(seed)
    control = 3 + 0.1 * rng.normal(size=(num_seeds, 4))
    treatment = control + offset + scale * rng.normal(size=(num_seeds, 4))
    return pairs_of(treatment, control)


def test_difference_weighs_rows_by_their_tokens():
    found = difference_of(
        pairs_of([[1, 1, 1, 2], [1, 1, 1, 1]], [[2, 1, 1, 1], [1, 1, 1, 1]]), COUNTS
    )
    # seed 0: (10·(1−2) + 40·(2−1)) / 100 tokens; seed 1: nothing
    assert found.seed_differences == pytest.approx((0.3, 0.0))
    assert found.difference == pytest.approx(0.15)
    assert (found.treatment_loss, found.control_loss) == pytest.approx((1.2, 1.05))
    assert (found.num_rows, found.seeds) == (4, (0, 1))


@pytest.mark.parametrize(
    ("offset", "verdict"), [(-0.3, HELPS), (0.3, HURTS), (0.0, NO_EVIDENCE), (-0.001, NO_EVIDENCE)]
)
def test_verdict_follows_the_interval(offset, verdict):
    found = difference_of(noisy(offset), COUNTS)
    assert found.verdict == verdict
    low, high = found.interval
    assert low < found.difference < high


def test_exchanging_the_arms_mirrors_interval_and_verdict():
    pairs = noisy(-0.1)
    exchanged = [Pair(pair.seed, pair.control, pair.treatment) for pair in pairs]
    ours, theirs = difference_of(pairs, COUNTS), difference_of(exchanged, COUNTS)
    assert theirs.interval == pytest.approx((-ours.interval[1], -ours.interval[0]))
    assert (ours.verdict, theirs.verdict) == (HELPS, HURTS)


def test_equal_input_gives_an_equal_interval():
    assert difference_of(noisy(-0.1), COUNTS) == difference_of(noisy(-0.1), COUNTS)


def test_interval_of_a_constant_difference_is_that_difference():
    differences = np.tile(-0.2 * COUNTS, (5, 1))
    assert bootstrap_interval(differences, COUNTS) == pytest.approx((-0.2, -0.2))


def test_resampling_in_chunks_draws_as_many(monkeypatch):
    differences = np.random.default_rng(0).normal(size=(5, 4)) * COUNTS
    whole = bootstrap_interval(differences, COUNTS)
    monkeypatch.setattr("neft_ray.report.lift._WEIGHTS_AT_ONCE", 12)
    assert bootstrap_interval(differences, COUNTS) == pytest.approx(whole, rel=0.1)


def test_a_single_seed_is_no_evidence():
    found = difference_of(pairs_of([[1, 1, 1, 1]], [[9, 9, 9, 9]]), COUNTS)
    assert found.interval is None
    assert found.verdict == NO_EVIDENCE


def test_no_pairs_no_difference():
    assert difference_of([], np.zeros(0)) is None


def test_an_arm_that_diverged_is_never_the_better_one():
    assert difference_of(noisy(-0.3), COUNTS, num_diverged=(1, 0)).verdict == NO_EVIDENCE
    assert difference_of(noisy(-0.3), COUNTS, num_diverged=(0, 1)).verdict == HELPS
    assert difference_of(noisy(0.3), COUNTS, num_diverged=(0, 1)).verdict == NO_EVIDENCE
    assert difference_of(noisy(0.3), COUNTS, num_diverged=(1, 0)).verdict == HURTS


NUM_SWEEPS = 1000
BOUND = 3 * (0.95 * 0.05 / NUM_SWEEPS) ** 0.5
"""Three standard deviations of the share of intervals that cover, where each does with 95 %."""


def simulated(rng, truth, num_seeds, between_seeds, between_rows):
    """Differences of one sweep: what seeds, rows and single runs on rows add to the truth."""
    num_rows = 50
    counts = rng.integers(12, 60, num_rows).astype(float)
    per_token = truth + between_seeds * rng.normal(size=(num_seeds, 1))
    per_token = per_token + between_rows * rng.normal(size=num_rows)
    per_token = per_token + 0.05 * rng.normal(size=(num_seeds, num_rows))
    return per_token * counts, counts


@pytest.mark.parametrize(
    ("num_seeds", "between_seeds", "between_rows"),
    [(5, 0.2, 0.05), (5, 0.05, 0.3), (5, 0.0, 0.2), (5, 0.1, 0.0), (3, 0.2, 0.2), (10, 0.1, 0.3)],
)
def test_interval_covers_the_truth_19_times_in_20(num_seeds, between_seeds, between_rows):
    rng, truth, hits = np.random.default_rng(0), -0.1, 0
    for _ in range(NUM_SWEEPS):
        sweep = simulated(rng, truth, num_seeds, between_seeds, between_rows)
        low, high = bootstrap_interval(*sweep, num_resamples=400)
        hits += low <= truth <= high
    assert hits / NUM_SWEEPS == pytest.approx(0.95, abs=BOUND)


def test_where_only_single_runs_on_rows_differ_the_interval_is_rather_too_wide():
    """What is neither a seed's nor a row's own counts as both: never too sure of itself."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(NUM_SWEEPS):
        low, high = bootstrap_interval(*simulated(rng, 0.0, 5, 0.0, 0.0), num_resamples=400)
        hits += low <= 0 <= high
    assert hits / NUM_SWEEPS >= 0.95


def test_useless_noise_helps_in_one_sweep_of_forty():
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(NUM_SWEEPS):
        differences, counts = simulated(rng, 0.0, 5, 0.1, 0.1)
        low, high = bootstrap_interval(differences, counts, num_resamples=400)
        verdicts.append(HELPS if high < 0 else HURTS if low > 0 else NO_EVIDENCE)
    for wrong in (HELPS, HURTS):
        bound = 3 * (0.025 * 0.975 / NUM_SWEEPS) ** 0.5
        assert verdicts.count(wrong) / NUM_SWEEPS == pytest.approx(0.025, abs=bound)
