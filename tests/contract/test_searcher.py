"""Every searcher in every arm: inside the space, deterministic, whatever happened before."""

import json
import math
import random

import pytest

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.checks import cross_check
from neft_ray.config.sweep import SweepConfig
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

ALPHA, RATE, DECAY = "noise.alpha", "optimizer.learning_rate", "optimizer.weight_decay"
SYMMETRIC, EPOCHS, SCHEDULE = "noise.symmetric", "training.epochs", "noise.schedule"
NUM_STEPS, NUM_TRIALS = 80, 24
SEARCHERS = {
    "grid": {"kind": "grid"},
    "random": {"kind": "random"},
    "quasi_random": {"kind": "quasi_random"},
    "tpe": {"kind": "optuna", "num_startup_trials": 8},
    "gp": {"kind": "optuna", "sampler": "gp", "num_startup_trials": 8},
    "bohb": {"kind": "bohb", "num_startup_trials": 8},
}
LISTED = {
    ALPHA: {"choice": [15, 5, 10.0]},
    SYMMETRIC: {"choice": [True, False]},
    RATE: {"choice": [1e-3, 1e-4, 3e-4]},
    SCHEDULE: {"choice": ["linear", "cosine"], "when": {ALPHA: [5, 10], SYMMETRIC: True}},
}
RANGES = LISTED | {
    RATE: {"loguniform": [1e-4, 1e-2]},
    DECAY: {"uniform": [0, 0.5], "when": {SYMMETRIC: False}},
    EPOCHS: {"int_range": [1, 4]},
}
CONSTRAINT = f"{RATE} * max({ALPHA}, 1) < 0.008 and {ALPHA} != 15"
pytestmark = pytest.mark.parametrize("searcher", SEARCHERS)
both_arms = pytest.mark.parametrize("arm", ["treatment", "control"])


def sweep(searcher, seed=3, **search) -> SweepConfig:
    on_grid = searcher == "grid"
    sections = {
        "name": "x",
        "model": {"path": "builtin:base"},
        "data": {"train": "builtin:tales"},
        "noise": {"alpha": 5},
        "training": {"eval_every_steps": 10},
        "sweep": {
            "space": LISTED if on_grid else RANGES,
            "control": {ALPHA: 0},
            "searcher": SEARCHERS[searcher] | ({} if on_grid else {"seed": seed}),
            "scheduler": {"kind": "asha", "grace_steps": 10, "eta": 2},
            "num_trials": None if on_grid else NUM_TRIALS,
        }
        | search,
    }
    config = SweepConfig.model_validate_json(json.dumps(sections))
    assert not list(cross_check(config, lambda path: False))
    return config


def proposer_of(config, arm="treatment"):
    return build_proposer(config, arm, NUM_STEPS)


def ended(number, values, status, draw) -> TrialRecord:
    """A trial with a curve that its values and a random number shape."""
    record = TrialRecord(number, "treatment", "search", values, 0, 0.0, NUM_STEPS)
    num = {COMPLETED: 8, FAILED: 0}.get(status, draw.choice([1, 2, 4]))
    bowl = (math.log10(values.get(RATE, 1e-3)) + 3) ** 2 + draw.random() / 10
    losses = [2 + bowl + 1 / step for step in range(1, num + 1)]
    if status == DIVERGED:
        losses[-1] = math.nan
    record.reports += [
        Report(10 * index, {"select_loss": loss}, "continue", 0.0)
        for index, loss in enumerate(losses, start=1)
    ]
    record.status = status
    return record


STATUSES = (COMPLETED, STOPPED, STOPPED, STOPPED, DIVERGED, FAILED, CANCELLED, PAUSED, RUNNING)


def played(proposer, statuses=STATUSES, num=NUM_TRIALS, priors=()) -> list[TrialRecord]:
    """The trials of an arm, one after another, each with a random fate."""
    draw, history = random.Random(0), []
    for number in range(min(num, proposer.num_trials)):
        values = proposer.propose(history, priors)
        history.append(ended(number, values, draw.choice(statuses), draw))
    return history


