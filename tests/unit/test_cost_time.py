"""The time left of a sweep on several slots."""

import pytest

from neft_ray.cost.here import slots_here
from neft_ray.cost.schedule import makespan, seconds_left, slots_of
from neft_ray.journal import PAUSED
from neft_ray.sweep.cluster import Machine
from tests.unit.cost_runs import SPEED, at, planned, record


@pytest.mark.parametrize(
    ("gpus", "num", "fit"),
    [(1, 3, 3), (2, 3, 1), (0.5, 2, 4), (0.2, 1, 5), (0.1, 1, 10), (0.3, 3, 9), (1 / 3, 1, 3)],
)
def test_as_many_trials_run_as_have_a_gpu_or_their_part_of_one(monkeypatch, gpus, num, fit):
    monkeypatch.setattr("neft_ray.cost.here.num_cores", lambda: 100)
    monkeypatch.setattr("torch.cuda.device_count", lambda: num)
    config, _ = planned(f"workers={{num: 1, cpus: 1, gpus: {gpus}}}")
    assert slots_here(config) == fit
    assert Machine(cpus=100.0, gpus=float(num)).holds(config.workers) == fit


def test_trials_are_dealt_out_to_slots():
    assert makespan([], 4) == 0
    assert makespan([3, 3, 3], 1) == 9
    assert makespan([3, 3, 3], 2) == 6
    assert makespan([1, 1, 1, 9], 3) == 10, "in the order in which they start"


def test_the_journal_says_how_many_slots_have_workers():
    events = [{"event": "hold", "slots": 8}, {"event": "hold", "slots": 2}, {"event": "report"}]
    assert slots_of(events) == 2
    assert slots_of([*events, {"event": "hold", "slots": 0}]) == 2, "soon again"
    assert slots_of([]) == 1


def test_a_whole_sweep_is_its_search_and_then_its_finalists():
    _, plan = planned()
    search = 4 * (100 * 2 + 10) + 4 * (100 * 1 + 10)
    finalists = 3 * (100 * 2 + 10) + 3 * (100 * 1 + 10)
    assert seconds_left(plan, [], 1, SPEED) == search + finalists
    # arms by turns: treatment ends at 210, 210, 320, 420, control at 110, 110, 220, 320
    assert seconds_left(plan, [], 4, SPEED) == 420 + 320


def test_what_has_run_is_left_out_and_what_ended_corrects_the_rest():
    _, plan = planned()
    ended = [record(n, at((20, 1.0)), status="stopped") for n in range(3)]
    control = [record(4 + n, at((100, 1.0)), "control", status="completed") for n in range(4)]
    left = seconds_left(plan, ended + control, 1, SPEED)
    finalists = 3 * (210 + 110)
    assert left == 20 * 2 + 10 + finalists, "the fourth is expected to be cut as the others were"
    running = record(3, at((60, 1.0)))
    left = seconds_left(plan, [*ended, *control, running], 1, SPEED)
    assert left == 40 * 2 + finalists, "it is past that: to its end"
    finals = [
        record(8 + n, at((50, 1.0)), arm, "finalist") for n, arm in enumerate(plan_arms(plan))
    ]
    done = [*ended, *control, record(3, at((100, 1.0)), status="completed"), *finals]
    assert seconds_left(plan, done, 2, SPEED) == 420
    assert seconds_left(plan, done, 1, SPEED) == 50 * 2 + 50 + 2 * (210 + 110)


def plan_arms(plan):
    return [arm.name for arm in plan.arms]


def test_a_trial_past_the_usual_length_is_expected_to_reach_the_next_rung():
    _, plan = planned("sweep.scheduler={kind: asha, grace_steps: 10, eta: 2}")
    assert list(plan.rungs) == [10, 20, 40, 80]
    ended = [record(n, at((10, 1.0)), status="stopped") for n in range(3)]
    control = [record(4 + n, at((100, 1.0)), "control", status="completed") for n in range(4)]
    left = seconds_left(plan, [*ended, *control, record(3, at((20, 1.0)))], 1, SPEED)
    assert left == 20 * 2 + 3 * (210 + 110)


def test_trials_that_wait_at_a_rung_count_as_what_the_plan_holds_for_them():
    _, plan = planned("sweep.scheduler={kind: halving, grace_steps: 50, eta: 2}")
    (treatment, _) = plan.arms
    waiting = [record(n, at((50, 1.0)), status=PAUSED) for n in range(4)]
    control = [record(4 + n, at((100, 1.0)), "control", status="completed") for n in range(4)]
    left = seconds_left(plan, waiting + control, 1, SPEED)
    assert left == (treatment.steps - 4 * 50) * 2 + 3 * (210 + 110)
