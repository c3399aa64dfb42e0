"""What the models keep of a long history, in which order, and what they learn from it."""

import math
import random

import optuna
import pytest

from neft_ray.journal import DIVERGED, RUNNING, STOPPED, Report
from neft_ray.sweep.search.models import GP_TRIALS, TPE_TRIALS
from tests.unit.proposals import BOHB, GP, NONE, TPE, WHOLE, proposer_of, record, view_of
from tests.unit.sweep_runs import ALPHA, RATE


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
