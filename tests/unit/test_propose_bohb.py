"""What BOHB is told: losses at the furthest rung that enough trials have reached."""

import math

from optuna.trial import TrialState

from neft_ray.journal import DIVERGED, PAUSED, RUNNING, STOPPED
from tests.unit.proposals import BOHB, NONE, WHOLE, record, told, view_of
from tests.unit.sweep_runs import TOKENS_PER_STEP


def test_bohb_models_the_furthest_rung_that_enough_trials_have_reached():
    history = [
        record(0, [3.0, 2.0, 1.5, 1.4]),
        record(1, [3.1, 2.1, 2.0], RUNNING),
        record(2, [3.2, 2.2], STOPPED),
        record(3, [3.3], STOPPED),
        record(4, [3.4], RUNNING),
        record(5, [3.5], PAUSED),
        record(6, [math.nan], DIVERGED),
    ]
    complete = TrialState.COMPLETE
    at_20 = [(complete, value, {}) for value in (2.0, 2.1, 2.2)]
    running = (TrialState.RUNNING, None, {})
    assert told(BOHB, history) == [*at_20, running, (complete, 2.2, {})]
    at_10 = [(complete, value, {}) for value in (3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.5)]
    assert told(BOHB | {"num_startup_trials": 4}, history) == at_10
    assert told(BOHB | {"num_startup_trials": 7}, history) is None


def test_for_bohb_what_diverged_is_the_worst_however_well_it_began():
    history = [record(n, [3.0, 2.0 + n]) for n in range(3)] + [record(3, [1.0, 0.5], DIVERGED)]
    assert [value for _, value, _ in told(BOHB, history)] == [2.0, 3.0, 4.0, 4.0]


def test_bohb_counts_evaluations_where_there_are_no_rungs():
    history = [record(n, [3.0 - n, 2.0 - n, 1.0 - n][: n + 1]) for n in range(5)]
    assert told(BOHB, history, scheduler=NONE)[0][1] == 1.0 - 2
    assert told(BOHB | {"num_startup_trials": 5}, history, scheduler=NONE)[0][1] == 3.0


def test_bohb_counts_in_tokens_where_the_rungs_do():
    asha = {"kind": "asha", "grace_tokens": 15 * TOKENS_PER_STEP, "eta": 4}
    history = [record(n, [3.0, 2.0, 1.0]) for n in range(3)]
    found = told(BOHB, history, 80 * TOKENS_PER_STEP, scheduler=asha)
    assert {value for _, value, _ in found} == {2.0}, "the first report past 15 steps is at 20"


def test_bohb_draws_a_share_at_random():
    history = [record(n, WHOLE) for n in range(4)]
    modelled = [
        view_of(BOHB | {"random_fraction": 0.3, "seed": seed}, history) is not None
        for seed in range(100)
    ]
    assert 55 <= sum(modelled) <= 85
