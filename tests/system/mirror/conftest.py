"""One real MLflow server for all files here, and sweeps on it and on sqlite."""

import shutil

import pytest

from neft_ray.tracking.mlflow_store import MlflowStore
from tests.system.mirror.sweeps import Sweep
from tests.system.servers import Server


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server") / "storage") as running:
        yield running


@pytest.fixture(scope="package")
def empty_database(tmp_path_factory):
    """A database with its tables: they take a second to make."""
    storage = tmp_path_factory.mktemp("empty")
    MlflowStore(None, storage, "x")
    return storage / "mlflow.db"


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
