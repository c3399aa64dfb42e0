"""A Ray Train worker group that outlives its trials: a TorchTrainer in a thread, fed by mailbox."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig
from ray.util.placement_group import (
    PlacementGroup,
    PlacementGroupID,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from neft_ray.config.trial import WorkersConfig
from neft_ray.order import Order
from neft_ray.run_directory import CANCEL_FILE, RunDirectory
from neft_ray.run_in_bucket import WORKER_FILES
from neft_ray.sweep.mailbox import Happened, Mailbox
from neft_ray.sweep.trainer import SlotTrainer
from neft_ray.working_copy import matching, pull

CLOSE_TIMEOUT_SECONDS = 60.0
SECRETS = ("HF_TOKEN",)
"""Variables that workers are told by their mailbox: Ray shows those of a job to whoever looks."""


class WorkerGroupError(RuntimeError):
    """The worker group ended although it was not asked to, or does not end although it was."""


def new_mailbox(max_failures: int, warm: bool = True) -> Any:
    """Start the actor that a worker group takes its trials from, on this process's own node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox)
    secrets = {name: os.environ[name] for name in SECRETS if name in os.environ}
    mailbox = actor.remote(max_failures, warm, secrets)
    mailbox.open.remote()
    return mailbox


def remove_placement_groups(markers: Collection[int]) -> None:
    """Remove the placement groups of workers that were started with one of the markers.

    That of a slot that was killed would hold its resources until the whole job ends. Ray Train's
    own clean-up, which a slot does without, knows it only once all its workers have started.
    """
    for hex_id, entry in placement_group_table().items():
        bundles = entry["bundles"].values()
        if entry["state"] != "REMOVED" and any(b.get("memory") in markers for b in bundles):
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(hex_id))))


class WorkerGroup:
    """Runs the trials that are posted to a mailbox, one after another on the same processes.

    Crashed workers are started again by Ray Train, as often as it takes; the mailbox counts the
    crashes of each trial.
    """

    def __init__(
        self, workers: WorkersConfig, run_root: Path, mailbox: Any, marker: int = 1
    ) -> None:
        """Start the processes in the background.

        Args:
            workers: How many, and with what.
            run_root: The run directory, as the driver sees it.
            mailbox: Made by `new_mailbox`.
            marker: The bytes of memory that each worker asks for, by which
                `remove_placement_groups` knows what a killed slot has left behind.
        """
        self._run = RunDirectory(run_root)
        self._mailbox = mailbox
        self._acknowledged = 0
        resources = {"CPU": float(workers.cpus), "memory": float(marker)}
        if workers.gpus:
            resources["GPU"] = workers.gpus
        trainer = SlotTrainer(
            _run,
            train_loop_config={
                "mailbox": mailbox,
                "cpus": workers.cpus,
                "num_workers": workers.num,
            },
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if workers.gpus else "gloo",
                timeout_s=workers.timeout_seconds,
            ),
            scaling_config=ScalingConfig(
                num_workers=workers.num,
                use_gpu=workers.gpus > 0,
                resources_per_worker=resources,
            ),
            run_config=RunConfig(
                name=f"slot-{uuid.uuid4().hex[:8]}",
                storage_path=str(self._run.scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        self._error: BaseException | None = None
        ray.get(mailbox.reopen.remote())
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def next(self) -> Happened:
        """Wait for what happens next; then the trial's files here are those of its workers.

        While the stop file exists, the trial is asked to stop; a file in its folder cancels it.

        Raises:
            WorkerGroupError: If the group ended by itself.
        """
        pending = self._mailbox.next_happened.remote(self._acknowledged)
        while not ray.wait([pending], timeout=1.0)[0]:
            if not self._thread.is_alive():
                raise WorkerGroupError("the worker group is gone") from self._error
            self._pass_on_wishes()
        happened: Happened = ray.get(pending)
        self._acknowledged = happened.id
        if happened.trial >= 0:
            pull(self._run.trial(happened.trial), matching(*WORKER_FILES))
        return happened

    def answer(self, happened: Happened, stops: bool) -> None:
        """Tell the workers that wait on a report whether the trial stops."""
        self._mailbox.decide.remote(happened.id, stops)

    def is_sent_home(self) -> bool:
        """Whether the processes are ending, as asked."""
        return bool(ray.get(self._mailbox.is_closed.remote()))

    def close(self) -> None:
        """Stop the present trial, end the processes and give their resources back.

        Raises:
            WorkerGroupError: If they do not end in time.
        """
        ray.get(self._mailbox.stop.remote())
        ray.get(self._mailbox.close.remote())
        self.join()

    def join(self) -> None:
        """Wait for the processes to end, which were sent home.

        Raises:
            WorkerGroupError: If they do not end in time.
        """
        self._thread.join(CLOSE_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            raise WorkerGroupError(f"workers still run after {CLOSE_TIMEOUT_SECONDS:.0f} s")

    def _pass_on_wishes(self) -> None:
        if self._run.stop_file.exists():
            self._mailbox.stop.remote()
        number = ray.get(self._mailbox.present.remote())
        if number is not None and (self._run.trial(number) / CANCEL_FILE).exists():
            self._mailbox.cancel.remote(number)

    def _fit(self, trainer: SlotTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:  # told to whoever waits in next()
            self._error = error


def _run(options: dict[str, Any]) -> None:
    """Run trials; only the workers load what trains, not whoever starts them."""
    from neft_ray.worker import run

    run(options)


@contextmanager
def group_for(
    order: Order, workers: WorkersConfig, run_root: Path, max_failures: int
) -> Iterator[WorkerGroup]:
    """Run one trial, without Tune, on a worker group that ends with the `with` block."""
    mailbox = new_mailbox(max_failures)
    ray.get(mailbox.post.remote(order.fields))
    group = WorkerGroup(workers, run_root, mailbox)
    try:
        yield group
    finally:
        group.close()
