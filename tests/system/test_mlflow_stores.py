"""The mirror on the stores that teams use: many writers at once, PostgreSQL, artifacts in S3."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import boto3
import pytest
import sqlalchemy
from moto.server import ThreadedMotoServer

from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe
from neft_ray.tracking.champion import Candidate, register
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import MIRROR_FILE, num_waiting_points
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.points import POINTS_FILE, MetricsLog, read_points
from tests.system.postgres import Postgres
from tests.system.servers import Server

NUM_WRITERS = 32
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def postgres():
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def bucket():
    """An S3 bucket on loopback, and what a client of it needs."""
    service = ThreadedMotoServer("127.0.0.1", 0)
    service.start()
    host, port = service.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket="models")
    yield client, endpoint
    service.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, bucket):
    """An MLflow server on sqlite whose artifacts lie in S3; only it has the keys."""
    settings = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": bucket[1]}
    storage = tmp_path_factory.mktemp("server") / "storage"
    with Server(storage, "s3://models/artifacts", settings) as running:
        yield running


def stored(database, directory):
    """Every stored value of a run, by metric, step and timestamp."""
    run_id = json.loads((directory / MIRROR_FILE).read_text())["run_id"]
    query = sqlalchemy.text("SELECT key, step, timestamp, value FROM metrics WHERE run_uuid = :id")
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        found = Counter(map(tuple, connection.execute(query, {"id": run_id})))
    engine.dispose()
    return found


def logged(directory):
    return Counter(
        (name, point.step, point.timestamp_ms, value)
        for point in read_points(directory / POINTS_FILE)
        for name, value in point.metrics.items()
    )


@pytest.mark.parametrize("where", ["sqlite", "server", "postgres"])
def test_32_sweeps_at_once_lose_and_double_nothing(where, tmp_path, request):
    """They start together on a database without tables, where MLflow itself would fail."""
    uri, database = "", f"sqlite:///{tmp_path}/mlflow.db"
    if where == "server":
        server = request.getfixturevalue("server")
        uri, database = server.uri, f"sqlite:///{server.database}"
    elif where == "postgres":
        uri = database = request.getfixturevalue("postgres").uri
    command = [sys.executable, "-m", "tests.system.writers", uri, str(tmp_path), str(NUM_WRITERS)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    trials = sorted(tmp_path.glob("sweep-*/trials/t000"))
    assert len(trials) == NUM_WRITERS
    for trial in trials:
        assert stored(database, trial) == logged(trial)
    runs = MlflowStore(uri or None, tmp_path, "together").client.search_runs(
        [MlflowStore(uri or None, tmp_path, "together").experiment_id]
    )
    assert Counter(run.info.status for run in runs) == {"FINISHED": 2 * NUM_WRITERS}


def test_what_postgresql_missed_is_sent_once_with_its_first_timestamp(postgres, tmp_path, caplog):
    mirror = MlflowMirror(MlflowStore(postgres.uri, tmp_path, "outage"))
    describe(tmp_path / "run", "run", {}, {})
    mirror.start_parent(tmp_path / "run")
    trial = tmp_path / "run" / "trials" / "t000"
    describe(trial, "t000", {"a": 1}, {})
    log = MetricsLog(trial / POINTS_FILE)
    log.log(1, {"loss": 3.0})
    with MirrorThread(mirror, interval_seconds=0.1, drain_seconds=60) as thread:
        thread.add(trial)
        while num_waiting_points(trial):
            assert thread.num_failures == 0
        postgres.stop()
        log.log(2, {"loss": 2.0})
        while not thread.num_failures:
            pass
        log.log(3, {"loss": 1.0})
        assert num_waiting_points(trial) == 2
        postgres.start()
        thread.finish(trial, "FINISHED")
    assert thread.num_waiting_points == 0
    assert stored(postgres.uri, trial) == logged(trial)
    assert "MLflow is away: connection" in caplog.text
    assert "is back and has everything" in caplog.text


def test_a_driver_without_keys_keeps_the_best_model_in_s3_through_the_server(
    server, bucket, tmp_path, monkeypatch
):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (model / "model.safetensors").write_bytes(b"\0" * 3_000_000)
    store = MlflowStore(server.uri, tmp_path, "models")
    mirror = MlflowMirror(store)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sweep.yaml").write_text("name: x")
    describe(tmp_path / "run", "run", {}, {}, files=["sweep.yaml"])
    run_id = mirror.start_parent(tmp_path / "run")
    made = register(
        store, Candidate(model, "m", run_id, "key", 0.5, "hash", "the best", tags={"a": "b"})
    )
    assert (made.version, made.alias) == ("1", "champion")
    listed = bucket[0].list_objects_v2(Bucket="models", Prefix="artifacts/")["Contents"]
    sizes = {Path(entry["Key"]).name: entry["Size"] for entry in listed}
    assert sizes["model.safetensors"] == 3_000_000 and "sweep.yaml" in sizes
    uri = store.client.get_model_version_download_uri("m", "1")
    assert not uri.startswith("s3:"), "a client would need keys"
