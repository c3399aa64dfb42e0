"""The only training loop: a generator of metrics, one dictionary per optimizer step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from neft_ray.config.trial import TrialConfig
from neft_ray.data.batches import StepOrder, batches_of_rank
from neft_ray.data.prepare import TokenizedData
from neft_ray.data.split import Split
from neft_ray.noise import EmbeddingNoise, Segments
from neft_ray.optim import learning_rate_at
from neft_ray.strategy.base import Engine


def step_order(data: TokenizedData, config: TrialConfig) -> StepOrder:
    """Return the rows of every step of a trial."""
    rows = data.rows(Split.TRAIN).tolist()
    return StepOrder(rows, config.batch.size_examples, config.training.seed)


def num_steps(data: TokenizedData, config: TrialConfig) -> int:
    """Return the optimizer steps of a whole trial."""
    return step_order(data, config).steps_per_epoch * config.training.epochs


def train(
    engine: Engine,
    data: TokenizedData,
    noise: EmbeddingNoise,
    config: TrialConfig,
    done_steps: int = 0,
) -> Iterator[dict[str, float]]:
    """Train from the step after `done_steps` to the end, yielding after each step.

    The loss is divided by the supervised tokens of the whole step, so that it depends on neither
    micro-batches nor the number of workers.

    Yields:
        `step`, `epoch`, `train_loss` (nats per supervised token, noise on), `grad_norm` (before
        clipping), `learning_rate`, `tokens` (real tokens of the step) and, where there is noise,
        `noise_alpha` and `noise_relative_norm` (measured over expected norm, 1 is exact).
    """
    order = step_order(data, config)
    total_steps = order.steps_per_epoch * config.training.epochs
    for step in range(done_steps + 1, total_steps + 1):
        rows = order.rows(step)
        batches = batches_of_rank(data, rows, config.batch, engine.rank, engine.world)
        weight = 1.0 / data.num_targets(rows)
        _seed_dropout(config.training.seed, step, engine.rank)
        engine.module.train()
        loss_sum = torch.zeros((), device=engine.device)
        for number, batch in enumerate(batches, start=1):
            segments = Segments(step, batch.sample_ids, batch.lengths)
            with engine.micro_step(is_last=number == len(batches)), noise.on(segments):
                losses = engine.module(
                    batch.tokens_BT.to(engine.device), batch.targets_BT.to(engine.device)
                )
                loss = losses.sum() * weight
                engine.backward(loss)
            loss_sum += loss.detach()
        learning_rate = learning_rate_at(config.optimizer, step, total_steps)
        metrics = {
            "step": float(step),
            "epoch": step / order.steps_per_epoch,
            "grad_norm": engine.step(learning_rate),
            "learning_rate": learning_rate,
            "tokens": float(sum(data.length(row) for row in rows)),
            "train_loss": float(engine.sum_over_ranks(loss_sum.reshape(1))),
        }
        if (relative_norm := noise.pop_relative_norm()) is not None:
            metrics |= {"noise_alpha": noise.alpha, "noise_relative_norm": relative_norm}
        yield metrics


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make torch's own randomness a function of the step, so that a resumed trial repeats it."""
    key = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(key[0]))