@both_arms
def test_values_are_of_the_space_with_their_types(searcher, arm):
    config = sweep(searcher)
    space = ArmSpace.of(config, arm)
    assert (ALPHA in space.domains) == (arm == "treatment")
    seen = {key: set() for key in space.domains}
    for record in played(proposer_of(config, arm)):
        assert space.holds(record.values), record.values
        for key, value in record.values.items():
            domain = space.domains[key]
            listed = getattr(domain, "choice", None)
            if listed is not None:
                assert any(value is item for item in listed)
                seen[key].add(value)
            else:
                assert type(value) is type(domain.corners[0])
    assert all(len(values) > 1 for key, values in seen.items() if key == SYMMETRIC)


@both_arms
def test_a_key_is_drawn_exactly_where_its_condition_holds(searcher, arm):
    history = played(proposer_of(sweep(searcher), arm))
    for record in history:
        alpha = record.values.get(ALPHA, 0)
        wanted = alpha in (5, 10) and record.values[SYMMETRIC]
        assert (SCHEDULE in record.values) == wanted
    assert any(SCHEDULE in record.values for record in history) == (arm == "treatment")


@both_arms
def test_no_point_of_a_listed_space_comes_twice(searcher, arm):
    num = None if searcher == "grid" else 100
    proposer = proposer_of(sweep(searcher, space=LISTED, num_trials=num), arm)
    history = played(proposer, num=100)
    points = [tuple(record.values.items()) for record in history]
    num_points = {"treatment": 3 * (1 + 2 + 1 + 2 + 1 + 1), "control": 6}[arm]
    assert proposer.num_trials == len(points) == len(set(points)) == num_points
    assert proposer.num_left(history) == 0 and not proposer.can_go_on(history)


@both_arms
def test_in_another_space_every_point_that_was_not_run_comes_once(searcher, arm):
    """As when a finished sweep goes on: earlier trials count, wherever they came from."""
    num = None if searcher == "grid" else 100
    wide = sweep(searcher, space=LISTED, num_trials=num)
    history = played(proposer_of(wide, arm), num=100)
    narrow = LISTED | {RATE: {"choice": [3e-4, 2e-4]}, SYMMETRIC: {"choice": [True]}}
    config = sweep(searcher, space=narrow, num_trials=num)
    space = ArmSpace.of(config, arm)
    known = [record.values for record in history if space.holds(record.values)]
    unused = [point for point in space.allowed_points if point not in known]
    proposer = proposer_of(config, arm)
    assert proposer.num_left(history) == len(unused) < len(space.allowed_points)
    for left in range(len(unused), 0, -1):
        assert proposer.num_left(history) == left and proposer.can_go_on(history)
        found = proposer.propose(history)
        unused.remove(found)
        history = [*history, ended(len(history), found, COMPLETED, random.Random(0))]
    assert not unused and proposer.num_left(history) == 0


@both_arms
def test_constraints_are_kept_with_the_values_of_the_arm(searcher, arm):
    config = sweep(searcher, constraints=[CONSTRAINT])
    proposer = proposer_of(config, arm)
    history = played(proposer)
    assert history
    for record in history:
        alpha = record.values.get(ALPHA, 0)
        assert record.values[RATE] * max(alpha, 1) < 0.008
        assert alpha != 15


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


def test_first_values_come_first_and_the_rest_is_drawn(searcher):
    if searcher == "grid":
        return
    first = [{ALPHA: 10, RATE: 5e-4}, {ALPHA: 15}, {RATE: 5e-4}]
    config = sweep(searcher, first=first)
    values = [record.values for record in played(proposer_of(config))]
    for expected, got in zip(first, values, strict=False):
        assert expected.items() <= got.items()
        assert ArmSpace.of(config, "treatment").holds(got)
    control = [record.values for record in played(proposer_of(config, "control"))]
    assert control[0][RATE] == 5e-4
    assert control[1][RATE] != 5e-4
