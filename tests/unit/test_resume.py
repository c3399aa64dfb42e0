"""What may change when a run goes on, and what is refused before anything is decided anew."""

import pytest

from neft_ray.config.load import dump_sweep
from neft_ray.errors import UserError
from neft_ray.pipeline.resume import check_resume
from neft_ray.run_directory import RunDirectory
from tests.unit.sweep_runs import ALPHA, RATE, Killed, Simulation, open_conductor, sweep_config

LISTED = {ALPHA: {"choice": [5, 10, 15]}, RATE: {"choice": [1e-4, 1e-3]}}
RANGE = {ALPHA: {"choice": [5, 10, 15]}, RATE: {"loguniform": [1e-4, 1e-2]}}
HALVING = {"kind": "halving", "grace_steps": 10, "eta": 2}
ASHA = {"kind": "asha", "grace_steps": 10, "eta": 2}


@pytest.fixture
def begun(tmp_path):
    """A sweep that was killed on its way."""

    def begin(**search):
        config = sweep_config(**search)
        with pytest.raises(Killed):
            Simulation(config, tmp_path).run(max_events=30)
        run = RunDirectory(tmp_path)
        run.write_manifest({"kind": "sweep"})
        run.config_file.write_text(dump_sweep(config))
        return run

    return begin


def test_the_same_again_extends_nothing(begun):
    assert check_resume(begun(), "sweep", sweep_config()) == {}


def test_what_changes_no_result_may_change_and_what_comes_next_is_told(begun):
    now = sweep_config(slots=2, keep_checkpoints=1, num_trials=9, budget={"hours": 2})
    extended = {"sweep.num_trials": 9, "sweep.budget.hours": 2.0}
    assert check_resume(begun(), "sweep", now) == extended


def test_every_other_change_is_refused_and_all_are_named(begun):
    now = sweep_config(searcher={"kind": "random", "seed": 7}, health={"spike_nats": 9})
    with pytest.raises(UserError, match=r"health\.spike_nats: was 2\.0 .*\n.*searcher\.seed") as it:
        check_resume(begun(), "sweep", now)
    assert "start a new run for another configuration" in str(it.value)


def test_a_run_goes_on_with_the_command_that_began_it(begun):
    with pytest.raises(UserError, match="was started by `neft-ray sweep`; go on with that"):
        check_resume(begun(), "train", sweep_config())


@pytest.mark.parametrize("changed", [{"num_trials": 8}, {"space": RANGE}, {"constraints": []}])
def test_what_is_compared_in_step_keeps_its_trials(begun, changed):
    search = {"scheduler": HALVING, "space": LISTED, "constraints": [f"{ALPHA} < 12"]}
    run = begun(**search)
    with pytest.raises(UserError, match=r"halving compares all trials in step; .*warm_start: \["):
        check_resume(run, "sweep", sweep_config(**search | changed))


@pytest.mark.parametrize(("scheduler", "space"), [(HALVING, RANGE), (ASHA, RANGE), (ASHA, LISTED)])
def test_constraints_that_change_no_number_of_trials_take_a_sweep_on(begun, scheduler, space):
    search = {"scheduler": scheduler, "space": space}
    run, now = begun(**search), sweep_config(**search, constraints=[f"{ALPHA} < 12"])
    assert check_resume(run, "sweep", now) == {"sweep.constraints": [f"{ALPHA} < 12"]}
    open_conductor(now, run.root).close()
    assert Simulation(now, run.root).run().is_finished
