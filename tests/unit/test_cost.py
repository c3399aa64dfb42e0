"""Speed as measured, time left on several slots, money, disk, and what is refused."""

import re
from dataclasses import asdict

import numpy as np
import pytest

from neft_ray.cli.planning import Asked
from neft_ray.cli.planning import plan as plan_command
from neft_ray.config.load import dump_sweep, parse_sweep
from neft_ray.cost.disk import checkpoint_bytes, disk_need, disk_problem
from neft_ray.cost.earlier import earlier_speed
from neft_ray.cost.estimate import budget_problems, estimate
from neft_ray.cost.evaluation import evaluation_share
from neft_ray.cost.here import slots_here
from neft_ray.cost.pace import Pace, Speed
from neft_ray.cost.schedule import makespan, seconds_left, slots_of
from neft_ray.data.split import Split
from neft_ray.errors import UserError
from neft_ray.journal import PAUSED, Report, TrialRecord
from neft_ray.memory.predict import Predictor
from neft_ray.plan import make_plan
from neft_ray.run_directory import create_run
from neft_ray.sweep.cluster import Machine
from neft_ray.sweep.driver import DataCache
from tests.unit.config_files import EXAMPLE
from tests.unit.sweep_runs import sweep_config

SPEED = Speed({"treatment": 2.0, "control": 1.0}, 10.0, 30.0, "")
GRID = {"searcher": {"kind": "random"}, "num_trials": 4, "scheduler": {"kind": "none"}}


def record(number, reports=(), arm="treatment", phase="search", status="running", started=0.0):
    found = [Report(step, {"select_loss": 1.0}, decision, time) for step, time, decision in reports]
    return TrialRecord(
        number, arm, phase, {}, 0, started, num_steps=100, reports=found, status=status
    )


def at(*pairs):
    return [(step, time, "continue") for step, time in pairs]


def planned(*overrides):
    config = parse_sweep(
        EXAMPLE,
        "x.yaml",
        [
            "sweep.searcher={kind: random}",
            "sweep.num_trials=4",
            "training.eval_every_steps=10",
            "sweep.scheduler={kind: none}",
            "sweep.finalists={num: 1, seeds: [1, 2, 3]}",
            *overrides,
        ],
    )
    return config, make_plan(config, num_steps=100)


# ---- speed -------------------------------------------------------------------------------------


def test_the_speed_is_that_of_the_reports_and_interruptions_do_not_move_it():
    quick = record(0, at((10, 40.0), (20, 50.0), (30, 60.0), (40, 5000.0), (50, 5010.0)))
    paused = record(
        1, [(10, 10.0, "continue"), (20, 30.0, "pause"), (30, 9000.0, "continue")], arm="control"
    )
    speed = Pace([quick, paused]).speed()
    assert speed.step_seconds == {"treatment": 1.0, "control": 2.0}
    assert (speed.of("control"), speed.of("not yet seen")) == (2.0, 2.0)
    assert speed.first_seconds == 30.0, "40 s until step 10, of which 10 are steps"


def test_a_pace_told_report_by_report_is_the_same_and_stays_small():
    trials = [record(n, at(*((s, n + 3.0 * s) for s in range(1, 60))), started=n) for n in range(9)]
    told = Pace()
    for step in range(59):
        for trial in trials:
            shown = record(trial.number, started=trial.started)
            shown.reports = trial.reports[: step + 1]
            told.reported(shown)
    assert told.speed().step_seconds == Pace(trials).speed().step_seconds == {"treatment": 3.0}
    assert all(len(found) <= 200 for found in told._seconds.values())


def test_without_a_second_report_nothing_is_known():
    assert Pace([record(0, at((10, 1.0)))]).speed() is None


def test_the_speed_of_an_earlier_run_is_used_if_it_did_the_same_work(tmp_path):
    config, _ = planned()
    run = create_run(tmp_path, "before")
    run.config_file.write_text(dump_sweep(config))
    assert earlier_speed(config, tmp_path) is None, "it has no reports"
    run.journal_file.write_text(
        '{"event": "suggest", "trial": 0, "arm": "treatment", "phase": "search", "values": {}, '
        '"seed": 0, "num_steps": 100, "time": 0}\n'
        + "".join(
            f'{{"event": "report", "trial": 0, "step": {s}, "metrics": {{"select_loss": 1}}, '
            f'"decision": "continue", "time": {s * 0.5}}}\n'
            for s in (10, 20)
        )
    )
    found = earlier_speed(config, tmp_path)
    assert found.of("treatment") == 0.5 and run.name in found.source
    other_noise, _ = planned("noise.alpha=15", "optimizer.learning_rate=1e-5")
    assert earlier_speed(other_noise, tmp_path) is not None
    for change in ("batch.size_examples=64", "workers.num=2", "data.max_length_tokens=77"):
        assert earlier_speed(planned(change)[0], tmp_path) is None
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text("{}")
    assert earlier_speed(config, tmp_path) is not None


# ---- time --------------------------------------------------------------------------------------


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


# ---- money -------------------------------------------------------------------------------------


def test_slots_cost_for_as_long_as_they_are_held():
    config, plan = planned(
        "workers={num: 2, gpus: 1, cpus: 4}",
        "sweep.price={dollars_per_gpu_hour: 3, dollars_per_cpu_hour: 0.1}",
    )
    found = estimate(plan, config, 4, SPEED)
    assert found.hours == (420 + 320 + 30) / 3600
    assert found.gpu_hours == found.hours * 4 * 2
    assert found.dollars == pytest.approx(found.hours * 4 * 2 * (3 + 4 * 0.1))
    assert estimate(plan, planned()[0], 4, SPEED).dollars is None, "never an invented price"
    listed, plan = planned("workers={num: 2, gpus: 1}", "sweep.price.instance=p5.48xlarge")
    assert estimate(plan, listed, 4, SPEED).dollars == pytest.approx(found.hours * 4 * 2 * 6.88)


