"""MLflow as a cluster's head serves it, on PostgreSQL: with a password, and nothing beside it."""

import json
import subprocess
import time

import pytest
import requests

from neft_ray.config.cluster import load_cluster
from neft_ray.launch import head
from neft_ray.launch.tunnel import free_port
from tests.conftest import ROOT
from tests.system.postgres import Postgres
from tests.unit.cluster_files import changed


@pytest.fixture(scope="module")
def postgres():
    database = Postgres()
    yield database
    database.remove()


@pytest.fixture
def served(postgres, tmp_path, monkeypatch):
    """The address and password of a head's server, on loopback."""
    monkeypatch.setattr(head, "HOME", tmp_path)
    monkeypatch.setattr(head, "CREDENTIALS_FILE", tmp_path / "mlflow" / "credentials")
    monkeypatch.setattr(head, "_own_address", lambda: "127.0.0.1")
    file, port = tmp_path / "onprem.yaml", free_port()
    file.write_text((ROOT / "clusters" / "onprem.yaml").read_text())
    settings = json.dumps({"port": port, "database": postgres.uri})
    changed(file, "{port: 5000, database: sqlite}", settings)
    changed(file, "/shared/neft_ray", str(tmp_path / "shared"))
    command = head._command(load_cluster(file))
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command.argv, env=command.environment, cwd=tmp_path, stdout=log, stderr=log
        )
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180
    while not head._answers(address):
        alive = server.poll() is None and time.monotonic() < deadline
        assert alive, (tmp_path / "log").read_text()
        time.sleep(0.2)
    yield address, command.environment["MLFLOW_AUTH_ADMIN_PASSWORD"]
    server.terminate()
    server.wait()


def test_runs_are_in_postgresql_and_only_who_has_the_password_writes(served, postgres, tmp_path):
    address, password = served
    url = f"{address}/api/2.0/mlflow/experiments/create"
    assert requests.post(url, json={"name": "refused"}).status_code == 401
    wrong = requests.post(url, json={"name": "refused"}, auth=(head.USER, "guess"))
    assert wrong.status_code == 401
    assert requests.post(url, json={"name": "ours"}, auth=(head.USER, password)).ok
    import psycopg

    with psycopg.connect(postgres.uri) as connection:
        rows = connection.execute("select name, artifact_location from experiments").fetchall()
    assert dict(rows).keys() == {"Default", "ours"}
    assert dict(rows)["ours"].startswith("mlflow-artifacts:"), "clients need no access to storage"
    assert not (tmp_path / "mlflow.db").exists()
