"""A sweep on its way to a cluster: the settings it is given there, and the files it takes along."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.cluster import ClusterSettings
from neft_ray.config.load import load_sweep, text_of
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import Problem, UserError
from neft_ray.launch.ssh import Head
from neft_ray.run_directory import RunDirectory

SWEEP_FILE = "sweep.yaml"
MAX_BYTES = 500 * 2**20
"""Of all files that travel: Ray keeps them in the head's memory."""
PATH_KEYS = ("model.path", "data.train", "data.held_out")
"""Settings that may name a file or a folder, beside the list `EXCLUDED`."""
EXCLUDED = "data.exclude"


@dataclass(frozen=True)
class Submission:
    """What is to run on a cluster.

    Attributes:
        kind: `sweep` or `train`.
        config: The sweep, as it will be read there.
        text: The sweep file.
        overrides: Settings that replace those of the file.
        run_name: Of the run directory, which is also the job's name.
        resumes: The run directory to go on with, on the cluster; None for a new run.
        token_file: A file on the head with the token of the model hub.
    """

    kind: str
    config: SweepConfig
    text: str
    overrides: tuple[str, ...]
    run_name: str
    resumes: str | None = None
    token_file: str | None = None

    @property
    def place(self) -> str:
        """Where the run lies: a folder of the cluster, or a bucket's URI."""
        return f"{self.config.storage.rstrip('/')}/{self.run_name}"

    @property
    def command(self) -> str:
        """What the head runs, in the folder that travelled."""
        arguments = [self.kind, SWEEP_FILE]
        arguments += [part for setting in self.overrides for part in ("--set", setting)]
        if self.token_file is not None:
            arguments += ["--hub-token-file", self.token_file]
        arguments += ["--resume", self.resumes] if self.resumes else ["--run-name", self.run_name]
        return shlex.join(["python", "-m", "neft_ray.cli", *arguments])


def compose(
    kind: str,
    file: Path,
    overrides: tuple[str, ...],
    settings: ClusterSettings,
    mlflow_uri: str | None,
) -> Submission:
    """Return a new run of a sweep file that was written for one machine or for many.

    Args:
        kind: `sweep` or `train`.
        file: The sweep file.
        overrides: Settings that replace those of the file.
        settings: Of the cluster: it adds where runs lie, and its MLflow, if the file names none.
        mlflow_uri: The cluster's MLflow server.

    Raises:
        UserError: With every problem of the file.
    """
    config = load_sweep(file, overrides)
    added = []
    if not config.is_stored_for_all:
        added.append(f"storage={settings.storage}")
    if config.mlflow.uri is None and mlflow_uri is not None:
        added.append(f"mlflow.uri={mlflow_uri}")
    overrides = (*overrides, *added)
    text, config = text_of(file, "a sweep file"), load_sweep(file, overrides)
    return Submission(kind, config, text, overrides, new_name(config.name))


def go_on(
    kind: str, file: Path | None, overrides: tuple[str, ...], copy: RunDirectory
) -> Submission:
    """Return what goes on with a run of a cluster.

    Args:
        kind: `sweep` or `train`.
        file: The sweep file, where it changed; None to go on as before.
        overrides: Settings that replace those of the file.
        copy: Of the run, as it is now.

    Raises:
        UserError: With every problem of the file.
    """
    file = file or copy.config_file
    text, config = text_of(file, "a sweep file"), load_sweep(file, overrides)
    root = json.loads(copy.copied_from_file.read_text())["root"]
    return Submission(kind, config, text, overrides, copy.name, root)


def mlflow_uri(head: Head) -> str | None:
    """Return the address of the MLflow server that a head runs; None where it runs none."""
    told = head.run("cat ~/.neft_ray/mlflow.json 2>/dev/null || true")
    return str(json.loads(told)["uri"]) if told.strip() else None


def new_name(sweep_name: str) -> str:
    """Return a name that no other run has, of whoever shares the cluster."""
    return f"{sweep_name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def pack(config: SweepConfig, folder: Path) -> None:
    """Copy the files that a sweep names by a relative path; whole paths are the cluster's own.

    Raises:
        UserError: If one of them lies outside of the present folder, or all are too large.
    """
    problems: list[Problem] = []
    num_bytes = 0
    for key, path in _relative_paths(config):
        if ".." in path.parts:
            what = f"{path} lies outside of the folder where this is typed"
            problems.append(Problem(key, what, "type it in a folder above, or write a whole path"))
            continue
        num_bytes += sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
        if num_bytes > MAX_BYTES:
            what = f"with {path} more than {MAX_BYTES // 2**20} MiB would travel with the job"
            remedy = "copy it to where the cluster's machines see it, and write its whole path"
            problems.append(Problem(key, what, remedy))
            break
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
    if problems:
        raise UserError(problems)


def hub_names(config: SweepConfig) -> list[str]:
    """Return the models and data sets that a sweep takes from the hub."""
    return [
        value
        for _, value in _named(config)
        if not (value.startswith(("builtin:", "/")) or Path(value).exists())
    ]


def _relative_paths(config: SweepConfig) -> Iterator[tuple[str, Path]]:
    for key, value in _named(config):
        path = Path(value)
        if not path.is_absolute() and path.exists():
            yield key, path


def _named(config: SweepConfig) -> Iterator[tuple[str, str]]:
    """Yield what a sweep names that lies somewhere, each with its key."""
    for key in PATH_KEYS:
        for value in sorted(str(value) for value in config.values_of(key) if value is not None):
            yield key, value
    for value in config.data.exclude:
        yield EXCLUDED, value
