"""A whole sweep through the command line: what it prints, leaves behind, and refuses."""

import json
import signal
from collections import Counter

import pytest

from neft_ray.cli import main
from neft_ray.errors import ExitCode
from neft_ray.journal import read_records
from neft_ray.run_directory import find_runs
from tests.system.runs import (
    ASHA_WITH_ONE_SLOT,
    Sweep,
    assert_same,
    curves,
    finished,
    neft_ray,
    statuses,
)
from tests.system.servers import Server


@pytest.fixture(scope="module")
def asha(tmp_path_factory):
    """ASHA with one slot, that nothing disturbs."""
    return finished(Sweep(tmp_path_factory.mktemp("asha"), changes=ASHA_WITH_ONE_SLOT))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An MLflow server to be killed."""
    with Server(tmp_path_factory.mktemp("server") / "storage") as running:
        yield running


@pytest.fixture(scope="module")
def disturbed(server, tmp_path_factory):
    """The same, but a second driver comes, and one thing after another is killed or interrupted."""
    folder = tmp_path_factory.mktemp("disturbed")
    sweep = Sweep(folder, ASHA_WITH_ONE_SLOT, uri=server.uri, database=server.database)
    sweep.start()
    sweep.wait_for_reports(1)
    sweep.second_driver = neft_ray("sweep", "--resume", sweep.run.root)
    sweep.wait_for_reports(4)
    sweep.kill_driver()
    sweep.resume()
    sweep.wait_for_reports(sweep.num_reports() + 2)
    server.kill()
    sweep.kill("RayTrainWorker")
    sweep.wait_for_reports(sweep.num_reports() + 2)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait() == 130, sweep.told()
    sweep.reports_at_interrupt = sweep.num_reports()
    server.start()
    sweep.resume()
    sweep.kill("Slot")  # as soon as there is one
    return finished(sweep)


def test_asha_with_one_slot_is_the_same_after_kills_and_ctrl_c(asha, disturbed):
    assert_same(disturbed, asha)
    assert "stopped" in statuses(asha.records).values(), "no trial was cut: the test shows nothing"
    decisions = [
        [(report.step, report.decision) for report in record.reports]
        for record in asha.records.values()
    ]
    assert decisions == [
        [(report.step, report.decision) for report in record.reports]
        for record in disturbed.records.values()
    ]
    crashes = sum(record.num_crashes for record in disturbed.records.values())
    assert crashes == 1, "the worker's; a driver's and a starting slot's end are none of its trials"
    assert "MLflow is away" in disturbed.run.log_file.read_text()
    disturbed.assert_nothing_is_left()


def test_an_interrupted_sweep_says_how_to_go_on_and_does(disturbed):
    assert "neft-ray sweep --resume" in disturbed.output.read_text()
    assert disturbed.num_reports() > disturbed.reports_at_interrupt


def test_a_second_driver_is_refused(disturbed):
    assert disturbed.second_driver.returncode == 2
    assert "is working on this run" in " ".join(disturbed.second_driver.stderr.split())


def test_a_sweep_leaves_report_model_and_no_superfluous_checkpoint(disturbed):
    run = disturbed.run
    assert (run.report / "index.html").is_file()
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        path.name for path in run.best_model.iterdir()
    }
    left = list(run.root.glob("trials/t*/checkpoints/*"))
    assert len(left) == 3, "keep_checkpoints is 3 and no trial is live"
    assert not run.scratch.exists()


def test_mlflow_holds_parent_children_and_champion(disturbed):
    from neft_ray.tracking.mlflow_store import MlflowStore

    client = MlflowStore(disturbed.uri, disturbed.storage, "kill").client
    experiment = client.get_experiment_by_name("kill")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1 and parents[0].info.status == "FINISHED"
    assert len(children) == len(disturbed.records)
    assert {run.info.status for run in children} == {"FINISHED"}
    noisy = next(run for run in children if float(run.data.params["noise.alpha"]) > 0)
    assert abs(noisy.data.metrics["noise/relative_norm"] - 1) < 0.05
    artifacts = {item.path for item in client.list_artifacts(parents[0].info.run_id, "report")}
    assert "report/index.html" in artifacts
    assert int(client.get_model_version_by_alias("kill", "champion").version) == 1


def test_a_cold_start_per_trial_gives_the_same_numbers_and_stop_stops(disturbed, tmp_path):
    cold = Sweep(tmp_path, changes=ASHA_WITH_ONE_SLOT | {"warm": False})
    cold.start()
    cold.wait_for_reports(6)  # of two trials at least: one has four
    stopped = neft_ray("stop", cold.run.root)
    assert stopped.returncode == 0 and "is stopped" in stopped.stdout
    assert cold.wait() == 130
    ours, warm = curves(cold.records), curves(disturbed.records)
    assert ours and ours == {key: warm[key] for key in ours}
    cold.assert_nothing_is_left()


def test_two_workers_give_the_curve_of_one(disturbed, tmp_path):
    record = next(r for r in disturbed.records.values() if r.arm == "treatment")
    settings = {**record.values, "training.seed": record.seed, "workers.num": 2}
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = neft_ray("train", disturbed.file, "--set", f"storage={tmp_path}", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    (alone,) = read_records(find_runs(tmp_path)[-1].journal_file).values()
    for theirs, ours in zip(record.reports, alone.reports, strict=False):
        assert ours.step == theirs.step
        assert ours.metrics["select_loss"] == pytest.approx(theirs.metrics["select_loss"], abs=2e-5)
    assert alone.reports[-1].step == alone.num_steps and "report_loss" in alone.reports[-1].metrics


def test_the_commands_that_look_at_runs_work(disturbed):
    run, storage = disturbed.run, disturbed.storage
    listed = neft_ray("ls", "--storage", storage)
    assert run.name[:20] in listed.stdout.replace("\n", "") and "finished" in listed.stdout
    shown = neft_ray("status", run.root)
    assert "t000" in shown.stdout and "compl" in shown.stdout
    assert "trial 0: step" in neft_ray("logs", run.root, "--trial", "t000").stdout
    assert "Treatment arm" in neft_ray("report", run.root).stdout
    assert "is not running" in neft_ray("stop", run.root).stdout
    answer = neft_ray("chat", run.root, input="Where is the ladder?\n\n")
    assert answer.returncode == 0 and "you>" in answer.stdout and len(answer.stdout) > 120


def test_any_trial_can_be_exported(disturbed, tmp_path):
    run = disturbed.run
    gone = next(
        record
        for record in disturbed.records.values()
        if not list(run.checkpoints(record.number).glob("step-*"))
    )
    name, target = f"t{gone.number:03d}", tmp_path / "model"
    refused = neft_ray("export", run.root, "--trial", name, "--to", target)
    assert refused.returncode == 2 and "--rebuild" in refused.stderr
    done = neft_ray("export", run.root, "--trial", name, "--to", target, "--rebuild")
    assert done.returncode == 0, done.stderr
    assert (target / "model.safetensors").is_file()


def test_resume_with_a_changed_setting_says_which(disturbed):
    result = neft_ray(
        "sweep", disturbed.file, "--resume", disturbed.run.root, "--set", "training.epochs=9"
    )
    assert result.returncode == 2
    assert "training.epochs: was 4 when the run started, is 9" in " ".join(result.stderr.split())


BAD = [
    ({"noise": {"alpha": -1}}, "noise.alpha"),
    ({"noise": {"alhpa": 1}}, "did you mean 'alpha'?"),
    ({"model": {"path": "./nowhere"}}, "no such folder"),
    ({"data": {"train": "./nowhere.jsonl"}}, "no such file"),
    ({"mlflow": {"uri": "http://127.0.0.1:9"}}, "127.0.0.1:9"),
    ({"data": {"train": "builtin:tales", "min_response_tokens": 500}}, "no rows are left"),
    ({"workers": {"cpus": 4096}}, "there is"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused_in_one_line_without_a_traceback(
    change, message, tmp_path, monkeypatch, capfd
):
    sweep = Sweep(tmp_path)
    config = json.loads(sweep.file.read_text())
    sweep.file.write_text(json.dumps(config | change))
    monkeypatch.setattr("sys.argv", ["neft-ray", "sweep", str(sweep.file)])
    with pytest.raises(SystemExit) as end:  # in this process: a new one imports for 5 seconds
        main()
    told = " ".join("".join(capfd.readouterr()).split())
    assert end.value.code == 2, told
    assert message in told and "Traceback" not in told
    assert not find_runs(sweep.storage), "nothing was started"


def test_a_run_without_a_finite_loss_ends_with_1_and_says_why(tmp_path):
    """The rate is such that the noise is lost in rounding before the loss is no number."""
    values = ("noise.alpha=5", "optimizer.learning_rate=1e12", "optimizer.clip_norm=null")
    sweep = Sweep(tmp_path, base={"optimizer": {"warmup_fraction": 0}})
    done = neft_ray("train", sweep.file, *(part for v in values for part in ("--set", v)))
    assert done.returncode == ExitCode.FAILED, done.stdout + done.stderr
    (record,) = sweep.records.values()
    assert (record.status, record.reason) == (
        "diverged", "the training loss or gradient is not finite at step 2",
    )  # fmt: skip
    assert f"no trial came to a finite loss; see neft-ray logs {sweep.run.root}" in done.stdout
    assert not sweep.run.best_model.exists()


def test_a_finished_sweep_gets_more_trials_in_a_narrower_space(asha):
    before, run = asha.records, asha.run
    narrow = "sweep.space.optimizer.learning_rate={choice: [5e-4, 1e-3]}"
    done = neft_ray("sweep", "--resume", run.root, "--set", "sweep.num_trials=6", "--set", narrow)
    assert done.returncode == 0, done.stdout + done.stderr
    after = asha.records
    assert {n: after[n] for n in before} == before, "what was is as it was"
    new = [r for n, r in after.items() if n not in before and r.phase == "search"]
    assert Counter(r.arm for r in new)["treatment"] >= 2
    assert {r.values["optimizer.learning_rate"] for r in new} <= {5e-4, 1e-3}
    points = [(r.arm, *r.values.items()) for r in after.values() if r.phase == "search"]
    assert len(points) == len(set(points)), "no point is run twice"
    results = json.loads((run.report / "results.json").read_text())
    assert len(results["trials"]) == len(after)
    children = [key for key in asha.points() if key[1] == "loss/select"]
    assert {key[0].split(" ")[0] for key in children} == {f"t{n:03d}" for n in after}
