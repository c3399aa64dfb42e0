"""Where MLflow is: its address without passwords, its page, a person's settings, outages."""

import os
import subprocess
import sys

import pytest

from neft_ray.errors import UserError
from neft_ray.tracking.address import Address, ui_command


def test_no_uri_means_a_sqlite_file_in_the_storage_folder(tmp_path):
    address = Address.of(None, tmp_path / "runs")
    assert address.uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert address.is_database
    assert address.artifacts == tmp_path / "runs" / "mlartifacts"


@pytest.mark.parametrize(
    "uri", ["file:///tmp/mlruns", "./mlruns", "mlruns", "ftp://host", "databricks"]
)
def test_uris_that_are_no_server_or_database_are_refused_with_a_remedy(tmp_path, uri):
    with pytest.raises(UserError, match=r"mlflow\.uri: .*; use null for sqlite:.*http:, https:"):
        Address.of(uri, tmp_path)


@pytest.mark.parametrize(
    "uri",
    [
        *("https://me:s3cret%21@host:5000/x", "postgresql+psycopg2://me:s3cret@host/db"),
        "postgresql://host/db?user=me&password=s3cret%21",
    ],
)
def test_passwords_are_never_shown(tmp_path, uri):
    address = Address.of(uri, tmp_path)
    shown = f"{address} {address.without_secrets(f'request to {uri}/api failed: s3cret!')}"
    assert "s3cret" not in shown
    assert "me:" not in shown
    assert "host" in str(address)


def test_the_ui_is_served_on_loopback_without_the_password_in_its_arguments(tmp_path):
    command = ui_command(Address.of("postgresql://me:s3cret@host/db", tmp_path), 5001)
    assert "s3cret" not in " ".join(command.argv)
    assert command.environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:s3cret@host/db"
    assert command.argv[command.argv.index("--host") + 1] == "127.0.0.1"
    assert command.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with pytest.raises(UserError, match="open it in a browser"):
        ui_command(Address.of("http://host:5000", tmp_path), 5001)


def test_the_users_own_settings_of_mlflow_are_kept():
    code = "import os, neft_ray.tracking; print(os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT'])"
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_TIMEOUT": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "7"


@pytest.mark.parametrize(
    ("message", "code", "away"),
    [
        ("QueuePool limit of size 5 overflow 10 reached, timed out", "BAD_REQUEST", True),
        ("database is locked", "TEMPORARILY_UNAVAILABLE", True),
        ("parameter 'x' was set already", "INVALID_PARAMETER_VALUE", False),
    ],
)
def test_a_server_that_has_too_much_to_do_is_away_not_unwilling(message, code, away):
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2

    from neft_ray.tracking.mlflow_store import is_outage

    error = MlflowException(message, error_code=getattr(databricks_pb2, code))
    assert is_outage(error) is away
