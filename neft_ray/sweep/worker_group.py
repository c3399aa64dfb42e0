"""A Ray Train worker group that outlives its trials: a TorchTrainer in a thread, fed by mailbox."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from neft_ray.config.trial import WorkersConfig
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.mailbox import Happened, Mailbox
from neft_ray.worker import Order, order_fields, run

CLOSE_TIMEOUT_SECONDS = 60.0


class WorkerGroupError(RuntimeError):
    """The worker group ended although it was not asked to."""


class WorkerGroup:
    """Runs trials one after another on the same processes.

    Crashed workers are started again by Ray Train, as often as it takes; the mailbox counts the
    crashes of each trial and gives it up after `max_failures`.
    """

    def __init__(self, workers: WorkersConfig, run_root: Path, max_failures: int) -> None:
        """Start the processes in the background.

        Args:
            workers: How many, and with what.
            run_root: The run directory, which all nodes see.
            max_failures: Crashes a trial survives.
        """
        directory = RunDirectory(run_root)
        self._stop_file = directory.stop_file
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).remote(max_failures)
        resources = {"CPU": float(workers.cpus)}
        if workers.gpus:
            resources["GPU"] = workers.gpus
        trainer = TorchTrainer(
            run,
            train_loop_config={"mailbox": self._mailbox, "cpus": workers.cpus},
            scaling_config=ScalingConfig(
                num_workers=workers.num,
                use_gpu=workers.gpus > 0,
                resources_per_worker=resources,
            ),
            run_config=RunConfig(
                name=f"slot-{uuid.uuid4().hex[:8]}",
                storage_path=str(directory.scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()
        self._running = False

    def start(self, order: Order) -> None:
        """Lay out a trial; the one before must be over."""
        ray.get(self._mailbox.post.remote(order_fields(order)))
        self._running = True

    def next(self) -> Happened:
        """Wait for the trial's next report, crash or end.

        While the stop file exists, the trial is asked to stop.

        Raises:
            WorkerGroupError: If the group ended by itself.
        """
        pending = self._mailbox.next_happened.remote()
        while not ray.wait([pending], timeout=1.0)[0]:
            if not self._thread.is_alive():
                raise WorkerGroupError("the worker group is gone") from self._error
            if self._stop_file.exists():
                ray.get(self._mailbox.stop.remote())
        happened: Happened = ray.get(pending)
        self._running = happened.kind != "end"
        return happened

    def go_on(self, report: Happened) -> None:
        """Let the workers that wait on a report continue."""
        ray.get(self._mailbox.decide.remote(report.report_id, False))

    def stop(self) -> None:
        """Stop the present trial, if there is one, and wait until it is over."""
        if self._running:
            ray.get(self._mailbox.stop.remote())
            while self._running:
                self.next()

    def close(self) -> None:
        """End the processes and give their resources back.

        Raises:
            WorkerGroupError: If they do not end in time.
        """
        ray.get(self._mailbox.close.remote())
        self._thread.join(CLOSE_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            raise WorkerGroupError(f"workers still run after {CLOSE_TIMEOUT_SECONDS:.0f} s")

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:  # handed to whoever waits in next()
            self._error = error
