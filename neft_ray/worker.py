"""One Ray Train worker: takes trials from its slot's mailbox and trains them, one by one."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import ray
import torch

from neft_ray import network
from neft_ray.config.trial import TrialConfig
from neft_ray.cores import use_cores
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import StorageError, UserError
from neft_ray.generate import measure_answers
from neft_ray.journal import CANCELLED, COMPLETED, DIVERGED, FAILED, HALTED, MOVED, STOPPED
from neft_ray.noise import regularised
from neft_ray.order import Order
from neft_ray.strategy.base import Engine
from neft_ray.strategy.late import naming_the_late
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.strategy.roll_call import naming_the_lost
from neft_ray.system_metrics import SystemMetrics
from neft_ray.train.alpha import wrong_alpha
from neft_ray.train.checkpoint import load_latest
from neft_ray.train.contents import State
from neft_ray.train.loop import num_steps, tokens_trained, train
from neft_ray.train.metrics import evaluate
from neft_ray.train.outputs import metrics_log, own_files
from neft_ray.train.reports import Reports
from neft_ray.working_copy import Pushing, here, pull

logger = logging.getLogger("neft_ray")
WHY = {CANCELLED: "by hand at step {}", MOVED: "after step {}"}


class Link:
    """This worker's side of the mailbox. Rank 0 speaks; all ranks act on the same answer."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._process = uuid.uuid4().hex
        self._stop_ref: Any = None
        self._stop_status = ""

    def take(self) -> Order | None:
        """Wait for the next trial; None when the slot closes."""
        node = ray.get_runtime_context().get_node_id()
        rank, world = _rank(), _world()
        fields = ray.get(self._mailbox.take.remote(rank, world, self._process, node))
        if fields is None:
            return None
        order = Order(**fields)
        self._stop_ref, self._stop_status = self._mailbox.wait_for_stop.remote(order.number), ""
        return order

    def report(self, engine: Engine, number: int, state: State) -> bool:
        """Send an evaluation, wait for the decision, and return whether to stop."""
        stops = False
        if engine.rank == 0:
            there = self._mailbox.report
            stops = ray.get(there.remote(self._process, number, state.step, state.metrics))
        return agreed(engine, stops)[0]

    def should_stop(self, engine: Engine) -> str:
        """Return `stopped`, `cancelled` or `moved` if the slot asked for it, else nothing."""
        if not self._stop_status and ray.wait([self._stop_ref], timeout=0)[0]:
            self._stop_status = ray.get(self._stop_ref)
        wishes = (CANCELLED, STOPPED, MOVED)
        held = agreed(engine, *(self._stop_status == wish for wish in wishes))
        return next((wish for wish, holds in zip(wishes, held, strict=True) if holds), "")

    def ended(self, status: str, reason: str) -> None:
        """Say that the trial is over."""
        ray.get(self._mailbox.ended.remote(self._process, status, reason))


def agreed(engine: Engine, *hold: bool) -> list[bool]:
    """Return which of some things hold on any rank: the same answer on all of them."""
    if engine.world == 1:
        return list(hold)
    sums = engine.sum_over_ranks(torch.tensor([float(it) for it in hold]))
    return [float(total) > 0 for total in sums]


def run(options: dict[str, Any]) -> None:
    """Run trials until the slot closes. This is the `train_loop_per_worker` of a TorchTrainer."""
    os.environ.update(ray.get(options["mailbox"].secrets.remote()))
    link, models = Link(options["mailbox"]), BaseModels()
    use_cores(options["cpus"])
    described = network.look(ray.util.get_node_ip_address()).told(os.environ)
    while (order := link.take()) is not None:
        try:
            with (
                _in_folder(here(order.trial_folder)) as pushing,
                naming_the_late(options["patience_seconds"]),
                naming_the_lost(),
            ):
                logger.info("network: %s", described)
                status, reason = run_trial(order, link, models, pushing)
        except UserError as error:
            if _rank() == 0:
                link.ended(HALTED if isinstance(error, StorageError) else FAILED, str(error))
            if _world() > 1:
                raise  # the other ranks may wait for this one: Ray Train starts all anew
            continue
        if _rank() == 0:
            link.ended(status, reason)


