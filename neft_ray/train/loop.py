"""The only training loop: a generator of metrics, one dictionary per optimizer step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from neft_ray.config.trial import TrialConfig
from neft_ray.data.batches import StepOrder, batches_of_rank
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.noise import EmbeddingNoise, Segments, metrics_of
from neft_ray.optim import learning_rate_at
from neft_ray.strategy.base import Engine
from neft_ray.train.alpha import alpha_factor


def step_order(data: TokenizedData, config: TrialConfig) -> StepOrder:
    """Return the rows of every step of a trial."""
    rows = data.rows(Split.TRAIN).tolist()
    return StepOrder(rows, config.batch.size_examples, config.training.seed)


def num_steps(data: TokenizedData, config: TrialConfig) -> int:
    """Return the optimizer steps of a whole trial."""
    return step_order(data, config).steps_per_epoch * config.training.epochs


def tokens_trained(data: TokenizedData, config: TrialConfig, num_steps: int) -> int:
    """Return the real tokens of a trial's first steps, counted each time they are trained on."""
    order, lengths_R = step_order(data, config), np.diff(data.offsets)
    num_epochs = num_steps // order.steps_per_epoch
    whole = num_epochs * lengths_R[data.rows(Split.TRAIN)].sum()
    return int(whole + lengths_R[order.rows_since_epoch(num_steps)].sum())


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
        clipping), `learning_rate`, `tokens` (real tokens of the step), `forward_tokens` (the same,
        counted each time they are run), `tokens_trained` (`tokens` of all steps so far) and, where
        there is noise, what `metrics_of` returns.
    """
    order = step_order(data, config)
    total_steps = order.steps_per_epoch * config.training.epochs
    lengths_R = np.diff(data.offsets)
    num_tokens = float(tokens_trained(data, config, done_steps))
    for step in range(done_steps + 1, total_steps + 1):
        rows = order.rows(step)
        batches = batches_of_rank(data, rows, config.batch, engine.rank, engine.world)
        noise_config, optimizer_config = config.at(step)
        copies = noise_config.num_copies
        passes = [(batch, copy) for batch in batches for copy in range(copies)]
        weight = 1.0 / data.num_targets(rows) / copies
        if config.changes:
            noise.alpha = noise_config.alpha
        noise.factor = alpha_factor(noise_config, step, total_steps)
        _seed_dropout(config.training.seed, step, engine.rank)
        engine.module.train()
        loss_sum = torch.zeros((), device=engine.device)
        for number, (batch, copy) in enumerate(passes, start=1):
            describe = Segments.joined if batch.is_packed else Segments.padded
            segments = describe(step, batch.sample_ids, batch.lengths, copy)
            with engine.micro_step(is_last=number == len(passes)), noise.on(segments):
                loss = weight * engine.module(*batch.inputs(engine.device), per_row=False)
                engine.backward(loss)
            loss_sum += loss.detach()
        learning_rate = learning_rate_at(optimizer_config, step, total_steps)
        noise_sums = noise.pop_sums(engine.device)
        sums = engine.sum_over_ranks(torch.cat([loss_sum.reshape(1), noise_sums]))
        tokens = float(lengths_R[rows].sum())
        num_tokens += tokens
        yield {
            "step": float(step),
            "epoch": step / order.steps_per_epoch,
            "grad_norm": engine.step(learning_rate),
            "learning_rate": learning_rate,
            "tokens": tokens,
            "forward_tokens": tokens * copies,
            "tokens_trained": num_tokens,
            "train_loss": float(sums[0]),
            **metrics_of(sums[1:], noise.effective_alpha),
        }


def _seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make torch's own randomness a function of the step, so that a resumed trial repeats it."""
    key = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(key[0]))
