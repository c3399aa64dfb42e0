"""What the models are told, and how much of it."""

import math
import random

import optuna
import pytest
from optuna.trial import TrialState

from neft_ray.journal import (
    CANCELLED,
    COMPLETED,
    DIVERGED,
    FAILED,
    PAUSED,
    RUNNING,
    STOPPED,
    Report,
    TrialRecord,
)
from neft_ray.sweep.propose import build_proposer
from neft_ray.sweep.search.modelled import Modelled
from neft_ray.sweep.search.models import GP_TRIALS, TPE_TRIALS
from tests.unit.sweep_runs import ALPHA, RATE, TOKENS_PER_STEP, sweep_config

TPE = {"kind": "optuna", "num_startup_trials": 3}
GP = TPE | {"sampler": "gp"}
BOHB = {"kind": "bohb", "num_startup_trials": 3, "random_fraction": 0}
NONE = {"kind": "none"}
VALUES = {ALPHA: 5, RATE: 1e-3}


def record(number, losses, status=COMPLETED, values=VALUES, every=10):
    reports = [
        Report(
            every * index,
            {"select_loss": loss, "tokens_trained": every * index * TOKENS_PER_STEP},
            "continue",
            0.0,
        )
        for index, loss in enumerate(losses, start=1)
    ]
    return TrialRecord(
        number, "treatment", "search", values, 0, 0.0, 80, reports=reports, status=status
    )


def proposer_of(searcher, length=80, **search):
    search = {"num_trials": 400} | search
    return build_proposer(sweep_config(searcher=searcher, **search), "treatment", length)


def view_of(searcher, history, length=80, **search):
    """What the model sees before the next proposal."""
    seen = []
    proposer = proposer_of(searcher, length, **search)
    asked = proposer._asked
    proposer._asked = lambda known, seed, preset: seen.append(known) or asked(known, seed, preset)
    proposer.propose(history)
    return seen[0] if seen else None


def told(searcher, history, length=80, **search):
    """The same as (state, value, intermediate values)."""
    trials = view_of(searcher, history, length, **search)
    return trials and [(t.state, t.value, t.intermediate_values) for t in trials]


WHOLE = [3.0, 2.5, 2.0, 2.2]


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


@pytest.mark.parametrize(
    ("searcher", "limits"), [(TPE, TPE_TRIALS), (BOHB, TPE_TRIALS), (GP, GP_TRIALS)]
)
def test_a_model_sees_a_bounded_number_of_trials_the_best_and_the_latest(searcher, limits):
    num_best, num_latest = limits
    draw = random.Random(0)
    losses = [2 + draw.random() for _ in range(400)]
    history = [
        record(n, [loss] * 8, values={ALPHA: 5, RATE: 1e-4 + n * 1e-6})
        for n, loss in enumerate(losses)
    ]
    if searcher is not GP:
        seen = view_of(searcher, history)
    else:
        proposer = proposer_of(GP)
        seen = proposer._model.view(400, proposer._memory.update(history))
    order = [round((t.params[RATE] - 1e-4) / 1e-6) for t in seen]
    best = sorted(range(400), key=lambda n: losses[n])[:num_best]
    others = [n for n in range(400) if n not in best]
    assert order == sorted([*best, *others[-num_latest:]])
    assert [t.number for t in seen] == list(range(1, num_best + num_latest + 1))


def test_pruned_trials_rank_as_optunas_estimator_ranks_them():
    memory = proposer_of(TPE)._memory
    history = [
        record(0, [1.0], STOPPED),
        record(1, [math.nan], DIVERGED),
        record(2, [5.0, 4.0], STOPPED),
        record(3, WHOLE),
        record(4, [5.0, 3.0], STOPPED),
        record(5, [9.0] * 8),
    ]
    ranked = sorted(memory.update(history), key=lambda it: it.rank)
    frozen = [it.frozen(n, it.state, it.value) for n, it in enumerate(ranked)]
    study = optuna.create_study()
    below, _ = optuna.samplers._tpe.sampler._split_trials(study, frozen[::-1], 4)
    assert below == frozen[:4] or {t.number for t in below} == {0, 1, 2, 3}
    assert ranked[-1].status == DIVERGED


def test_the_model_learns_where_losses_are_low():
    def near_the_best(searcher):
        proposer, history = proposer_of(searcher, scheduler=NONE), []
        for number in range(40):
            values = proposer.propose(history)
            loss = 2 + (math.log10(values[RATE]) + 2.5) ** 2 + 0.02 * values[ALPHA]
            history.append(record(number, [loss] * 8, values=values))
        return sum(abs(math.log10(r.values[RATE]) + 2.5) < 0.3 for r in history[20:])

    assert near_the_best({"kind": "random"}) < 9
    for searcher in (TPE, GP, BOHB):
        assert near_the_best(searcher) > 12, searcher


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


def test_a_finished_trial_is_told_once():
    proposer = proposer_of(TPE)
    history = [record(n, WHOLE) for n in range(50)] + [record(50, [3.0], RUNNING)]
    proposer.propose(history)
    told_again = []
    made = proposer._memory._told
    proposer._memory._told = lambda it: told_again.append(it.number) or made(it)
    history[50].reports.append(Report(20, {"select_loss": 2.0}, "continue", 0.0))
    proposer.propose([*history, record(51, [], RUNNING)])
    assert told_again == [50, 51]


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
