"""The points of every searcher in every arm: of the space, by its conditions, none twice."""

import random

import pytest

from neft_ray.config.arm_space import ArmSpace
from neft_ray.journal import COMPLETED
from tests.contract.searches import (
    ALPHA,
    LISTED,
    RATE,
    SCHEDULE,
    SEARCHERS,
    SYMMETRIC,
    both_arms,
    ended,
    played,
    proposer_of,
    sweep,
)

CONSTRAINT = f"{RATE} * max({ALPHA}, 1) < 0.008 and {ALPHA} != 15"
pytestmark = pytest.mark.parametrize("searcher", SEARCHERS)


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
