"""Evaluation: noise off, weighted by tokens, over all ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from neft_ray.config.trial import TrialConfig
from neft_ray.data.batches import batches_of_rank
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import StorageError
from neft_ray.strategy.base import Engine


@dataclass(frozen=True)
class RowLosses:
    """Losses of some rows, in the order of `sample_ids`.

    Attributes:
        sample_ids: [R] stable row indices.
        losses: [R] sum of token losses, in nats.
        counts: [R] supervised tokens.
    """

    sample_ids: NDArray[np.int64]
    losses: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Nats per supervised token."""
        return float(self.losses.sum() / self.counts.sum())

    def save(self, folder: Path, step: int) -> None:
        """Write them into a folder, which is made if need be, all or nothing.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        unfinished = folder / f".step-{step:06d}.npz"
        try:
            folder.mkdir(exist_ok=True)
            np.savez(unfinished, sample_ids=self.sample_ids, losses=self.losses, counts=self.counts)
            unfinished.rename(folder / f"step-{step:06d}.npz")
        except OSError as error:
            raise StorageError.of(folder, error) from error


@torch.no_grad()
def row_losses(
    engine: Engine, data: TokenizedData, rows: Sequence[int], config: TrialConfig
) -> RowLosses:
    """Evaluate rows without noise and dropout, shared out over the ranks.

    Args:
        engine: Every rank calls this at the same time.
        data: Holds the rows.
        rows: Sample ids, the same on all ranks.
        config: For the size of micro-batches.
    """
    position = {row: index for index, row in enumerate(rows)}
    losses = torch.zeros(len(rows), dtype=torch.float64)
    engine.module.eval()
    for batch in batches_of_rank(data, rows, config.batch, engine.rank, engine.world):
        where = torch.tensor([position[row] for row in batch.sample_ids])
        found = engine.module(*batch.inputs(engine.device))
        losses.index_add_(0, where, found.double().cpu())  # a filler adds 0
    losses = engine.sum_over_ranks(losses)
    counts = np.asarray([data.num_targets([row]) for row in rows], dtype=np.int64)
    return RowLosses(np.asarray(rows, dtype=np.int64), losses.numpy(), counts)


def train_sample(data: TokenizedData, config: TrialConfig) -> list[int]:
    """Return the fixed sample of training rows: evenly spaced, the same for every trial."""
    rows = data.rows(Split.TRAIN)
    num = min(config.training.train_loss_rows, len(rows))
    return rows[np.linspace(0, len(rows) - 1, num).astype(int)].tolist() if num else []


def evaluate(
    engine: Engine, data: TokenizedData, config: TrialConfig, with_report: bool
) -> tuple[dict[str, float], RowLosses | None]:
    """Evaluate the select split, the train sample and, if asked for, the report split.

    Args:
        engine: Every rank calls this at the same time.
        data: Holds the splits.
        config: For the size of micro-batches and of the train sample.
        with_report: False during the search, which must not see the report split.

    Returns:
        Metrics, and the report split's losses by row.
    """
    select = row_losses(engine, data, data.rows(Split.SELECT).tolist(), config)
    metrics = {"select_loss": select.mean, "select_perplexity": _exp(select.mean)}
    if sample := train_sample(data, config):
        metrics["train_eval_loss"] = row_losses(engine, data, sample, config).mean
    if not with_report:
        return metrics, None
    report = row_losses(engine, data, data.rows(Split.REPORT).tolist(), config)
    return metrics | {"report_loss": report.mean}, report


def _exp(loss: float) -> float:
    return math.inf if loss > 700 else math.exp(loss)
