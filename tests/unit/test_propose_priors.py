"""Warm start: which trials of earlier runs a searcher is told of."""

import json

import pytest

from neft_ray.config.load import dump_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import UserError
from neft_ray.sweep.propose import build_proposer
from neft_ray.sweep.search.priors import read_priors
from tests.unit.sweep_runs import ALPHA, RATE, Simulation, sweep_config

SPACE = {ALPHA: {"choice": [5, 10, 15]}, RATE: {"loguniform": [1e-4, 1e-2]}}


@pytest.fixture
def earlier(tmp_path):
    """A run with both arms: its folder and its conductor."""
    config = sweep_config()
    conductor = Simulation(config, tmp_path / "earlier").run()
    (tmp_path / "earlier" / "sweep.yaml").write_text(dump_sweep(config))
    return tmp_path / "earlier", conductor


def started_from(folder, **search):
    return sweep_config(warm_start=[str(folder)], **search)


def of_search(conductor, arm):
    return [r for r in conductor.records.values() if (r.arm, r.phase) == (arm, "search")]


@pytest.mark.parametrize("arm", ["treatment", "control"])
def test_an_arm_learns_from_trials_with_its_own_keys(earlier, arm):
    folder, conductor = earlier
    priors = read_priors(started_from(folder), arm)
    own = of_search(conductor, arm)
    assert [dict(r.values) for r in priors.records] == [dict(r.values) for r in own]
    assert [r.reports for r in priors.records] == [r.reports for r in own]
    assert [r.status for r in priors.records] == [r.status for r in own]
    assert [r.number for r in priors.records] == [-1 - n for n in range(len(own))]
    assert {r.arm for r in priors.records} == {arm}
    others = len(of_search(conductor, "control" if arm == "treatment" else "treatment"))
    assert priors.left_out == {"other keys, or values outside the space": others}


def test_a_space_that_holds_the_control_learns_from_both_arms(earlier):
    folder, conductor = earlier
    space = SPACE | {ALPHA: {"choice": [0.0, 5.0, 10.0, 15.0]}}
    priors = read_priors(started_from(folder, space=space, control=None), "treatment")
    assert not priors.left_out
    control = of_search(conductor, "control")
    assert sum(r.values[ALPHA] == 0 for r in priors.records) == len(control)
    assert all(type(r.values[ALPHA]) is float for r in priors.records)


@pytest.mark.parametrize(
    ("search", "kept"),
    [
        ({"space": SPACE | {RATE: {"loguniform": [1e-4, 5e-4]}}}, "some"),
        ({"space": SPACE | {"optimizer.beta1": {"choice": [0.8, 0.9]}}}, "none"),
        ({"space": {RATE: SPACE[RATE]}, "control": None}, "none"),
        ({"constraints": [f"{RATE} * {ALPHA} < 0.01"]}, "some"),
        ({"objective": {"at": "end"}}, "none"),
    ],
)
def test_what_the_space_does_not_hold_is_left_out_and_counted(earlier, search, kept):
    folder, conductor = earlier
    priors = read_priors(started_from(folder, **search), "treatment")
    own, all_there = (
        of_search(conductor, "treatment"),
        [r for r in conductor.records.values() if r.phase == "search"],
    )
    assert len(priors.records) + sum(priors.left_out.values()) == len(all_there)
    if kept == "some":
        assert 0 < len(priors.records) < len(own)
    else:
        assert not priors.records
    assert ("another objective" in priors.left_out) == ("objective" in search)


def test_trials_of_another_model_are_left_out(earlier):
    folder, _ = earlier
    raw = json.loads(started_from(folder).model_dump_json())
    raw["model"]["path"] = "elsewhere"
    priors = read_priors(SweepConfig.model_validate_json(json.dumps(raw)), "treatment")
    assert not priors.records and set(priors.left_out) == {"another model or data"}


def test_trials_that_have_not_ended_are_left_out(earlier):
    folder, conductor = earlier
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0])
    priors = read_priors(started_from(folder), conductor.records[0].arm)
    assert not priors.records and priors.left_out == {"without a result": 1}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"sweep.warm_start: .*nowhere: is no run; name the folder"):
        read_priors(started_from(tmp_path / "nowhere"), "treatment")


def test_a_model_begins_at_once_after_a_warm_start(earlier):
    folder, _ = earlier
    searcher = {"kind": "optuna", "num_startup_trials": 4}
    config = started_from(folder, searcher=searcher)
    priors = read_priors(config, "treatment").records
    proposer = build_proposer(config, "treatment", 80)
    assert proposer.propose([], priors) != proposer.propose([])
    assert proposer.propose([], priors) == build_proposer(config, "treatment", 80).propose(
        [], priors
    )
