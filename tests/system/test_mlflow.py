"""The mirror against real MLflow: a server that is killed, frozen and restarted, and sqlite."""

import json
import logging
import math
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from neft_ray.errors import UserError
from neft_ray.tracking import mlflow_store
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import Dataset, describe, finish, read_card
from neft_ray.tracking.champion import Candidate, register
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import MIRROR_FILE, num_waiting_points, points_files
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.points import POINTS_FILE, MetricsLog, node_points_file, read_points
from neft_ray.tracking.shown import shown_name
from neft_ray.tracking.views import share_views, view_links
from tests.system.servers import Server, busy, free_port

BIGGEST = 1.7976931348623157e308


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "storage")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with its tables: they take a second to make."""
    storage = tmp_path_factory.mktemp("empty")
    MlflowStore(None, storage, "x")
    return storage / "mlflow.db"


class Sweep:
    """A run directory and its mirror, in a store whose sqlite file can be looked into."""

    def __init__(self, root, uri, storage, database):
        self.root = root
        self.database = database
        self.store = MlflowStore(uri, storage, root.parent.name)
        self.client = self.store.client
        self.mirror = MlflowMirror(self.store)
        describe(root, "sweep", {"model": "x"}, {"kind": "sweep"})
        self.parent_id = self.mirror.start_parent(root)

    def trial(self, number=7):
        directory = self.root / "trials" / f"t{number:03d}"
        describe(directory, f"t{number:03d} α=15", {"noise.alpha": 15.0}, {"arm": "treatment"})
        return directory

    def children(self):
        parent = f"tags.`mlflow.parentRunId` = '{self.parent_id}'"
        return self.client.search_runs([self.store.experiment_id], parent)

    def assert_exactly_once(self, directory):
        """Compare the table of metrics with the file, row by row."""
        run_id = json.loads((directory / MIRROR_FILE).read_text())["run_id"]
        with sqlite3.connect(self.database, timeout=20) as database:
            query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?"
            stored = Counter(database.execute(query, [run_id]).fetchall())
        logged = Counter(
            (shown_name(name), p.step, p.timestamp_ms, stored_value(value), math.isnan(value))
            for path in points_files(directory)
            for p in read_points(path)
            for name, value in p.metrics.items()
        )
        assert stored == logged
        assert max(Counter(row[:2] for row in stored.elements()).values()) == 1
        assert num_waiting_points(directory) == 0
        return sum(logged.values())


def stored_value(value):
    """Return how MLflow stores a number."""
    return 0.0 if math.isnan(value) else max(-BIGGEST, min(BIGGEST, value))


@pytest.fixture
def local(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Sweep(tmp_path / "run", None, tmp_path, tmp_path / "mlflow.db")


@pytest.fixture
def remote(tmp_path, server):
    return Sweep(tmp_path / "run", server.uri, tmp_path, server.database)


@pytest.fixture(params=["local", "remote"])
def sweep(request):
    return request.getfixturevalue(request.param)


def log_steps(directory, steps, num_metrics=3):
    log = MetricsLog(directory / POINTS_FILE)
    for step in steps:
        log.log(step, {f"train/m{i}": step + i / 10 for i in range(num_metrics)})
    log.close()


# ---- points ------------------------------------------------------------------------------------


def test_every_point_arrives_once_with_its_first_timestamp(sweep):
    trial = sweep.trial()
    log = MetricsLog(trial / POINTS_FILE)
    log.log(1, {"loss": math.nan, "up": math.inf, "down": -math.inf, "système/α": 0.1 + 0.2})
    sweep.mirror.sync(trial)
    log.log(2, {"loss": 2.0})
    assert sweep.mirror.sync(trial) is False
    assert sweep.mirror.sync(trial) is False
    assert sweep.assert_exactly_once(trial) == 5
    (run,) = sweep.children()
    first, second = sweep.client.get_metric_history(run.info.run_id, "loss")
    points = list(read_points(trial / POINTS_FILE))
    assert math.isnan(first.value)
    assert (second.step, second.value, second.timestamp) == (2, 2.0, points[1].timestamp_ms)


def test_large_backlogs_and_wide_points_are_sent_in_batches(local):
    trial = local.trial()
    log_steps(trial, range(1, 1501))
    log = MetricsLog(trial / POINTS_FILE)
    log.log(1501, {f"wide/{i}": float(i) for i in range(2500)})
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 1500 * 3 + 2500


def test_a_crash_between_acknowledgement_and_keeping_the_offset_duplicates_nothing(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 11))
    sweep.mirror.sync(trial)
    behind = (trial / MIRROR_FILE).read_text()
    log_steps(trial, range(11, 21))
    log = MetricsLog(trial / POINTS_FILE)
    log.log(21, {"loss": math.nan, "up": math.inf})
    sweep.mirror.sync(trial)
    (trial / MIRROR_FILE).write_text(behind)
    log.log(22, {"loss": 1.0})
    sweep.mirror.sync(trial)
    assert sweep.assert_exactly_once(trial) == 63


def test_a_line_that_is_still_being_written_is_sent_when_it_is_whole(local):
    trial = local.trial()
    log_steps(trial, [1])
    path = trial / POINTS_FILE
    line = path.read_bytes().replace(b'"step":1', b'"step":2')
    with path.open("ab") as file:
        file.write(line[:30])
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 3
    with path.open("ab") as file:
        file.write(line[30:])
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 6


def test_steps_computed_again_after_a_resume_are_not_sent_again(local):
    trial = local.trial()
    log_steps(trial, range(1, 31))
    local.mirror.sync(trial)
    log_steps(trial, range(20, 41))
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) == 120


# ---- runs --------------------------------------------------------------------------------------


def test_a_trial_is_a_child_with_its_params_tags_times_and_status(sweep):
    trial = sweep.trial()
    assert sweep.mirror.sync(trial) is False
    (run,) = sweep.children()
    assert run.info.status == "RUNNING"
    finish(trial, "KILLED", {"reason": "rung 2"})
    assert sweep.mirror.sync(trial) is True
    (run,) = sweep.children()
    card = read_card(trial)
    assert run.info.run_name == "t007 α=15"
    assert run.data.params == {"noise.alpha": "15.0"}
    assert run.data.tags.items() >= {"arm": "treatment", "reason": "rung 2"}.items()
    assert (run.info.status, run.info.start_time) == ("KILLED", card.start_ms)
    assert run.info.end_time == card.end_ms
    sweep.trial()
    assert sweep.mirror.sync(trial) is False
    assert sweep.children()[0].info.status == "RUNNING"


def test_a_child_is_created_once_though_its_id_was_lost(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 6))
    for _ in range(3):
        sweep.mirror.sync(trial)
        (trial / MIRROR_FILE).unlink()
    sweep.mirror.sync(trial)
    assert len(sweep.children()) == 1
    assert sweep.assert_exactly_once(trial) == 15


def test_threads_that_mirror_the_same_trial_do_not_meet(local):
    trial = local.trial()
    log_steps(trial, range(1, 6))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(local.mirror.sync, [trial] * 4)) == [False] * 4
    assert len(local.children()) == 1
    local.assert_exactly_once(trial)


def test_the_parent_goes_on_after_a_resume(sweep):
    finish(sweep.root, "KILLED")
    sweep.mirror.sync(sweep.root)
    for lose_id in (False, True):
        if lose_id:
            (sweep.root / MIRROR_FILE).unlink()
        describe(sweep.root, "sweep", {"model": "x"}, {})
        assert MlflowMirror(sweep.store).start_parent(sweep.root) == sweep.parent_id
    run = sweep.client.get_run(sweep.parent_id)
    assert run.info.status == "RUNNING"
    assert "mlflow.parentRunId" not in run.data.tags
    log_steps(sweep.root, [1])
    finish(sweep.root, "FINISHED")
    assert sweep.mirror.sync(sweep.root) is True
    sweep.assert_exactly_once(sweep.root)


def test_many_and_long_params_arrive(local):
    trial = local.root / "trials" / "t001"
    params = {f"p{i}": i for i in range(250)} | {"long": "x" * 7000, "none": None, "yes": True}
    describe(trial, "t001", params, {})
    local.mirror.sync(trial)
    (run,) = local.children()
    assert len(run.data.params) == 253
    assert (run.data.params["p249"], run.data.params["none"]) == ("249", "None")
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("x… (cut: 7000 characters)")


def test_the_data_and_files_of_a_run_are_recorded_once(sweep):
    data = Dataset(
        "tales", "65fd09dfb9078f73", "builtin", {"uri": "builtin:tales"}, {"num_rows": 9}
    )
    (sweep.root / "sweep.yaml").write_text("name: x\n")
    describe(sweep.root, "sweep", {"model": "x"}, {}, data, ["sweep.yaml"])
    (sweep.root / MIRROR_FILE).unlink()
    for _ in range(3):
        sweep.mirror.parent_id = None
        assert sweep.mirror.start_parent(sweep.root) == sweep.parent_id
        (sweep.root / "sweep.yaml").write_text("changed: and not sent again\n")
        mirrored = json.loads((sweep.root / MIRROR_FILE).read_text())
    assert mirrored["files"] == ["sweep.yaml"]
    (sweep.root / MIRROR_FILE).unlink()
    sweep.mirror.parent_id = None
    sweep.mirror.start_parent(sweep.root)
    (entry,) = sweep.client.get_run(sweep.parent_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("tales", "65fd09dfb9078f73")
    assert json.loads(entry.dataset.profile) == {"num_rows": 9}
    assert [file.path for file in sweep.client.list_artifacts(sweep.parent_id)] == ["sweep.yaml"]


def test_every_node_has_a_file_of_points_and_none_overwrites_another(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 4))
    for node in (0, 1, 2):
        log = MetricsLog(node_points_file(trial, node))
        for step in (4, 5):
            log.log(step, {f"system/host{node}/cpu_utilization_percentage": 10.0 * node + step})
        sweep.mirror.sync(trial)
    sweep.mirror.sync(trial)
    assert sweep.assert_exactly_once(trial) == 9 + 6
    (run,) = sweep.children()
    last = {k: v for k, v in run.data.metrics.items() if k.startswith("system/")}
    assert last == {f"system/host{n}/cpu_utilization_percentage": 10 * n + 5 for n in range(3)}


# ---- outages -----------------------------------------------------------------------------------


def write_for(directory, seconds):
    """Start a process that logs as a training worker does; return it."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from neft_ray.tracking.points import MetricsLog\n"
        "log = MetricsLog(Path(sys.argv[1]))\nend = time.time() + float(sys.argv[2])\nstep = 0\n"
        "while time.time() < end:\n"
        "    step += 1\n    log.log(step, {f'm{i}': step / 7 for i in range(10)})\n"
        "    time.sleep(0.005)\n"
        "assert not {'mlflow', 'torch', 'ray'} & set(sys.modules)\n"
    )
    path = directory / POINTS_FILE
    return subprocess.Popen([sys.executable, "-c", code, str(path), str(seconds)])


