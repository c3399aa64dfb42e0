"""Every searcher in every arm is a function of the seed and the history, whatever happened."""

import json
import random

import pytest

from neft_ray.journal import COMPLETED, DIVERGED, FAILED, PAUSED, RUNNING, STOPPED
from tests.contract.searches import (
    NUM_TRIALS,
    SEARCHERS,
    both_arms,
    ended,
    played,
    proposer_of,
    sweep,
)

pytestmark = pytest.mark.parametrize("searcher", SEARCHERS)


@both_arms
def test_arms_and_seeds_draw_differently(searcher, arm):
    config = sweep(searcher)
    again = [record.values for record in played(proposer_of(config, arm))]
    assert [record.values for record in played(proposer_of(config, arm))] == again
    if searcher == "grid":
        return
    other = sweep(searcher, seed=4)
    assert [record.values for record in played(proposer_of(other, arm))] != again
    twin = sweep(searcher, control=None, controls={"twin": {"optimizer.beta1": 0.8}})
    arms = [played(proposer_of(twin, name)) for name in ("treatment", "twin")]
    assert [record.values for record in arms[0]] != [record.values for record in arms[1]]


@both_arms
def test_a_proposal_is_a_function_of_the_history_alone(searcher, arm):
    config = sweep(searcher)
    kept = proposer_of(config, arm)
    history = played(kept)
    for number in range(len(history)):
        expected = history[number].values
        assert proposer_of(config, arm).propose(history[:number]) == expected
        assert kept.propose(history[:number]) == expected
    if searcher != "grid":
        others = [ended(r.number, r.values, r.status, random.Random(9)) for r in history]
        assert kept.propose(others) == proposer_of(config, arm).propose(others)


def test_what_is_still_running_is_told_anew_when_it_goes_on(searcher):
    config = sweep(searcher)
    kept = proposer_of(config)
    draw, history = random.Random(0), []
    for number in range(min(NUM_TRIALS, kept.num_trials)):
        values = kept.propose(history)
        assert values == proposer_of(config).propose(history)
        record = ended(number, values, COMPLETED, draw)
        later = record.reports[3:]
        del record.reports[3:]
        record.status = draw.choice([RUNNING, PAUSED])
        history.append(record)
        if number > 2:
            other = history[number - 3]
            other.status = draw.choice([COMPLETED, STOPPED])
            other.reports += later


@pytest.mark.parametrize("status", [DIVERGED, FAILED, RUNNING, PAUSED])
def test_a_history_without_a_single_good_trial_stops_no_search(searcher, status):
    history = played(proposer_of(sweep(searcher)), statuses=[status])
    assert len({json.dumps(record.values) for record in history}) == len(history)


def test_earlier_runs_count_for_no_trial(searcher):
    config = sweep(searcher)
    draw = random.Random(1)
    priors = [
        ended(-1 - n, record.values, COMPLETED, draw)
        for n, record in enumerate(played(proposer_of(config)))
    ]
    with_priors, without = (
        [r.values for r in played(proposer_of(config), priors=known)] for known in (priors, ())
    )
    assert len(with_priors) == len(without)
    assert (with_priors != without) == (searcher in ("tpe", "gp", "bohb"))
