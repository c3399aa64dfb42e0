"""Workers that answer prompts: a Ray Train worker group whose replies come as they are written."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig
from ray.train.torch import TorchTrainer

from neft_ray.config.evaluation import Answering
from neft_ray.errors import UserError
from neft_ray.generate.replies import Prompt, Reply
from neft_ray.sweep.worker_group import WorkerGroupError
from neft_ray.sweep.workers import actor_here, scaling_config, secrets, torch_config
from neft_ray.working_copy import here, pull

Receive = Callable[[list[Reply]], None]
POLL_SECONDS = 0.5
MAX_FAILURES = 3
"""How often the workers are started anew before an evaluation is given up."""


class Collector:
    """An actor through which replies come to the driver, on whatever machine they are written."""

    def __init__(self, prompts: Sequence[Prompt], secrets: dict[str, str]) -> None:
        self._left = {prompt.number: prompt for prompt in prompts}
        self._secrets = secrets
        self._fresh: list[Reply] = []
        self._error: UserError | None = None

    def begin(self) -> tuple[list[Prompt], dict[str, str]]:
        """Return the prompts that have no reply yet, and what the workers' environment holds."""
        return list(self._left.values()), self._secrets

    def add(self, replies: list[Reply]) -> None:
        """Take replies, each once."""
        self._fresh += [reply for reply in replies if self._left.pop(reply.number, None)]

    def fail(self, error: UserError) -> None:
        """Take what is wrong with the input."""
        self._error = error

    def take(self) -> tuple[list[Reply], UserError | None]:
        """Hand out what came since the last time."""
        fresh, self._fresh = self._fresh, []
        return fresh, self._error


def replies_of_workers(
    answering: Answering, prompts: Sequence[Prompt], scratch: Path, receive: Receive
) -> None:
    """Have prompts answered by the workers of a connected cluster.

    Workers that die are started again and go on with what has no reply yet.

    Args:
        answering: What answers, how, and on which workers.
        prompts: To be answered.
        scratch: A folder for Ray's own files, which all machines see.
        receive: Is given replies as they come, in no order.

    Raises:
        UserError: If the workers cannot use the model.
        WorkerGroupError: If they died too often.
    """
    collector = actor_here(Collector, list(prompts), secrets())
    trainer = _trainer(answering, scratch, collector)
    failed: list[BaseException] = []
    thread = threading.Thread(target=_fit, args=(trainer, failed), daemon=True)
    thread.start()
    is_over = False
    try:
        while not is_over:
            thread.join(POLL_SECONDS)
            is_over = not thread.is_alive()
            replies, error = ray.get(collector.take.remote())
            receive(replies)
            if error is not None:
                raise error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if failed:
        raise WorkerGroupError("the workers ended without all replies") from failed[0]


def _trainer(answering: Answering, scratch: Path, collector: Any) -> TorchTrainer:
    workers = answering.replies.workers
    return TorchTrainer(
        _run,
        train_loop_config={"answering": answering.model_dump_json(), "collector": collector},
        torch_config=torch_config(workers),
        scaling_config=scaling_config(workers),
        run_config=RunConfig(
            name=f"replies-{uuid.uuid4().hex[:8]}",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )


def _fit(trainer: TorchTrainer, failed: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as error:  # told to whoever waits for replies
        failed.append(error)


def _run(options: dict[str, Any]) -> None:
    """Answer this worker's share. This is the `train_loop_per_worker` of a TorchTrainer."""
    from ray.train.torch import get_device

    from neft_ray.replier import reply_to

    answering = Answering.model_validate_json(options["answering"])
    collector = options["collector"]
    prompts, told = ray.get(collector.begin.remote())
    os.environ.update(told)
    folder = here(answering.model.path)
    pull(folder)
    model = answering.model.model_copy(update={"path": str(folder)})
    device = str(get_device()) if answering.replies.workers.gpus else "cpu"
    try:
        reply_to(
            answering.model_copy(update={"model": model}),
            prompts,
            device,
            lambda replies: ray.get(collector.add.remote(replies)),
        )
    except UserError as error:
        ray.get(collector.fail.remote(error))