def acknowledged_bytes(directory):
    return json.loads((directory / MIRROR_FILE).read_text())["offsets_bytes"].get(POINTS_FILE)


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(remote, server, caplog):
    trial = remote.trial()
    late = remote.root / "trials" / "t008"
    with MirrorThread(remote.mirror, interval_seconds=0.1, drain_seconds=60) as thread:
        thread.add(trial)
        writer = write_for(trial, 4)
        while not (trial / MIRROR_FILE).exists() or not acknowledged_bytes(trial):
            time.sleep(0.05)
        server.kill()
        sent = acknowledged_bytes(trial)
        describe(late, "t008", {"a": 1}, {})  # a trial that starts while the server is away
        log_steps(late, range(1, 11))
        thread.add(late)
        assert writer.wait() == 0
        thread.finish(trial, "FINISHED")
        thread.finish(late, "FAILED", {"reason": "crash"})
        assert num_waiting_points(trial) > 0
        server.start()
    assert 0 < sent < (trial / POINTS_FILE).stat().st_size
    assert thread.num_failures > 0
    assert thread.num_waiting_points == 0
    assert remote.assert_exactly_once(trial) > 100
    remote.assert_exactly_once(late)
    statuses = {run.info.run_name: run.info.status for run in remote.children()}
    assert statuses == {"t007 α=15": "FINISHED", "t008": "FAILED"}
    told = [record.getMessage() for record in caplog.records if "neft_ray" in record.name]
    assert len(told) == 2
    assert told[0].startswith("MLflow is away: ")
    assert "is back and has everything" in told[1]


