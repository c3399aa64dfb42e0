"""A session: a configuration that has been checked against its model, its data and MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.load import dump_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import Problem, UserError, bad_input
from neft_ray.files import write_whole
from neft_ray.model import check_context, check_model, load_tokenizer
from neft_ray.pipeline.provenance import (
    ENVIRONMENT_FILE,
    code_version,
    dataset,
    environment,
    versions,
)
from neft_ray.plan import check_first_rung
from neft_ray.run_directory import RunDirectory, create_run
from neft_ray.strategy.checks import sweep_problems
from neft_ray.sweep.address import is_here
from neft_ray.sweep.driver import DataCache
from neft_ray.sweep.search.priors import known_before
from neft_ray.tracking.cards import Dataset
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.working_copy import here


@dataclass(frozen=True)
class Session:
    """A checked configuration with all it needs to start."""

    config: SweepConfig
    data: DataCache
    store: MlflowStore

    @classmethod
    def open(cls, config: SweepConfig, address: str | None = None) -> Session:
        """Check machine, model, data and MLflow, before anything is created or started.

        Args:
            config: The sweep.
            address: The cluster on which it is going to run, see `sweep/address.py`.

        Raises:
            UserError: With every problem of them together.
        """
        storage = here(config.storage)
        problems: list[Problem] = []
        try:
            data = open_data(config, address)
        except UserError as error:
            problems += error.problems
        try:
            store = MlflowStore(config.mlflow.uri, storage, config.mlflow.experiment or config.name)
        except UserError as error:
            problems += error.problems
        if problems:
            raise UserError(problems)
        return cls(config, data, store)

    def check_data(self, run: RunDirectory) -> None:
        """Refuse to go on with other rows than the run was started with.

        Raises:
            UserError: If the content of the data has changed.
        """
        before = run.manifest["data"]["content_hash"]
        now = self.data.data(self.config.trial).summary["content_hash"]
        if now != before:
            what = f"its data had the hash {before} when the run started, has {now} now"
            raise bad_input(run.root, what, "restore the files, or start a new run")

    def create(
        self, kind: str, name: str | None = None, stand_in: Sequence[str] = ()
    ) -> RunDirectory:
        """Make the run directory with the resolved configuration and all versions.

        Args:
            kind: `sweep` or `train`.
            name: The folder's name; None: the sweep's with the time.
            stand_in: What differs from the sweep that this one stands for, if it does.

        Raises:
            UserError: If it cannot be made, or a sweep would never compare its trials, or is to
                learn from what is no run.
        """
        if kind == "sweep":
            check_first_rung(self.config, *self.data.lengths(self.config.trial))
            known_before(self.config, list(self.config.sweep.arms))
        run = create_run(here(self.config.storage), self.config.name, name)
        write_whole(run.config_file, dump_sweep(self.config))
        summary = self.data.data(self.config.trial).summary
        run.write_manifest(
            run.manifest
            | {
                "kind": kind,
                "data": summary,
                "versions": versions(),
                "code": code_version(Path.cwd()),
            }
            | ({"stand_in": list(stand_in)} if stand_in else {})
        )
        write_whole(run.root / ENVIRONMENT_FILE, environment())
        return run

    def dataset(self, trial: TrialConfig) -> Dataset:
        """Return the data of a trial as MLflow records a dataset."""
        return dataset(trial.data, self.data.data(trial).summary)


def open_data(config: SweepConfig, address: str | None = None) -> DataCache:
    """Check machine, model and data, and tokenize what is not in the storage's cache yet.

    Args:
        config: The sweep.
        address: The cluster on which it is going to run. What this machine lacks is a problem only
            if it is this machine; elsewhere a worker says so when it starts.

    Raises:
        UserError: If they cannot be used.
    """
    if is_here(address) and (problems := sweep_problems(config)):
        raise UserError(problems)
    data = DataCache(here(config.storage).resolve() / "cache")
    described = check_model(config.model, load_tokenizer(config.model))
    data.num_steps(config.trial)
    check_context(config.model, described, data.data(config.trial).summary["longest_tokens"])
    return data
