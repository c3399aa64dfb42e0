"""Populations: the worst go on from the best with other values."""

import json
import math

import pytest

from tests.unit.sweep_runs import (
    ALPHA,
    NUM_STEPS,
    RATE,
    Simulation,
    reached,
    search_of,
    sweep_config,
)


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_the_worst_go_on_from_the_best_with_other_values(kind, tmp_path):
    scheduler = {"kind": kind, "interval_steps": 20}
    config = sweep_config(scheduler=scheduler, num_trials=8, control=None)
    conductor = Simulation(config, tmp_path, num_slots=3).run()
    branches = [r for r in search_of(conductor) if r.parent is not None]
    assert len(branches) == 2 * 3, "a quarter of 8, at steps 20, 40 and 60"
    for branch in branches:
        donor = conductor.records[branch.parent]
        losses = reached(conductor.records.values(), branch.parent_step)
        assert sorted(losses.values()).index(losses[donor.number]) < 2
        assert branch.reports[0].step == branch.parent_step + 10
        *before, change = branch.values["changes"]
        assert change["after_step"] == branch.parent_step
        assert list(before) == list(donor.values.get("changes", []))
        was, now = (conductor.trial_config(r).at(NUM_STEPS) for r in (donor, branch))
        assert was != now
        assert 1e-4 <= now[1].learning_rate <= 1e-2 and now[0].alpha in (5, 10, 15)
    replaced = [r for r in search_of(conductor) if "goes on in its place" in r.reason]
    assert len(replaced) == len(branches) and {r.status for r in replaced} == {"stopped"}


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_the_control_arm_of_a_population_never_gets_noise(kind, tmp_path):
    config = sweep_config(scheduler={"kind": kind, "interval_steps": 20}, num_trials=4)
    conductor = Simulation(config, tmp_path).run()
    controls = search_of(conductor, "control")
    assert any(r.parent is not None for r in controls)
    for record in controls:
        assert all(conductor.trial_config(record).at(s)[0].alpha == 0 for s in (1, 30, 80))


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_what_a_population_changes_keeps_the_constraints(kind, tmp_path):
    rule = f"{RATE} * ({ALPHA} + 1) < 0.02"
    scheduler = {"kind": kind, "interval_steps": 20}
    free = sweep_config(scheduler=scheduler, num_trials=8)
    bound = sweep_config(scheduler=scheduler, num_trials=8, constraints=[rule])

    def kept(config, folder):
        conductor = Simulation(config, tmp_path / folder, num_slots=3).run()
        trained = [conductor.trial_config(r).at(NUM_STEPS) for r in search_of(conductor)]
        assert any(r.parent is not None for r in search_of(conductor))
        return [now[1].learning_rate * (now[0].alpha + 1) < 0.02 for now in trained]

    assert all(kept(bound, "bound")) and not all(kept(free, "free"))


def test_finalists_of_a_population_repeat_its_changes_from_the_start(tmp_path):
    config = sweep_config(scheduler={"kind": "pbt", "interval_steps": 20}, num_trials=8)
    conductor = Simulation(config, tmp_path, num_slots=2).run()
    finalists = [r for r in conductor.records.values() if r.phase == "finalist"]
    assert any("changes" in r.values for r in finalists)
    assert all(r.parent is None and r.reports[0].step == 10 for r in finalists)


def test_pb2_finds_better_values_than_chance(tmp_path):
    """The loss falls only while the rate is near 1e-3: a model of what helped finds that."""

    def loss(config, step):
        gains = [
            math.exp(-(((math.log10(config.at(s)[1].learning_rate) + 3) / 0.2) ** 2))
            for s in range(10, step + 1, 10)
        ]
        return 10 - sum(gains)

    space = {RATE: {"loguniform": [1e-5, 1e-1]}}
    found = {}
    for kind in ("pb2", "none"):
        scheduler = {"kind": kind, **({"interval_steps": 10} if kind == "pb2" else {})}
        best = []
        for seed in range(5):
            searcher = {"kind": "random", "seed": seed}
            config = sweep_config(
                scheduler=scheduler, searcher=searcher, space=space, num_trials=4, control=None
            )
            conductor = Simulation(config, tmp_path / f"{kind}{seed}", loss=loss).run()
            best.append(min(r.objective("best") for r in search_of(conductor)))
        found[kind] = sum(best) / len(best)
    assert found["pb2"] < found["none"] - 0.5


def test_changed_values_are_part_of_what_a_trial_is(tmp_path):
    config = sweep_config()
    change = {"after_step": 10, "alpha": 7.5}
    changed = config.trial.with_values({"changes": [change]})
    assert changed.config_hash != config.trial.config_hash
    assert json.loads(changed.canonical_json)["changes"][0]["after_step"] == 10
    assert [changed.at(step)[0].alpha for step in (10, 11)] == [config.noise.alpha, 7.5]
    assert changed.at(11)[1] == config.optimizer
