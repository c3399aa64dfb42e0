"""The speed of a sweep, from its own reports or those of an earlier run of the same work."""

from neft_ray.config.load import dump_sweep
from neft_ray.cost.earlier import earlier_speed
from neft_ray.cost.pace import Pace
from neft_ray.run_directory import create_run
from tests.unit.cost_runs import at, planned, record


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
