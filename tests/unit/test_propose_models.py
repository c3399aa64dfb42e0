"""What the models are told: trials by their status, keys by their kind."""

import math

import optuna
from optuna.trial import TrialState

from neft_ray.journal import CANCELLED, DIVERGED, FAILED, PAUSED, RUNNING, STOPPED
from neft_ray.sweep.search.modelled import Modelled
from tests.unit.proposals import GP, TPE, WHOLE, proposer_of, record, told, view_of
from tests.unit.sweep_runs import ALPHA, RATE


def test_stopped_trials_are_told_as_pruned_at_their_rung_and_never_as_complete():
    history = [
        record(0, WHOLE),
        record(1, [3.0, 2.9], STOPPED),
        record(2, [4.0], STOPPED),
        record(3, [2.0, 1.9], RUNNING),
        record(4, [2.0], PAUSED),
        record(5, [2.0, math.nan], DIVERGED),
        record(6, [2.0], FAILED),
        record(7, [1.0], CANCELLED),
        record(8, [], RUNNING),
    ]
    steps = dict(zip((10, 20, 30, 40), WHOLE, strict=True))
    assert told(TPE, history) == [
        (TrialState.COMPLETE, 2.0, steps),
        (TrialState.PRUNED, None, {10: 3.0, 20: 2.9}),
        (TrialState.PRUNED, None, {10: 4.0}),
        (TrialState.RUNNING, None, {10: 2.0, 20: 1.9}),
        (TrialState.RUNNING, None, {10: 2.0}),
        (TrialState.PRUNED, None, {}),
        (TrialState.RUNNING, None, {}),
    ]


def test_the_objective_at_the_end_is_told_where_it_counts():
    history = [record(n, WHOLE) for n in range(3)]
    assert {value for _, value, _ in told(TPE, history, objective={"at": "end"})} == {2.2}
    assert {value for _, value, _ in told(TPE, history)} == {2.0}


def test_the_model_begins_with_enough_ended_trials():
    history = [record(n, WHOLE) for n in range(2)]
    unended = [record(2, WHOLE, RUNNING), record(3, [1.0], PAUSED), record(4, [], FAILED)]
    assert view_of(TPE, history + unended) is None
    assert view_of(TPE, [*history, record(5, [3.0], STOPPED)]) is not None
    assert view_of(GP, [*history, record(5, [3.0], STOPPED)]) is None
    assert view_of(GP, [*history, record(5, [3.0])]) is not None


def test_the_gaussian_process_sees_whole_trials_and_what_diverged_as_the_worst():
    history = [
        *(record(n, [3.0 - n, 2.5 - n]) for n in range(3)),
        record(3, [1.0], STOPPED),
        record(4, [math.nan], DIVERGED),
        record(5, [1.0], RUNNING),
    ]
    assert told(GP, history) == [
        (TrialState.COMPLETE, 2.5, {}),
        (TrialState.COMPLETE, 1.5, {}),
        (TrialState.COMPLETE, 0.5, {}),
        (TrialState.COMPLETE, 2.5, {}),
        (TrialState.RUNNING, None, {}),
    ]


def test_numbers_among_choices_are_ordered_and_others_are_not():
    space = {
        ALPHA: {"choice": [15, 5, 10]},
        "noise.schedule": {"choice": ["linear", "cosine"]},
        "optimizer.clip_norm": {"choice": [None, 1.0]},
        "noise.symmetric": {"choice": [True, False]},
    }
    proposer = proposer_of(TPE, space=space)
    assert isinstance(proposer, Modelled)
    values = {
        ALPHA: 10,
        "noise.schedule": "cosine",
        "optimizer.clip_norm": None,
        "noise.symmetric": False,
    }
    params, distributions = proposer._encoding.params(values)
    assert params == {ALPHA: 1, "noise.schedule": 1, "optimizer.clip_norm": 0, "noise.symmetric": 1}
    ordered = [isinstance(d, optuna.distributions.IntDistribution) for d in distributions.values()]
    assert ordered == [True, False, False, False]


def test_keys_under_a_condition_are_modelled_with_the_others():
    condition = {"noise.symmetric": True}
    space = {
        "noise.symmetric": {"choice": [True, False]},
        RATE: {"loguniform": [1e-4, 1e-2], "when": condition},
    }
    values = [{"noise.symmetric": True, RATE: 1e-3}, {"noise.symmetric": False}] * 2
    history = [record(n, WHOLE, values=v) for n, v in enumerate(values)]
    told_keys = [set(t.params) for t in view_of(TPE, history, space=space, control=None)]
    assert told_keys == [set(v) for v in values]
    filled = [set(t.params) for t in view_of(GP, history, space=space, control=None)]
    assert filled == [set(space)] * 4, "a Gaussian process models keys that all trials have"
    assert proposer_of(TPE, space=space, control=None)._model.sampler(0)._group
    assert not proposer_of(TPE)._model.sampler(0)._group
