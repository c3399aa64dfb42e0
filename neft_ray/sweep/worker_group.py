"""A Ray Train worker group that outlives its trials: a TorchTrainer in a thread, fed by mailbox."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, UserCallback
from ray.util.placement_group import (
    PlacementGroup,
    PlacementGroupID,
    placement_group_table,
    remove_placement_group,
)

from neft_ray.config.workers import WorkersConfig
from neft_ray.order import Order
from neft_ray.run_directory import CANCEL_FILE, RunDirectory
from neft_ray.run_in_bucket import WORKER_FILES
from neft_ray.sweep.cluster import draining_nodes
from neft_ray.sweep.happened import Happened
from neft_ray.sweep.mailbox import Mailbox
from neft_ray.sweep.sizing import Sizing
from neft_ray.sweep.trainer import SlotTrainer
from neft_ray.sweep.workers import actor_here, scaling_config, secrets, torch_config
from neft_ray.working_copy import matching, pull

CLOSE_TIMEOUT_SECONDS = 60.0


class WorkerGroupError(RuntimeError):
    """The worker group ended although it was not asked to, or does not end although it was."""


class _Lost(UserCallback):  # type: ignore[misc]
    """Tells a mailbox that its workers died, before Ray Train starts others."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Tell it which of them, and why."""
        rank, error = min(worker_exceptions.items())
        first = (str(error).strip().splitlines() or [""])[0]
        ray.get(self._mailbox.lost.remote(f"worker {rank}: {type(error).__name__}: {first}"))


def new_mailbox(warm: bool = True) -> Any:
    """Start the actor that a worker group takes its trials from, on this process's own node."""
    return actor_here(Mailbox, warm, secrets())


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

    There are processes while the mailbox wants any: those that die are started again by Ray Train,
    as often as it takes, and those that were sent home by `next`.
    """

    def __init__(
        self, workers: WorkersConfig, run_root: Path, mailbox: Any, marker: int = 1
    ) -> None:
        """Prepare to start processes.

        Args:
            workers: How many, and with what.
            run_root: The run directory, as the driver sees it.
            mailbox: Made by `new_mailbox`.
            marker: The bytes of memory that each worker asks for, by which
                `remove_placement_groups` knows what a killed slot has left behind.
        """
        self._workers, self._run, self._marker = workers, RunDirectory(run_root), marker
        self._mailbox = mailbox
        self._acknowledged = 0
        self._sizing: Sizing | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        ray.get(mailbox.lost.remote("its slot died"))  # those of a slot before this one

    def next(self) -> Happened:
        """Wait for what happens next; then the trial's files here are those of its workers.

        While the stop file exists, the trial is asked to stop; a file in its folder cancels it; a
        machine that is taken away is left.

        Raises:
            WorkerGroupError: If the processes ended by themselves.
        """
        self._attend()
        pending = self._mailbox.next_happened.remote(self._acknowledged)
        while not ray.wait([pending], timeout=1.0)[0]:
            self._attend()
        happened: Happened = ray.get(pending)
        self._acknowledged = happened.id
        if happened.trial >= 0:
            pull(self._run.trial(happened.trial), matching(*WORKER_FILES))
        return happened

    def run(self, order: Order) -> Iterator[Happened]:
        """Run one trial, on one set of workers after another if need be; yield what happens."""
        while (happened := self.next()).kind != "end":
            if happened.is_idle:
                ray.get(self._mailbox.post.remote(order.fields))
            if happened.trial == order.number:
                yield happened
        yield happened

    def answer(self, happened: Happened, stops: bool) -> None:
        """Tell the workers that wait on a report whether the trial stops."""
        self._mailbox.decide.remote(happened.id, stops)

    def is_over(self) -> bool:
        """Whether there will be no more trials, and nothing more to say of earlier ones."""
        return bool(ray.get(self._mailbox.is_over.remote(self._acknowledged)))

    def close(self) -> None:
        """Stop the present trial, end the processes and give their resources back.

        Raises:
            WorkerGroupError: If they do not end in time.
        """
        ray.get(self._mailbox.stop.remote())
        ray.get(self._mailbox.close.remote())
        self.join()

    def join(self) -> None:
        """Wait for the processes to end, which were sent home; what waits for some may go on.

        Raises:
            WorkerGroupError: If they do not end in time.
        """
        if self._thread is not None and ray.get(self._mailbox.standing.remote()).nodes:
            self._thread.join(CLOSE_TIMEOUT_SECONDS)
            if self._thread.is_alive():
                raise WorkerGroupError(f"workers still run after {CLOSE_TIMEOUT_SECONDS:.0f} s")
        self._thread = None

    def _attend(self) -> None:
        """See to it that there are processes where they are wanted, and pass wishes on."""
        standing = ray.get(self._mailbox.standing.remote())
        if standing.is_closed and self._thread is not None:
            if standing.nodes:
                self.join()
            elif not self._thread.is_alive():
                self._thread = None
        if self._thread is None or standing.is_closed:
            if standing.is_wanted:
                self._start()
            elif self._thread is not None:  # what it waits for, nobody wants any more
                remove_placement_groups([self._marker])
        elif not self._thread.is_alive():
            raise WorkerGroupError("the worker group is gone") from self._error
        elif self._run.stop_file.exists():
            self._mailbox.stop.remote()
        elif not standing.nodes.isdisjoint(draining_nodes()):
            self._mailbox.move.remote("its machine is taken away")
        elif standing.trial is not None and self._is_cancelled(standing.trial):
            self._mailbox.cancel.remote(standing.trial)

    def _is_cancelled(self, number: int) -> bool:
        return (self._run.trial(number) / CANCEL_FILE).exists()

    def _start(self) -> None:
        """Start the processes in the background, or let what waits for them go on waiting."""
        ray.get(self._mailbox.reopen.remote())
        if self._thread is None:
            self._thread = threading.Thread(target=self._fit, args=(self._trainer(),), daemon=True)
            self._thread.start()

    def _trainer(self) -> SlotTrainer:
        workers = self._workers
        trainer = SlotTrainer(
            _run,
            train_loop_config={
                "mailbox": self._mailbox,
                "cpus": workers.cpus,
                "patience_seconds": workers.timeout_seconds / 2,
            },
            torch_config=torch_config(workers),
            scaling_config=scaling_config(workers, {"memory": float(self._marker)}),
            run_config=RunConfig(
                name=f"slot-{uuid.uuid4().hex[:8]}",
                storage_path=str(self._run.scratch),
                failure_config=FailureConfig(max_failures=-1),
                callbacks=[_Lost(self._mailbox)],
            ),
        )
        expected = 0 if self._sizing is None else self._sizing.next_size
        self._sizing = Sizing(trainer.scaling_config, workers, self._mailbox, expected)
        trainer.policy = self._sizing
        return trainer

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
def group_for(workers: WorkersConfig, run_root: Path) -> Iterator[WorkerGroup]:
    """Have a worker group without Tune that ends with the `with` block."""
    mailbox = new_mailbox()
    ray.get(mailbox.wake.remote())
    group = WorkerGroup(workers, run_root, mailbox)
    try:
        yield group
    finally:
        group.close()
