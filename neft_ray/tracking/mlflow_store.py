"""The connection to MLflow: reached at once or refused with a reason, and errors for people."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import requests
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine

from neft_ray.errors import UserError, bad_input
from neft_ray.tracking.address import Address

# It prints a traceback for every database error, all of which reach us as exceptions.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

T = TypeVar("T")
SERVER_SECONDS = 30.0
DATABASE_SECONDS = 60.0
"""How long the first answer may take: many may ask a server at once, and a new database creates its
tables before it."""
BUSY_SECONDS = 120.0
"""How long a server may say that it cannot just now: sqlite keeps a request for 20 s at most."""
LOCK_FILE = ".mlflow.lock"
UNREACHABLE = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
ADVISORY_LOCK = 7_305_188_432
"""A number of our own, so that it is nobody else's lock."""


class MlflowStore:
    """A server or database that answered, and an experiment in it."""

    def __init__(self, uri: str | None, storage: Path, experiment: str) -> None:
        """Reach the server or database, and find or create the experiment.

        Args:
            uri: A server or database; None for a sqlite file in `storage`.
            storage: The folder that holds every run.
            experiment: The experiment's name.

        Raises:
            UserError: If MLflow does not answer within seconds, or the experiment is deleted.
        """
        self.address = Address.of(uri, storage)
        seconds = DATABASE_SECONDS if self.address.is_database else SERVER_SECONDS
        try:
            opened = _within(seconds, lambda: patiently(lambda: _open(self.address, experiment)))
        except UserError:
            raise
        except ModuleNotFoundError as error:
            extra = "pip install 'neft-ray[postgresql]'"
            what = f"its driver, the package '{error.name}', is not installed"
            raise bad_input(self.address, what, f"{extra}, or what your database needs") from None
        except Exception as error:
            remedy = "start the server, correct mlflow.uri, or set it to null for a file in storage"
            what = f"MLflow does not answer: {self.reason(error)}"
            raise bad_input(self.address, what, remedy) from None
        self.client, self.experiment_id = opened

    def log_artifacts(self, run_id: str, folder: Path, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a run, below `artifact_path`.

        Raises:
            UserError: If MLflow is away or refuses.
        """
        with self.explained():
            self.client.log_artifacts(run_id, str(folder), artifact_path)

    def log_metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Add metrics to a run that has ended or not.

        Raises:
            UserError: If MLflow is away or refuses.
        """
        now = round(time.time() * 1000)
        with self.explained():
            metrics = [Metric(name, value, now, step) for name, value in values.items()]
            self.client.log_batch(run_id, metrics)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever goes wrong in MLflow or its file store into an error for people."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            remedy = "see to the server, then go on with --resume"
            raise bad_input(self.address, f"MLflow: {self.reason(error)}", remedy) from None

    def reason(self, error: BaseException) -> str:
        """Return one line that says why, without secrets."""
        if isinstance(error, TimeoutError):
            return "no answer in time"
        while (cause := error.__context__) and str(cause).strip("()"):
            if isinstance(error, MlflowException) and not is_outage(error):
                break
            error = cause
        first, *_ = str(error).splitlines() or [type(error).__name__]
        return self.address.without_secrets(first)[:300]


def patiently(call: Callable[[], T]) -> T:
    """Return what a call returns, repeated while MLflow answers that it is too busy for it.

    Args:
        call: May be carried out twice.

    Raises:
        MlflowException: If MLflow cannot be reached, says no, or is busy for too long.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return call()
        except MlflowException as error:
            unreachable = isinstance(error.__cause__ or error.__context__, UNREACHABLE)
            if unreachable or not is_outage(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def is_outage(error: BaseException) -> bool:
    """Whether MLflow did not answer and may do so later; otherwise it said no.

    A server with more requests than database connections calls them bad ones.
    """
    if not isinstance(error, MlflowException):
        return False
    return error.get_http_status_code() >= 500 or "QueuePool limit" in str(error)


def _open(address: Address, experiment: str) -> tuple[MlflowClient, str]:
    with _alone_in(address) if address.is_database else nullcontext():
        client = MlflowClient(tracking_uri=address.uri, registry_uri=address.uri)
        found = client.get_experiment_by_name(experiment)
    if found is None:
        artifacts = str(address.artifacts) if address.is_database else None
        try:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI's training layout
            return client, client.create_experiment(experiment, artifacts, kind)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(experiment)  # another sweep was faster
    if found.lifecycle_stage == LifecycleStage.DELETED:
        command = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        remedy = f"restore it: {command}, or name another with mlflow.experiment"
        raise bad_input(address, f"MLflow experiment '{experiment}' was deleted", remedy)
    return client, found.experiment_id


@contextmanager
def _alone_in(address: Address) -> Iterator[None]:
    """Connect once, for MLflow itself would try for a hundred seconds, and hold others off.

    Sweeps that start together would create the tables of a new database at the same time. A file
    in the storage folder holds them off in sqlite, an advisory lock in PostgreSQL.
    """
    address.storage.mkdir(parents=True, exist_ok=True)
    engine = create_sqlalchemy_engine(address.uri)
    try:
        with engine.connect() as connection, (address.storage / LOCK_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if address.kind == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({ADVISORY_LOCK})")
            engine.dialect.has_table(connection, "experiments")
            yield  # the lock goes with the connection
            connection.invalidate()
    finally:
        engine.dispose()


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, or raise TimeoutError and leave it to itself."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="mlflow-check", daemon=True).start()
    return future.result(seconds)
