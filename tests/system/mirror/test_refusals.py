"""What is refused at the start: servers, databases, experiments and runs that cannot be used."""

import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from neft_ray.errors import UserError
from neft_ray.launch.tunnel import free_port
from neft_ray.tracking import mlflow_store
from neft_ray.tracking.cards import describe
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import MIRROR_FILE
from neft_ray.tracking.mlflow_store import MlflowStore
from tests.system.servers import busy


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
