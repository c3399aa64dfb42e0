"""Where MLflow is: its address from the settings, without secrets for people, and its UI."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from neft_ray.errors import bad_input

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")

_UNREADABLE = re.compile(r"\?|%[0-9a-fA-F]{2}")
"""In a path: begins a query in its address, or is decoded there."""


@dataclass(frozen=True)
class Address:
    """A tracking server or database."""

    uri: str
    """As MLflow wants it; it may hold a password, so show `str(address)` instead."""
    storage: Path
    """The folder that holds every run."""

    @classmethod
    def of(cls, uri: str | None, storage: Path) -> Address:
        """Return the address that the settings mean.

        Args:
            uri: `http(s)://…`, a database, or None for a sqlite file in `storage`.
            storage: The folder that holds every run.

        Raises:
            UserError: If MLflow cannot write there.
        """
        storage = storage.resolve()
        if uri is None and (odd := _UNREADABLE.search(str(storage))):
            what = f"`{odd[0]}` means something else in the address of a sqlite file"
            raise bad_input(storage, what, "choose another storage folder, or write mlflow.uri")
        default = f"sqlite:///{storage / 'mlflow.db'}"
        address = cls(uri or default, storage)
        if address.kind not in (*SERVERS, *DATABASES):
            what = f"{address} is neither a server nor a database"
            known = ", ".join(f"{kind}:" for kind in (*SERVERS, *DATABASES))
            raise bad_input("mlflow.uri", what, f"use null for {default}, or one of {known}")
        return address

    @property
    def kind(self) -> str:
        """The scheme without a driver, such as `http` or `postgresql`."""
        return urlsplit(self.uri).scheme.partition("+")[0]

    @property
    def is_database(self) -> bool:
        """Whether MLflow writes to a database itself instead of asking a server."""
        return self.kind in DATABASES

    @property
    def artifacts(self) -> Path:
        """The folder for files beside a database; a server has its own."""
        return self.storage / "mlartifacts"

    def __str__(self) -> str:
        """Return the address without user and password."""
        return self.without_secrets(self.uri)

    def without_secrets(self, text: str) -> str:
        """Return a text, such as an error, with user and passwords masked."""
        parts = urlsplit(self.uri)
        user, _, _ = parts.netloc.rpartition("@")
        _, _, password = user.partition(":")
        options = (option.partition("=") for option in parts.query.split("&"))
        others = [value for key, _, value in options if "password" in key.lower()]
        for secret in filter(None, (user, password, *others)):
            text = text.replace(secret, "***").replace(unquote(secret), "***")
        return text


@dataclass(frozen=True)
class Command:
    """A process to start."""

    argv: list[str]
    environment: dict[str, str]


def ui_command(
    address: Address, port: int, host: str = "127.0.0.1", artifacts: str | None = None
) -> Command:
    """Return the command that serves MLflow and its UI for a database.

    The database is named in the environment: its password would be seen in `ps`.

    Args:
        address: A database.
        port: A free one.
        host: The address to bind to; loopback unless told.
        artifacts: Where files lie, a folder or a bucket; None: beside the database.

    Raises:
        UserError: If the address is a server, which has a UI of its own.
    """
    if not address.is_database:
        raise bad_input(address, "is a server with a UI of its own", "open it in a browser")
    argv = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    argv += ["--workers", "1", "--artifacts-destination", artifacts or str(address.artifacts)]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": address.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for features unused here
    }
    if address.kind == "sqlite":
        # Its pool of 15 connections gives up on a request after 30 seconds while others hold them
        # and wait for the file's lock; without a pool they wait for the lock alone.
        settings["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
    return Command(argv, {**os.environ, **settings})