def test_what_a_server_that_stays_away_has_missed_is_sent_by_the_next_thread(
    remote, server, caplog
):
    trial = remote.trial()
    server.kill()
    with MirrorThread(remote.mirror, interval_seconds=0.1, drain_seconds=1) as thread:
        thread.add(trial)
        log_steps(trial, range(1, 11))
        start = time.monotonic()
        thread.finish(trial, "FINISHED")
    assert time.monotonic() - start < 5
    assert thread.num_waiting_points == 30
    assert "30 values are not in MLflow" in caplog.text
    assert "--resume" in caplog.text
    with pytest.raises(UserError, match="Connection refused"):
        remote.store.log_artifacts(remote.parent_id, trial)
    server.start()
    with MirrorThread(remote.mirror) as later:
        later.add(trial)
    assert (later.num_waiting_points, later.num_failures) == (0, 0)
    assert remote.assert_exactly_once(trial) == 30
    assert remote.children()[0].info.status == "FINISHED"


def test_requests_carried_out_after_they_were_given_up_leave_one_run(remote, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    trial = remote.trial()
    with sqlite3.connect(server.database) as database:
        database.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(Exception, match="timed out"):
                remote.mirror._new_run(read_card(trial))  # as after a search that found nothing
        database.rollback()
    monkeypatch.undo()
    deadline = time.monotonic() + 30
    while len(remote.children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    log_steps(trial, range(1, 6))
    remote.mirror.sync(trial)
    finish(trial, "FINISHED")
    assert remote.mirror.sync(trial)
    assert len(remote.children()) == 1
    remote.assert_exactly_once(trial)


def test_a_driver_killed_at_any_moment_loses_and_doubles_nothing(local):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from neft_ray.tracking.mlflow_store import MlflowStore\n"
        "from neft_ray.tracking.mirror import MlflowMirror\n"
        "root = Path(sys.argv[1])\n"
        "mirror = MlflowMirror(MlflowStore(None, root.parent, root.parent.name))\n"
        "mirror.start_parent(root)\n"
        "print('ready', flush=True)\n"
        "while True:\n    mirror.sync(root / 'trials' / 't007')\n"
    )
    trial = local.trial()
    writer = write_for(trial, 20)
    pause = random.Random(0)
    try:
        for _ in range(3):
            argv = [sys.executable, "-c", code, str(local.root)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as driver:
                assert driver.stdout.readline() == b"ready\n"
                time.sleep(pause.uniform(0.0, 0.3))
                driver.kill()
    finally:
        writer.kill()
        writer.wait()
    MetricsLog(trial / POINTS_FILE).close()
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) > 100
    assert len(local.children()) == 1


def test_three_workers_log_at_once_while_one_thread_mirrors(remote):
    trials = [remote.trial(number) for number in (1, 2, 3)]
    writers = [write_for(trial, 2) for trial in trials]
    with MirrorThread(remote.mirror, interval_seconds=0.2, drain_seconds=60) as thread:
        for trial in trials:
            thread.add(trial)
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        for trial in trials:
            thread.finish(trial, "FINISHED")
    assert thread.num_failures == 0
    for trial in trials:
        remote.assert_exactly_once(trial)
    assert {run.info.status for run in remote.children()} == {"FINISHED"}


def test_one_trial_that_mlflow_refuses_stops_no_other_and_is_told_once(local, caplog):
    refused, fine = local.trial(1), local.trial(2)
    local.mirror.sync(refused)
    local.client.delete_run(local.children()[0].info.run_id)
    for trial in (refused, fine):
        log_steps(trial, [1])
    with MirrorThread(local.mirror, interval_seconds=0.05, drain_seconds=5) as thread:
        thread.add(refused)
        thread.add(fine)
        time.sleep(0.5)
    assert thread.num_failures > 1
    assert thread.num_waiting_points == 3
    local.assert_exactly_once(fine)
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [message.partition(":")[0] for message in told if "t001" in message] == ["t001"]


class Restarting(MlflowMirror):
    """Lets a trial start again just when it was found to have ended."""

    def sync(self, directory):
        ended = super().sync(directory)
        if ended and not self.restarted:
            self.restarted = True
            describe(directory, "t007", {}, {})
            self.thread.add(directory)
        return ended


def test_a_trial_that_starts_again_just_as_it_ended_is_still_mirrored(local):
    trial = local.trial()
    mirror = Restarting(local.store)
    mirror.restarted, mirror.parent_id = False, local.parent_id
    with MirrorThread(mirror, interval_seconds=0.05) as mirror.thread:
        mirror.thread.finish(trial, "KILLED")
        while not mirror.restarted:
            time.sleep(0.01)
        log_steps(trial, [1])
    assert local.assert_exactly_once(trial) == 3
    assert local.children()[0].info.status == "RUNNING"


class Counting:
    """A mirror that counts what it is asked to look at."""

    def __init__(self):
        self.seen = []

    def sync(self, directory):
        self.seen.append(directory.name)
        return read_card(directory).status != "RUNNING"


def test_a_look_for_news_costs_nothing_for_trials_that_have_ended(tmp_path):
    mirror = Counting()
    thread = MirrorThread(mirror)
    for number in range(1000):
        trial = tmp_path / f"t{number:03d}"
        describe(trial, trial.name, {}, {})
        thread.finish(trial, "FINISHED")
    live = tmp_path / "live"
    describe(live, "live", {}, {})
    thread.add(live)
    thread._round()
    assert len(mirror.seen) == 1001
    mirror.seen.clear()
    for _ in range(3):
        thread._round()
    assert mirror.seen == ["live"] * 3
    assert len(thread._live) == 1


def test_the_views_of_a_sweep_show_its_trials_best_first(sweep):
    for _ in range(2):
        share_views(sweep.store, "my-run", ["noise.alpha"])
    tags = sweep.client.get_experiment(sweep.store.experiment_id).tags
    views = {key: json.loads(tag) for key, tag in tags.items() if "sharedViewState" in key}
    links = view_links("my-run", sweep.store.experiment_id)
    assert len(views) == 2
    for what, mode in (("trials", None), ("charts", "CHART")):
        key = links[what].split("viewStateShareKey=")[1].split("&")[0]
        view = views[f"mlflow.sharedViewState.{key}"]
        assert view.get("compareRunsMode") == mode
        assert "params.`noise.alpha`" in view["selectedColumns"]
    trial = sweep.root / "trials" / "t007"
    describe(trial, "t007", {}, {"neft_ray.run": "my-run", "neft_ray.arm": "treatment"})
    describe(sweep.root, "sweep", {"model": "x"}, {"neft_ray.run": "my-run"})
    finish(sweep.root, "KILLED")
    for directory in (trial, sweep.root):
        sweep.mirror.sync(directory)
    found = sweep.client.search_runs([sweep.store.experiment_id], view["searchFilter"])
    assert [run.info.run_name for run in found] == ["t007"], "the trial, not the parent"


# ---- refusals at the start ---------------------------------------------------------------------


def refused(uri, storage, experiment="x"):
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        MlflowStore(uri, storage, experiment)
    assert time.monotonic() - start < 5
    return str(raised.value)


def test_a_server_that_is_not_there_is_refused_at_once(tmp_path, caplog):
    text = refused(f"http://me:s3cret@127.0.0.1:{free_port()}", tmp_path)
    assert "MLflow does not answer: " in text
    assert "Connection refused" in text
    assert "start the server" in text
    assert "s3cret" not in text + caplog.text


def test_a_server_that_is_busy_is_asked_again_and_gets_one_run(server, tmp_path, monkeypatch):
    root = tmp_path / "run"
    describe(root, "sweep", {"model": "x"}, {"kind": "sweep"})
    with busy(server, num_refusals=1) as uri:
        store = MlflowStore(uri, tmp_path, tmp_path.name)
    for refusals in (1, 2):  # the second time is a sweep that goes on
        with busy(server, refusals) as uri:
            store.client = MlflowClient(uri)
            parent = MlflowMirror(store).start_parent(root)
    runs = MlflowClient(server.uri).search_runs([store.experiment_id])
    assert [run.info.run_id for run in runs] == [parent]
    monkeypatch.setattr(mlflow_store, "BUSY_SECONDS", 0.0)
    with busy(server, num_refusals=9) as uri, pytest.raises(UserError, match="500 error"):
        MlflowStore(uri, tmp_path, tmp_path.name)


def test_a_server_that_never_answers_is_refused_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_store, "SERVER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = refused(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert "no answer in time" in text


def test_a_database_that_cannot_be_opened_is_refused_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is no database" * 100)
    assert "file is not a database" in refused(None, tmp_path)
    assert "unable to open" in refused(f"sqlite:///{tmp_path}/none/x.db", tmp_path)
    assert "sqlite:" in refused(None, Path("/proc/runs"))


def test_deleted_experiments_and_runs_are_refused_with_the_command_that_restores_them(sweep):
    sweep.client.delete_run(sweep.parent_id)
    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {sweep.parent_id}"):
        sweep.mirror.start_parent(sweep.root)
    experiment_id = sweep.store.experiment_id
    sweep.client.delete_experiment(experiment_id)
    with pytest.raises(UserError, match=f"experiments restore --experiment-id {experiment_id}"):
        MlflowStore(sweep.store.address.uri, sweep.root.parent, sweep.root.parent.name)


def test_a_run_directory_of_another_server_is_refused(sweep, tmp_path):
    path = sweep.root / MIRROR_FILE
    path.write_text(path.read_text().replace(sweep.parent_id, "0" * 32))
    with pytest.raises(UserError, match=r"does not know run 0{32}; .*delete mlflow\.json"):
        sweep.mirror.start_parent(sweep.root)


# ---- files and models --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Hugging Face folder with a random model of a few kilobytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *"abcdefgh"])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(words), **shape, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "README.md").write_text("# card")
    return folder


def candidate(sweep, folder, **changes):
    fields = {
        "folder": folder,
        "name": f"my.sweep-{sweep.root.parent.name}",
        "run_id": sweep.parent_id,
        "key": "a",
        "select_loss": 0.8,
        "data_hash": "1234",
        "description": "the best",
        "tags": {"neft_ray.lift_at_end": "-0.1"},
    }
    return Candidate(**{**fields, **changes})


def aliases(sweep):
    model = sweep.client.get_registered_model(f"my.sweep-{sweep.root.parent.name}")
    return {alias: str(version) for alias, version in model.aliases.items()}


def test_the_champion_loads_as_a_model_and_only_a_better_one_takes_the_alias(sweep, model_folder):
    import mlflow

    def registers(**changes):
        made = register(sweep.store, candidate(sweep, model_folder, **changes))
        return made.version, made.alias, made.remark

    version, alias, remark = registers()
    assert (version, alias) == ("1", "champion") and "there was none" in remark
    assert aliases(sweep) == {"champion": "1"}
    version, alias, remark = registers(key="b", select_loss=0.8)
    assert (version, alias) == ("2", "challenger")
    assert "0.8000 is not below 0.8000 of the champion, version 1" in remark
    version, alias, remark = registers(key="c", select_loss=0.1, data_hash="5678")
    assert (version, alias) == ("3", "challenger") and "cannot be compared" in remark
    assert aliases(sweep) == {"champion": "1", "challenger": "3"}
    version, alias, remark = registers(key="d", select_loss=0.7)
    assert (version, alias) == ("4", "champion") and "0.7000 beats 0.8000" in remark
    assert aliases(sweep) == {"champion": "4", "challenger": "3"}
    assert registers(key="d", select_loss=0.7)[:2] == ("4", "champion")
    assert registers(key="a")[:2] == ("1", "challenger"), "is registered already"
    assert aliases(sweep) == {"champion": "4", "challenger": "1"}
    name = f"my.sweep-{sweep.root.parent.name}"
    champion = sweep.client.get_model_version_by_alias(name, "champion")
    assert champion.description.startswith("the best\n\nis the champion: ")
    assert champion.tags["neft_ray.lift_at_end"] == "-0.1"
    assert champion.run_id == sweep.parent_id
    mlflow.set_tracking_uri(sweep.store.address.uri)
    try:
        pipeline = mlflow.transformers.load_model(f"models:/{name}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    (made,) = pipeline("a b c", max_new_tokens=2, do_sample=False)
    assert made["generated_text"].startswith("a b c")


def test_a_challenger_that_becomes_the_champion_is_no_challenger_any_more(local, model_folder):
    register(local.store, candidate(local, model_folder))
    register(local.store, candidate(local, model_folder, key="b", select_loss=0.9))
    name = f"my.sweep-{local.root.parent.name}"
    local.client.delete_registered_model_alias(name, "champion")
    again = register(local.store, candidate(local, model_folder, key="b", select_loss=0.9))
    assert (again.version, aliases(local)) == ("2", {"champion": "2"})


def test_a_champion_that_people_chose_is_not_replaced_by_what_cannot_be_compared(
    local, model_folder
):
    name = f"my.sweep-{local.root.parent.name}"
    local.client.create_registered_model(name)
    theirs = local.client.create_model_version(name, str(model_folder))
    local.client.set_registered_model_alias(name, "champion", theirs.version)
    made = register(local.store, candidate(local, model_folder))
    assert "hash unknown" in made.remark
    assert aliases(local) == {"champion": "1", "challenger": "2"}


def test_files_are_kept_with_the_run(sweep, model_folder):
    sweep.store.log_artifacts(sweep.parent_id, model_folder, "report")
    found = {item.path for item in sweep.client.list_artifacts(sweep.parent_id, "report")}
    assert "report/README.md" in found
