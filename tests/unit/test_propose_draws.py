"""Draws without a model, and what is tried first."""

import json
import math

import pytest

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.space import Choice
from neft_ray.journal import COMPLETED, TrialRecord
from neft_ray.sweep.propose import build_proposer
from neft_ray.sweep.search.draws import Random, Scrambled
from neft_ray.sweep.search.plain import Drawn, Grid
from tests.unit.sweep_runs import ALPHA, RATE, sweep_config

TPE = {"kind": "optuna", "num_startup_trials": 3}
BOHB = {"kind": "bohb", "num_startup_trials": 3, "random_fraction": 0}
VALUES = {ALPHA: 5, RATE: 1e-3}


def record(number, values=VALUES):
    return TrialRecord(number, "treatment", "search", values, 0, 0.0, 80, status=COMPLETED)


def proposer_of(searcher, **search):
    config = sweep_config(searcher=searcher, **{"num_trials": 400} | search)
    return build_proposer(config, "treatment", 80)


def test_quasi_random_draws_fill_the_space_more_evenly():
    def widest_gap(kind):
        proposer = proposer_of({"kind": kind})
        history = []
        for number in range(32):
            history.append(record(number, proposer.propose(history)))
        places = sorted((math.log10(r.values[RATE]) + 4) / 2 for r in history)
        ends = zip([0, *places], [*places, 1], strict=True)
        return max(high - low for low, high in ends)

    assert widest_gap("quasi_random") < 2 / 32 < widest_gap("random")


@pytest.mark.parametrize("stream", [Random, Scrambled])
def test_a_point_of_a_stream_depends_on_its_number_alone(stream):
    forwards = [list(stream(3, 1, 0)(n)) for n in (0, 70, 130)]
    again = stream(3, 1, 0)
    assert [list(again(n)) for n in (130, 70, 0)] == forwards[::-1]
    assert list(stream(3, 2, 0)(70)) != forwards[1] != list(stream(3, 1, 1)(70))
    assert all(0 <= place < 1 for point in forwards for place in point)


@pytest.mark.parametrize("kind", ["random", "quasi_random"])
def test_random_draws_take_no_longer_late_than_early(kind):
    proposer = proposer_of({"kind": kind}, num_trials=10_000)
    drawn = []
    draw = proposer._drawing.draw
    proposer._drawing.draw = lambda *given: drawn.append(given) or draw(*given)
    history = [record(n) for n in range(1000)]
    proposer.propose(history)
    assert len(drawn) == 1001
    proposer.propose([*history, record(1000)])
    assert len(drawn) == 1002


def test_the_papers_values_come_first_as_far_as_the_space_holds_them():
    wide = {ALPHA: {"choice": [5, 15, 20]}, RATE: {"loguniform": [1e-5, 1e-3]}}
    config = sweep_config(space=wide, first="paper", searcher={"kind": "random"})
    both = [
        [proposer.propose([None] * n) for n in range(3)]
        for proposer in (build_proposer(config, arm, 80) for arm in ("treatment", "control"))
    ]
    assert both[0][:2] == [{ALPHA: 5, RATE: 5e-5}, {ALPHA: 15, RATE: 5e-5}]
    assert both[0][2][RATE] == 5e-5 and both[0][2][ALPHA] in (5, 15, 20)
    assert both[1][0] == {RATE: 5e-5} and both[1][1][RATE] != 5e-5
    narrow = sweep_config(first="paper", searcher={"kind": "quasi_random"})
    proposer = build_proposer(narrow, "treatment", 80)
    drawn = [proposer.propose([None] * n) for n in range(3)]
    assert [values[ALPHA] for values in drawn] == [5, 10, 15]
    assert len({values[RATE] for values in drawn}) == 3


def test_a_first_value_that_no_draw_can_complete_is_left_out_for_an_arm():
    rules = [f"{ALPHA} * {RATE} < 0.01", f"{ALPHA} < 12"]
    config = sweep_config(first="paper", constraints=rules, searcher={"kind": "random"})
    proposer = build_proposer(config, "treatment", 80)
    drawn = [proposer.propose([None] * n) for n in range(12)]
    assert [values[ALPHA] for values in drawn[:2]] == [5, 10]
    assert all(v[ALPHA] < 12 and v[ALPHA] * v[RATE] < 0.01 for v in drawn)


def test_proposals_cross_the_journal_unchanged():
    for searcher in (TPE, BOHB, {"kind": "random"}, {"kind": "quasi_random"}):
        values = proposer_of(searcher).propose([])
        assert json.loads(json.dumps(values)) == values
        assert [type(v) for v in json.loads(json.dumps(values)).values()] == [
            type(v) for v in values.values()
        ]


def test_a_grid_that_has_grown_runs_what_is_new():
    choices = {"optimizer.weight_decay": {"choice": [0, 0.1]}}
    grid = {"searcher": {"kind": "grid"}, "num_trials": None}
    small = sweep_config(space={ALPHA: {"choice": [5, 15]}} | choices, **grid)
    large = sweep_config(space={ALPHA: {"choice": [5, 10, 15]}} | choices, **grid)
    history = []
    for config in (small, large):
        proposer = build_proposer(config, "treatment", 80)
        while len(history) < proposer.num_trials:
            history.append(record(len(history), proposer.propose(history)))
    points = [tuple(r.values.values()) for r in history]
    assert points == [(5, 0), (5, 0.1), (15, 0), (15, 0.1), (10, 0), (10, 0.1)]


def test_true_and_one_are_two_points():
    space = ArmSpace({"a": Choice(choice=(True, 1, 2))}, {}, {})
    for proposer in (Grid(space), Drawn(space, Random(1, 0, 0), 3, [])):
        history = []
        for number in range(3):
            history.append(record(number, proposer.propose(history)))
        kinds = [(type(r.values["a"]), r.values["a"]) for r in history]
        assert sorted(kinds, key=repr) == [(bool, True), (int, 1), (int, 2)]