def run_trial(order: Order, link: Link, models: BaseModels, pushing: Pushing) -> tuple[str, str]:
    """Train one trial from its newest checkpoint and return its status and the reason.

    Returns:
        `completed`, `stopped` or `cancelled` (asked to), `moved` (asked to, with a checkpoint),
        `diverged` (a loss that is not finite) or `failed` (the noise is not what the
        configuration says).
    """
    config = TrialConfig.model_validate_json(order.config_json)
    torch.manual_seed(config.training.seed)
    with closing(build_engine(config, models, _device(config))) as engine:
        return _run_on(engine, order, config, link, pushing)


def _run_on(
    engine: Engine, order: Order, config: TrialConfig, link: Link, pushing: Pushing
) -> tuple[str, str]:
    folder, training = here(order.trial_folder), config.training
    data_folder = here(order.data_folder)
    pull(data_folder)
    data = TokenizedData.load(data_folder)

    def report(state: State) -> bool:
        pushing.push()
        return link.report(engine, order.number, state)

    reports = Reports(engine, folder / "checkpoints", training.async_checkpoints, report)
    state = load_latest(engine, folder / "checkpoints", config.config_hash)
    begin = state
    if begin is None and order.origin:
        begin = load_latest(engine, here(order.origin), order.origin_hash)
    done, last = (begin.step if begin else 0), num_steps(data, config)
    logger.info("trial %d: step %d of %d, %s", order.number, done, last, order.config_json)
    system = SystemMetrics()
    # The report of this step may have been lost with the process that sent it; it counts once.
    if state is not None and state.metrics:
        if report(state):
            return STOPPED, ""
        if not math.isfinite(state.metrics["select_loss"]):
            return DIVERGED, f"the select loss is not finite at step {done}"
    embedding = engine.plain.embedding
    with regularised(embedding, config) as noise, metrics_log(engine, folder) as log, reports:
        for metrics in train(engine, data, noise, config, done):
            step = int(metrics.pop("step"))
            log(step, metrics, system.due())
            if not all(map(math.isfinite, (metrics["train_loss"], metrics["grad_norm"]))):
                return DIVERGED, f"the training loss or gradient is not finite at step {step}"
            if wrong := wrong_alpha(config.at(step)[0], metrics, step, last):
                return FAILED, wrong
            is_evaluated = step % training.eval_every_steps == 0 or step == last
            if is_evaluated:
                if reports.wait():
                    return STOPPED, ""
                results, rows = evaluate(engine, data, config, order.with_report)
                results["tokens_trained"] = float(tokens_trained(data, config, step))
                if step == last:
                    results |= measure_answers(engine, data, config, order.generated_rows, folder)
                log(step, results)
                if rows is not None and engine.rank == 0:
                    rows.save(folder / "report_rows", step)
                state = State(step, config.config_hash, results)
                if reports.add(state) and step < last:
                    return STOPPED, ""
                if not math.isfinite(results["select_loss"]):
                    return DIVERGED, f"the select loss is not finite at step {step}"
            elif reports.poll():
                return STOPPED, ""
            if step < last and (status := link.should_stop(engine)):
                if status == MOVED and not is_evaluated:
                    reports.keep(State(step, config.config_hash, {}))
                return status, WHY.get(status, "").format(step)
    return COMPLETED, ""


def _device(config: TrialConfig) -> torch.device:
    if not config.workers.gpus:
        return torch.device("cpu")
    from ray.train.torch import get_device

    device: torch.device = get_device()
    return device


def _rank() -> int:
    from ray.train import get_context

    return int(get_context().get_world_rank())


def _world() -> int:
    from ray.train import get_context

    return int(get_context().get_world_size())


@contextmanager
def _in_folder(folder: Path) -> Iterator[Pushing]:
    """Work in a trial's folder: alone, with a log, and with what is written sent to its bucket."""
    own = own_files(_rank())
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"worker-{_rank()}.lock"):
        pull(folder, own)
        with _log_to(folder / f"log-{_rank()}.txt"), Pushing(folder, own) as pushing:
            try:
                yield pushing
            except Exception:
                logger.exception("the trial failed here")
                raise


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until a process that this one replaces is gone for good."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send this package's log to a trial's own file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
