"""What MLflow is told of trials: names, their best loss so far, the data they use."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from neft_ray.config.trial import ChangeConfig, TrialConfig
from neft_ray.journal import Journal, Report, TrialRecord
from neft_ray.pipeline.recorder import Recorder, trial_title
from neft_ray.run_directory import RunDirectory
from neft_ray.tracking.cards import Dataset, finish, read_card
from neft_ray.tracking.points import DRIVER_POINTS_FILE, read_points
from neft_ray.tracking.shown import shown_name
from tests.unit.trial_runs import small_config

DATA = Dataset("tales", "1234", "builtin", {}, {})


class Thread:
    """Notes what it is to mirror."""

    def __init__(self):
        self.added, self.finished = [], []

    def add(self, folder):
        self.added.append(folder)

    def finish(self, folder, status, tags):
        self.finished.append((folder, status, tags))


def trial(phase="search", values=None, arm="treatment"):
    return TrialRecord(7, arm, phase, values or {}, 3, 0.0, num_steps=100)


def config(**values) -> TrialConfig:
    return small_config({"noise.alpha": 15, "optimizer.learning_rate": 3e-4} | values)


def test_a_trials_best_loss_is_a_curve_that_only_falls(tmp_path):
    thread = Thread()
    recorder = Recorder(thread, "my-run", lambda config: DATA)
    record = trial()
    recorder.started(record, config(), tmp_path)
    for step, loss in ((10, 3.0), (20, math.nan), (30, 3.5), (40, 2.0), (50, 2.5)):
        record.reports.append(Report(step, {"select_loss": loss}, "continue", 0.0))
        recorder.reported(record)
    points = [(p.step, p.metrics) for p in read_points(tmp_path / DRIVER_POINTS_FILE)]
    assert points == [(10, {"best_select_loss": 3.0}), (40, {"best_select_loss": 2.0})]
    card = read_card(tmp_path)
    assert card.dataset == DATA and card.tags["neft_ray.run"] == "my-run"
    record.status, record.reason, record.ended = "stopped", "rung 2", 1.0
    recorder.ended(record, tmp_path)
    assert thread.finished == [
        (tmp_path, "FINISHED", {"neft_ray.status": "stopped", "neft_ray.reason": "rung 2"})
    ]
    assert recorder._folders == {}


def test_an_interrupted_trial_is_not_finished(tmp_path):
    thread = Thread()
    recorder = Recorder(thread, "my-run", lambda config: DATA)
    recorder.started(trial(), config(), tmp_path)
    recorder.ended(trial(), tmp_path)
    assert not thread.finished and thread.added == [tmp_path]


def test_an_end_that_a_killed_driver_only_journaled_is_told_later_and_once(tmp_path):
    run, thread = RunDirectory(tmp_path), Thread()
    recorder = Recorder(thread, "my-run", lambda config: DATA)
    for number in range(3):
        folder = run.trial(number)
        folder.mkdir(parents=True)
        recorder.started(replace(trial(), number=number), config(), folder)
    journal = Journal(run.journal_file)
    fields = {"arm": "treatment", "phase": "search", "values": {}, "seed": 0, "num_steps": 20}
    for number in range(4):  # the last has no folder yet
        journal.append("suggest", trial=number, **fields)
    for number, decision in ((0, "stop"), (1, "continue")):
        metrics = {"select_loss": 3.0}
        journal.append("report", trial=number, step=10, metrics=metrics, decision=decision)
    journal.append("end", trial=2, status="failed", reason="told before")
    journal.close()
    finish(run.trial(2), "FAILED")
    recorder.catch_up(run)
    tags = {"neft_ray.status": "stopped", "neft_ray.reason": ""}
    assert thread.finished == [(run.trial(0), "FINISHED", tags)]
    points = [(p.step, p.metrics) for p in read_points(run.trial(0) / DRIVER_POINTS_FILE)]
    assert points == [(10, {"best_select_loss": 3.0})]
    assert not (run.trial(1) / DRIVER_POINTS_FILE).exists()


def test_a_name_begins_with_what_tells_trials_apart():
    plain = trial_title(trial(values={"noise.alpha": 15}), config())
    assert plain == "t007 α=15 lr=0.0003 treatment seed=3"
    values = {
        "optimizer.learning_rate": 3e-4,
        "optimizer.weight_decay": 0.123,
        "training.epochs": 2,
    }
    title = trial_title(trial("finalist", values, "control"), config(**{"noise.alpha": 0}))
    assert title == "t007 α=0 lr=0.0003 weight_decay=0.12 epochs=2 control finalist seed=3"
    alike = {"noise.schedule": "linear", "optimizer.schedule": "cosine", "model.lora": None}
    title = trial_title(trial(values=alike), config())
    assert title == (
        "t007 α=15 lr=0.0003 lora=None noise.schedule=linear optimizer.schedule=cosine "
        "treatment seed=3"
    )


def test_a_name_tells_what_changes_on_the_way():
    changes = [{"after_step": 20, "alpha": 18.0}, {"after_step": 40, "learning_rate": 1e-3}]
    values = {"noise.alpha": 15, "changes": changes}
    changed = config().model_copy(update={"changes": tuple(ChangeConfig(**it) for it in changes)})
    title = trial_title(trial(values=values), changed)
    assert title == "t007 α=15→18 lr=0.0003→0.001 treatment seed=3"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("select_loss", "loss/select"),
        ("best_select_loss", "loss/best_select"),
        ("train_loss", "loss/train"),
        ("select_perplexity", "loss/select_perplexity"),
        ("noise_alpha_measured", "noise/alpha_measured"),
        ("tokens_trained", "train/tokens_trained"),
        ("system/host/cpu_utilization_percentage", "system/host/cpu_utilization_percentage"),
        ("lift_at_best", "lift_at_best"),
    ],
)
def test_metrics_are_shown_in_sections(name, shown):
    assert shown_name(name) == shown


@pytest.mark.parametrize(
    ("rank", "node", "local", "written"),
    [
        (0, "0", "0", {"metrics.jsonl": {"loss": 1.0, "system/a/cpu": 2.0}}),
        (1, "0", "1", {}),
        (2, "1", "0", {"metrics-1.jsonl": {"system/a/cpu": 2.0}}),
        (3, "1", "1", {}),
    ],
)
def test_the_first_worker_of_every_node_writes_that_nodes_metrics(
    rank, node, local, written, tmp_path, monkeypatch
):
    from neft_ray.train.outputs import metrics_log

    monkeypatch.setenv("NODE_RANK", node)
    monkeypatch.setenv("LOCAL_RANK", local)
    with metrics_log(SimpleNamespace(rank=rank), tmp_path) as log:
        log(1, {"loss": 1.0}, {"system/a/cpu": 2.0})
    files = {path.name: next(read_points(path)).metrics for path in tmp_path.iterdir()}
    assert files == written