def test_a_budget_below_one_round_and_the_finalists_is_refused():
    asha = "sweep.scheduler={kind: asha, grace_steps: 10, eta: 2}"
    round_hours = (4 * (20 + 10) + 4 * (10 + 10) + 3 * (210 + 110) + 30) / 3600
    for hours, refused in ((round_hours * 1.01, False), (round_hours * 0.99, True)):
        config, plan = planned(asha, f"sweep.budget.hours={hours}")
        problems = list(budget_problems(config, plan, 1, SPEED))
        assert bool(problems) == refused
    assert "sweep.budget.hours" in str(problems[0]) and "raise it" in str(problems[0])


# ---- disk --------------------------------------------------------------------------------------

MEASURED = {  # bytes of a checkpoint and of the model of real runs of the built-in base, 430,752
    "{kind: ddp}": 5_200_862,
    "{kind: fsdp}": 5_430_513,
    "{kind: deepspeed, zero_stage: 1}": 6_918_734,
    "{kind: deepspeed, zero_stage: 2}": 6_918_798,
    "{kind: deepspeed, zero_stage: 3}": 5_199_563,
}
BUILTIN = ("model={path: builtin:base}", "data={train: builtin:tales, template: question}")


@pytest.mark.parametrize(("strategy", "measured"), MEASURED.items())
def test_a_checkpoint_is_as_large_as_predicted_from_the_configuration(strategy, measured):
    config, plan = planned(*BUILTIN, f"strategy={strategy}")
    sizes = Predictor(config.trial).sizes
    assert checkpoint_bytes(config, sizes.trained) == pytest.approx(measured, rel=0.15)
    one = disk_need(config, plan, sizes.trained, sizes.all, slots=1)
    assert one.models == pytest.approx(3 * 1_787_423, rel=0.15)


def test_the_best_and_the_live_checkpoints_count(tmp_path):
    config, plan = planned(f"storage={tmp_path}", "sweep.keep_checkpoints=3")
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8
    config, plan = planned(f"storage={tmp_path}", "sweep.objective.weights={answer_repetition: 1}")
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8 + 5
    halving = "sweep.scheduler={kind: halving, grace_steps: 10}"
    config, plan = planned(f"storage={tmp_path}", halving)
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8 + 8
    remote, plan = planned("mlflow.uri=http://host", "model.dtype=bfloat16")
    assert disk_need(remote, plan, 100, 1000, slots=1).models == 2 * 2 * 1000


def test_a_storage_without_room_is_refused_with_a_remedy(tmp_path):
    config, plan = planned()
    need = disk_need(config, plan, 10**9, 10**9, slots=1)
    assert disk_problem(tmp_path, need, free=1e12) is None
    problem = disk_problem(tmp_path / "new", need, free=5e9)
    assert "needs about 78.0 GB, and 5.0 GB are free" in str(problem)
    assert "neft-ray gc" in str(problem)


# ---- the command -------------------------------------------------------------------------------


def run_plan(tmp_path, capsys, *overrides, **options):
    config = sweep_config(**GRID)
    file = tmp_path / "x.yaml"
    file.write_text(dump_sweep(config))
    storage = f"storage={tmp_path}/runs"
    overrides = [storage, "workers.cpus=1", *overrides]
    plan_command(file=file, **asdict(Asked(overrides=overrides, **options)))
    return " ".join(capsys.readouterr().out.split())


def test_plan_says_that_it_does_not_know_until_it_has_measured(tmp_path, capsys):
    told = run_plan(tmp_path, capsys, slots=2)
    assert "time unknown: no run here did the same work; --measure" in told
    assert "2 trials at a time" in told and "are free" in told
    told = run_plan(tmp_path, capsys, slots=2, measure=True)
    assert "(5 steps, timed now, without the start of a slot)" in told
    assert "the first result after" in told and "unknown dollars (set sweep.price)" in told


def test_plan_says_how_often_to_evaluate(tmp_path, capsys):
    told = run_plan(tmp_path, capsys, "training.eval_every_steps=1", slots=1)
    enough = int(re.search(r"with training.eval_every_steps: (\d+) they would be a tenth", told)[1])
    data = DataCache(tmp_path / "runs" / "cache").data(sweep_config(**GRID).trial)
    lengths = np.diff(data.offsets)
    trained = 3 * lengths[data.rows(Split.TRAIN)].sum() / 3  # 320 rows are 3 steps of 128
    evaluated = lengths[data.rows(Split.SELECT)].sum()
    for steps in (enough - 1, enough):
        changes = {"training.eval_every_steps": steps, "training.train_loss_rows": 0}
        trial = sweep_config(**GRID).trial.with_values(changes | {"training.epochs": 100})
        found = evaluation_share(trial, data)
        assert found.share == pytest.approx(evaluated / (evaluated + steps * trained))
    told = run_plan(tmp_path, capsys, f"training.eval_every_steps={enough}", slots=1)
    assert "of a trial's operations" in told and "they would be" not in told


def test_plan_refuses_what_does_not_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neft_ray.cost.forecast.free_bytes", lambda storage: 1000.0)
    with pytest.raises(UserError) as refused:
        run_plan(tmp_path, capsys, "sweep.budget.hours=1e-6", slots=1, measure=True)
    text = str(refused.value)
    assert "1.0 kB are free" in text and "sweep.budget.hours" in text


def test_measuring_several_workers_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match="measures one worker"):
        run_plan(tmp_path, capsys, "workers.num=2", slots=1, measure=True)
