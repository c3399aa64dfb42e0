"""A run directory: where everything a sweep leaves behind lies, and who owns it right now."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray import __version__
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import UserError, bad_input
from neft_ray.files import write_whole
from neft_ray.run_in_bucket import JOURNAL_FILE, driven, fetch_manifests, fetch_run
from neft_ray.working_copy import here

CANCEL_FILE = "cancel"
"""Put into a trial's folder, it ends the trial within a step."""


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's name, `<sweep name>-<time>`."""
        return self.root.name

    @property
    def config_file(self) -> Path:
        """The resolved sweep file."""
        return self.root / "sweep.yaml"

    @property
    def manifest_file(self) -> Path:
        """Versions, MLflow ids and the data's hash."""
        return self.root / "manifest.json"

    @property
    def journal_file(self) -> Path:
        """Every suggestion, report, decision and end, in order."""
        return self.root / JOURNAL_FILE

    @property
    def log_file(self) -> Path:
        """What Ray and the driver have to say."""
        return self.root / "driver.log"

    @property
    def owner_file(self) -> Path:
        """Locked by the driver for as long as it lives; holds its process id."""
        return self.root / "driver.lock"

    @property
    def copied_from_file(self) -> Path:
        """Where a copy comes from, a cluster's head; only copies have it."""
        return self.root / "copied_from.json"

    @property
    def stop_file(self) -> Path:
        """While it exists, trials stop within a step and the sweep ends, to be resumed."""
        return self.root / "stop"

    @property
    def scratch(self) -> Path:
        """Ray's own files; of no use once the sweep has ended."""
        return self.root / "ray"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report"

    @property
    def best_model(self) -> Path:
        """The best model, a Hugging Face folder."""
        return self.root / "best_model"

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.root / "trials" / trial_name(number)

    def checkpoints(self, number: int) -> Path:
        """The folder of a trial's checkpoints."""
        return self.trial(number) / "checkpoints"

    def origin(self, number: int) -> Path:
        """The folder with the checkpoint that a trial began from, if that is another trial's."""
        return self.trial(number) / "origin"

    def trial_config(self, number: int) -> TrialConfig:
        """The whole configuration of a trial that was started."""
        return TrialConfig.model_validate_json((self.trial(number) / "config.json").read_bytes())

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, read anew.

        Raises:
            UserError: If it is damaged.
        """
        try:
            return json.loads(self.manifest_file.read_text())  # type: ignore[no-any-return]
        except ValueError as error:
            remedy = "move this run directory away, or restore the file"
            raise bad_input(self.manifest_file, f"is damaged ({error})", remedy) from error

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest, all or nothing.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        write_whole(self.manifest_file, json.dumps(manifest, indent=2))

    @property
    def owner_pid(self) -> int | None:
        """The driver's process id, or None if no driver works on this run."""
        try:
            with self.owner_file.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or 0)
        except FileNotFoundError:
            pass
        return None

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Own the run for the duration of a `with` block; the system lets go if we die.

        Raises:
            UserError: If another driver owns it.
        """
        with self._locked(), driven(self.root):
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.owner_file.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                what = f"process {file.read()} is working on this run"
                remedy = "wait for it, or end it with `neft-ray stop`"
                raise bad_input(self.root, what, remedy) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def trial_name(number: int) -> str:
    """Return a trial's id, such as `t007`."""
    return f"t{number:03d}"


def create_run(storage: Path, sweep_name: str, name: str | None = None) -> RunDirectory:
    """Make a new run directory.

    Args:
        storage: The folder that holds every run.
        sweep_name: The sweep's name.
        name: The folder's name; None: `<sweep name>-<time>`.

    Raises:
        UserError: If the storage folder cannot be written, or has a run of that name.
    """
    stamp = f"{sweep_name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        for each in (name,) if name else (stamp, *(f"{stamp}-{n}" for n in range(2, 100))):
            root = storage / each
            try:
                root.mkdir(parents=True)
            except FileExistsError:
                if not root.is_dir():
                    raise
                continue
            run = RunDirectory(root.resolve())
            run.write_manifest({"neft_ray_version": __version__, "created": time.time()})
            return run
    except OSError as error:
        raise bad_input(storage, f"cannot be written ({error})", "choose another storage") from None
    if name:
        raise bad_input(storage / name, "is there already", "choose another --run-name")
    raise bad_input(storage, "has a hundred runs of this second", "wait a moment")


def find_runs(storage: Path) -> list[RunDirectory]:
    """Return the runs in a storage folder, oldest first; damaged ones before all others."""

    def age(run: RunDirectory) -> tuple[float, str]:
        try:
            return float(run.manifest.get("created", 0)), run.name
        except UserError:
            return 0.0, run.name

    fetch_manifests(storage)
    found = [RunDirectory(path.parent.resolve()) for path in storage.glob("*/manifest.json")]
    return sorted(found, key=age)


def find_run(reference: str, storage: Path) -> RunDirectory:
    """Return the run meant by a path, a bucket's URI, a name in `storage`, or `latest`.

    Of one in a bucket, this machine then has all but checkpoints.

    Raises:
        UserError: If there is none, or it was written by an incompatible version.
    """
    if reference == "latest":
        runs = find_runs(storage)
        if not runs:
            raise bad_input(storage, "has no runs", "start one with `neft-ray sweep`")
        _fetch(runs[-1].root)
        _refuse_other_version(runs[-1])
        return runs[-1]
    for candidate in (here(reference), storage / reference):
        _fetch(candidate)
        if (candidate / "manifest.json").is_file():
            run = RunDirectory(candidate.resolve())
            _refuse_other_version(run)
            return run
    names = ", ".join(run.name for run in find_runs(storage)[-5:]) or "none"
    raise bad_input(reference, "no such run", f"runs in {storage}: {names}")


def _fetch(root: Path) -> None:
    """Bring a run of a bucket up to date, unless a driver of this machine is what makes it so."""
    if RunDirectory(root).owner_pid is None:
        fetch_run(root)


def _refuse_other_version(run: RunDirectory) -> None:
    written = str(run.manifest.get("neft_ray_version"))
    if written.split(".")[:2] != __version__.split(".")[:2]:
        remedy = f"use neft-ray {written}, or start a new run"
        what = f"was written by neft-ray {written}, this is {__version__}"
        raise bad_input(run.root, what, remedy)
