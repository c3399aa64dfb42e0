"""The head's MLflow server: started with the cluster, guarded by a password, kept alive.

`ray up` runs `neft-ray head FILE` on the head. What is left there afterwards, in one folder that
only its user can read: the password's file, the database, the server's log.
"""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from neft_ray.config.cluster import SQLITE, ClusterFile, load_cluster
from neft_ray.errors import bad_input
from neft_ray.launch import detached
from neft_ray.launch.detached import HOME
from neft_ray.tracking.address import Address, Command, ui_command

STATE_FILE = HOME / "mlflow.json"
"""The server's address, for whoever submits."""
LOG_FILE = HOME / "mlflow.log"
LOCK_FILE = HOME / "mlflow.lock"
"""Locked by the process that watches the server; holds its process id."""
CREDENTIALS_FILE = Path("~/.mlflow/credentials").expanduser()
"""Where MLflow's clients look for user and password by themselves."""
USER = "admin"
START_SECONDS = 180.0
RESTART_SECONDS = 2.0
SETTINGS = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/mlflow_users.db
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def start(file: Path) -> str | None:
    """Start a cluster's MLflow server in the background, in place of one that runs already.

    Args:
        file: The cluster file, on the head.

    Returns:
        Its address; None where the file wants none.

    Raises:
        UserError: If it does not answer in time.
    """
    cluster = load_cluster(file)
    if cluster.settings.mlflow is None:
        return None
    HOME.mkdir(mode=0o700, exist_ok=True)
    _end_running()
    address = f"http://{_own_address()}:{cluster.settings.mlflow.port}"
    began = LOG_FILE.stat().st_size if LOG_FILE.exists() else 0
    process = detached.start("neft_ray.launch.head", str(file.resolve()), log_file=LOG_FILE)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            told = LOG_FILE.read_bytes()[began:].decode(errors="replace").splitlines()
            why = ([line for line in told if "Error" in line] or told or [""])[-1].strip()
            raise bad_input(address, f"MLflow does not start: {why}", f"see {LOG_FILE}")
        time.sleep(0.5)
    STATE_FILE.write_text(json.dumps({"uri": address, "pid": process.pid}))
    return address


def stop() -> None:
    """End the server, if one runs."""
    if HOME.exists():
        _end_running()
        STATE_FILE.unlink(missing_ok=True)


def watch(file: Path) -> None:
    """Run the server, again whenever it ends, until this process is asked to end."""
    command = _command(load_cluster(file))
    with LOCK_FILE.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        while True:
            server = subprocess.Popen(command.argv, env=command.environment, cwd=HOME)
            try:
                server.wait()
            finally:
                server.terminate()
                server.wait()
            time.sleep(RESTART_SECONDS)


def _command(cluster: ClusterFile) -> Command:
    """Return what serves a cluster's runs; every secret in its environment, none on its line."""
    settings = cluster.settings.mlflow
    assert settings is not None
    database = None if settings.database == SQLITE else settings.database
    address = Address.of(database, HOME)
    artifacts = f"{cluster.settings.storage.rstrip('/')}/mlartifacts"
    command = ui_command(address, settings.port, _own_address(), artifacts)
    config = HOME / "mlflow_auth.ini"
    config.write_text(SETTINGS.format(folder=HOME, user=USER))
    secret = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": _password(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
    }
    argv = [*command.argv, "--app-name", "basic-auth"]
    return Command(argv, {**command.environment, **secret})


def _password() -> str:
    """Return the server's password, made where there is none yet, for its user's eyes only."""
    credentials = configparser.ConfigParser()
    if not credentials.read(CREDENTIALS_FILE):
        word = secrets.token_urlsafe(24)
        values = {"mlflow_tracking_username": USER, "mlflow_tracking_password": word}
        credentials["mlflow"] = values
        CREDENTIALS_FILE.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(CREDENTIALS_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            credentials.write(file)
    return credentials["mlflow"]["mlflow_tracking_password"]


def _end_running() -> None:
    """End a server that an earlier `ray up` started, whose settings may be others."""
    with LOCK_FILE.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            os.kill(int(lock.read()), signal.SIGTERM)
            fcntl.flock(lock, fcntl.LOCK_EX)


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=5).ok
    except requests.RequestException:
        return False


def _own_address() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
