"""The lift: treatment minus control on the report split, with a bootstrap over seeds and rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]
HELPS, HURTS, NO_EVIDENCE = "helps", "hurts", "no evidence"
NUM_RESAMPLES = 10_000
_LEVELS = (0.025, 0.975)
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Pair:
    """Two runs on the same seed and the same report rows.

    Attributes:
        seed: Of both runs.
        treatment: [R] sum of token losses per row, in nats.
        control: [R] the same of the other run.
    """

    seed: int
    treatment: Floats
    control: Floats


@dataclass(frozen=True)
class Difference:
    """Treatment minus control over paired seeds, all losses in nats per supervised token."""

    treatment_loss: float
    """Mean over seeds."""
    control_loss: float
    """Mean over seeds."""
    seeds: tuple[int, ...]
    seed_differences: tuple[float, ...]
    interval: tuple[float, float] | None
    """95 % interval of the difference; None from a single seed or row, which knows no others."""
    num_rows: int
    num_treatment_diverged: int = 0
    """Runs that have no loss here because they diverged; their pairs are left out."""
    num_control_diverged: int = 0

    @property
    def difference(self) -> float:
        """Mean over seeds; below 0 the treatment is better."""
        return self.treatment_loss - self.control_loss

    @property
    def verdict(self) -> str:
        """`helps`, `hurts` or `no evidence`.

        An arm whose runs diverged is never called the better one: the interval speaks only of
        the pairs that are left.
        """
        low, high = self.interval or (-math.inf, math.inf)
        if high < 0 and not self.num_treatment_diverged:
            return HELPS
        if low > 0 and not self.num_control_diverged:
            return HURTS
        return NO_EVIDENCE


def difference_of(
    pairs: Sequence[Pair], counts: Floats, num_diverged: tuple[int, int] = (0, 0)
) -> Difference | None:
    """Compare paired runs; None without a pair.

    Args:
        pairs: One per seed.
        counts: [R] supervised tokens of every row.
        num_diverged: Runs of treatment and of control that diverged before they had a loss here.
    """
    if not pairs:
        return None
    treatment_SR = np.stack([pair.treatment for pair in pairs])
    control_SR = np.stack([pair.control for pair in pairs])
    num_tokens = counts.sum()
    differences_S = (treatment_SR - control_SR).sum(axis=1) / num_tokens
    several = len(pairs) > 1 and len(counts) > 1
    return Difference(
        treatment_loss=float(treatment_SR.sum() / num_tokens / len(pairs)),
        control_loss=float(control_SR.sum() / num_tokens / len(pairs)),
        seeds=tuple(pair.seed for pair in pairs),
        seed_differences=tuple(differences_S.tolist()),
        interval=bootstrap_interval(treatment_SR - control_SR, counts) if several else None,
        num_rows=len(counts),
        num_treatment_diverged=num_diverged[0],
        num_control_diverged=num_diverged[1],
    )


def bootstrap_interval(
    differences_SR: Floats, counts_R: Floats, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % interval of the mean difference, in nats per supervised token.

    Seeds and rows are resampled at once, the same rows for all seeds and so for both arms. A
    resample of a handful understates how much its like differ, so what seeds and what rows add is
    widened, without which five seeds would miss the truth far more often than one time in twenty.

    Args:
        differences_SR: Treatment minus control, summed over the tokens of each row, S ≥ 2 seeds.
        counts_R: Supervised tokens of each row, R ≥ 2 rows.
        num_resamples: The random stream is fixed, so equal input gives an equal interval.
    """
    num_seeds, num_rows = differences_SR.shape
    mean = differences_SR.sum() / counts_R.sum() / num_seeds
    for_seeds, for_rows = _widening(num_seeds), _widening(num_rows)
    random = np.random.default_rng(0)
    means = []
    left = num_resamples
    while left:
        size = min(left, max(1, _WEIGHTS_AT_ONCE // num_rows))
        left -= size
        weights_BR = _row_weights(random, size, num_rows)
        seed_means_BS = weights_BR @ differences_SR.T / (weights_BR @ counts_R)[:, None]
        drawn_BS = random.integers(num_seeds, size=(size, num_seeds))
        centre_B = seed_means_BS.mean(axis=1)
        resampled_B = np.take_along_axis(seed_means_BS, drawn_BS, axis=1).mean(axis=1)
        deviations_B = for_rows * (centre_B - mean) + for_seeds * (resampled_B - centre_B)
        means.append(mean + deviations_B)
    low, high = np.quantile(np.concatenate(means), _LEVELS).tolist()
    return low, high


def _row_weights(random: np.random.Generator, size: int, num_rows: int) -> Floats:
    """Draw how often each row is in each resample, [size, num_rows]."""
    drawn = random.integers(num_rows, size=(size, num_rows)) + np.arange(size)[:, None] * num_rows
    weights = np.bincount(drawn.ravel(), minlength=size * num_rows)
    return weights.reshape(size, num_rows).astype(np.float64)


def _widening(number: int) -> float:
    """Return what makes a bootstrap of `number` values as wide as Student's interval."""
    quantile = t_quantile(number - 1) / float(ndtri(_LEVELS[1]))
    return quantile * math.sqrt(number / (number - 1))


def t_quantile(freedom: int) -> float:
    """Return Student's 97.5 % quantile."""
    return float(stdtrit(freedom, _LEVELS[1]))
