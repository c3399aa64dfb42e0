"""The driver: one Tuner that runs a sweep's trials in warm slots, from its journal."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ray import tune

from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.data.prepare import prepare
from neft_ray.data.tokenized import TokenizedData
from neft_ray.files import write_whole
from neft_ray.journal import TrialRecord
from neft_ray.model import load_tokenizer
from neft_ray.order import Order
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.cluster import Cluster
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.dispatch import Calls, Dispatcher, Finished
from neft_ray.sweep.retention import Retention
from neft_ray.sweep.roster import Roster
from neft_ray.sweep.slot import Slot
from neft_ray.sweep.slots import Slots
from neft_ray.sweep.worker_group import new_mailbox, remove_placement_groups
from neft_ray.train import stored
from neft_ray.train.loop import num_steps, tokens_trained
from neft_ray.working_copy import place_of

SLOT_RESTARTS = 20
"""How often Tune starts a slot again before it gives it up."""
REST_SECONDS = 60.0
"""How long a slot keeps idle workers on a cluster that others use too, or that costs less then."""


class Observer(Protocol):
    """Is told what happens, as it happens, in the driver's thread."""

    def started(self, record: TrialRecord, config: TrialConfig, folder: Path) -> None:
        """A trial starts or goes on."""

    def reported(self, record: TrialRecord) -> None:
        """A trial was evaluated."""

    def ended(self, record: TrialRecord, folder: Path) -> None:
        """A trial is over."""


class DataCache:
    """The tokenized data of every data configuration in a sweep, made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Path, TokenizedData]] = {}

    def folder(self, config: TrialConfig) -> Path:
        """Return where the data of a trial lies."""
        return self._get(config)[0]

    def data(self, config: TrialConfig) -> TokenizedData:
        """Return the data of a trial."""
        return self._get(config)[1]

    def num_steps(self, config: TrialConfig) -> int:
        """Return the optimizer steps of a whole trial."""
        return num_steps(self.data(config), config)

    def num_tokens(self, config: TrialConfig) -> int:
        """Return the tokens that a whole trial trains on."""
        return tokens_trained(self.data(config), config, self.num_steps(config))

    def lengths(self, config: TrialConfig) -> tuple[int, int]:
        """Return the optimizer steps of a whole trial and the tokens that it trains on."""
        return self.num_steps(config), self.num_tokens(config)

    def _get(self, config: TrialConfig) -> tuple[Path, TokenizedData]:
        key = config.model.base.model_dump_json() + config.data.model_dump_json()
        if key not in self._known:
            tokenizer = load_tokenizer(config.model)
            folder = prepare(config.data, tokenizer, config.model.path, self._folder)
            self._known[key] = (folder, TokenizedData.load(folder))
        return self._known[key]


@dataclass
class Driver:
    """Everything one sweep's run consists of in this process."""

    config: SweepConfig
    run: RunDirectory
    conductor: Conductor
    data: DataCache
    observer: Observer

    def fit(self, cluster: Cluster) -> bool:
        """Run the sweep on a connected cluster and return whether it came to its end.

        Raises:
            UserError: If a trial does not fit the cluster.
        """
        search = self.config.sweep
        num_slots = cluster.num_slots(self.config.workers, search.slots)
        num_slots = min(num_slots, self.conductor.most_at_once)
        settings = {
            "run_root": str(self.run.root),
            "workers": self.config.workers.model_dump_json(),
            "node": cluster.node,
        }
        mailboxes = [new_mailbox(search.warm) for _ in range(num_slots)]
        slots = Slots(mailboxes, settings)
        roster = Roster(mailboxes, None if cluster.is_own else REST_SECONDS)
        retention = Retention(
            self.run, self.conductor.records, search.keep_checkpoints, search.objective
        )
        calls = Calls(
            prepare=self._prepare,
            reported=self.observer.reported,
            ended=lambda record: self.observer.ended(record, self.run.trial(record.number)),
        )
        dispatcher = Dispatcher(
            self.conductor, slots, roster, retention, search.max_failures, calls
        )
        self.run.stop_file.unlink(missing_ok=True)
        self.conductor.open()
        dispatcher.start_trials()
        tuner = tune.Tuner(
            Slot,
            tune_config=tune.TuneConfig(
                search_alg=slots,
                scheduler=dispatcher,
                num_samples=-1,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.run.scratch),
                verbose=0,
                stop=Finished(dispatcher, slots, roster, self.conductor, self.run, search.budget),
                failure_config=tune.FailureConfig(max_failures=SLOT_RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        finally:
            remove_placement_groups(slots.markers)  # of slots that did not end by themselves
            self.run.stop_file.unlink(missing_ok=True)
            shutil.rmtree(self.run.scratch, ignore_errors=True)
        if dispatcher.error is not None:
            raise dispatcher.error
        return self.conductor.is_finished

    def _prepare(self, record: TrialRecord) -> Order:
        config = self.conductor.trial_config(record)
        rows = self.config.sweep.finalists.generated_rows
        order = prepare_order(self.run, record, config, self.data, self.observer, rows)
        if record.parent is None:
            return order
        origin = self.run.origin(record.number)
        stored.link(self.run.checkpoints(record.parent), record.parent_step, origin)
        origin_hash = self.run.trial_config(record.parent).config_hash
        return replace(order, origin=place_of(origin), origin_hash=origin_hash)


def prepare_order(
    run: RunDirectory,
    record: TrialRecord,
    config: TrialConfig,
    data: DataCache,
    observer: Observer,
    generated_rows: int,
) -> Order:
    """Make a trial's folder and return what a worker needs to know.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    folder = run.trial(record.number)
    write_whole(folder / "config.json", config.model_dump_json(indent=2))
    observer.started(record, config, folder)
    return Order(
        number=record.number,
        config_json=config.canonical_json,
        trial_folder=place_of(folder),
        data_folder=place_of(data.folder(config)),
        with_report=record.phase == "finalist",
        generated_rows=generated_rows if record.phase == "finalist" else 0,
    )


def open_driver(
    config: SweepConfig, run: RunDirectory, observer: Observer, data: DataCache
) -> Driver:
    """Return a driver that goes on where the run's journal ends.

    Args:
        config: The sweep.
        run: Its directory, owned by this process.
        observer: Is told what happens.
        data: The tokenized data.
    """
    return Driver(config, run, Conductor(config, run, data), data, observer)
