"""How often a system is preferred: as it is, and as it would be were both outputs equally long.

The length-controlled win rate follows AlpacaEval 2 (Dubois et al., arXiv 2404.04475). The
preference of prompt i, y_i in [0, 1], is modelled as

    P(y_i) = logistic(a + b · tanh(Δ_i / s)),   Δ_i = length of the system's output − reference's,

lengths in characters, s the standard deviation of Δ over the prompts; the win rate at equal length
is logistic(a). AlpacaEval's model has one more term, the difficulty of each instruction, which is
estimated from the verdicts on many other systems and exists for its own prompts and judge alone; it
also adds verdicts on a model that was told to be brief or verbose. Neither is here, so figures are
near the leaderboard's, not equal to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri, stdtrit

Floats = NDArray[np.float64]
NUM_RESAMPLES = 2000
MIN_EACH_SIDE = 5
"""Prompts on which either output is the shorter one (or both are equal): with fewer, equal length
lies beyond what was seen."""
PRIOR_DEVIATION = 10.0
"""Of a and b: so wide that it matters only where the data alone would send them to infinity."""

_LEVELS = (0.025, 0.975)
_TIE = 0.5
_WEIGHTS_AT_ONCE = 1_000_000
_MAX_STEPS, _MAX_STEP_LENGTH, _TOLERANCE = 500, 2.0, 1e-8


@dataclass(frozen=True)
class Estimate:
    """A win rate, all figures from 0 to 1."""

    rate: float
    standard_error: float | None
    """None from a single prompt."""
    interval: tuple[float, float]
    """95 %, over prompts."""


@dataclass(frozen=True)
class WinRate:
    """How often the judged system is preferred to the reference."""

    num: int
    """Prompts with a verdict."""
    num_won: int
    num_tied: int
    """Preferences of exactly one half."""
    raw: Estimate
    controlled: Estimate | None
    """At equal length; None where the data do not say."""
    no_controlled_reason: str
    length_weight: float | None
    """b: above 0 the judge likes the longer output."""

    @property
    def num_lost(self) -> int:
        """Prompts on which the reference is preferred."""
        return self.num - self.num_won - self.num_tied


def win_rate_of(
    preferences: Sequence[float | None],
    system_lengths: Sequence[int],
    reference_lengths: Sequence[int],
    num_resamples: int = NUM_RESAMPLES,
) -> WinRate | None:
    """Return the win rates of a system; None without a single verdict.

    Intervals are from a bootstrap over prompts, widened as Student's for small numbers. Where all
    preferences are equal it would claim certainty: then they say which shares of prompts might go
    otherwise without one of them being seen (Clopper and Pearson).

    Args:
        preferences: For the judged system, 0 to 1, one per prompt; None where there is no verdict.
        system_lengths: Of its outputs, in characters.
        reference_lengths: Of the outputs that it is judged against.
        num_resamples: The random stream is fixed, so equal input gives equal intervals.
    """
    rows = zip(preferences, system_lengths, reference_lengths, strict=True)
    known = [(liked, ours - theirs) for liked, ours, theirs in rows if liked is not None]
    if not known:
        return None
    liked_N, delta_N = np.array(known, dtype=np.float64).T
    num = len(known)
    random = np.random.default_rng(0)
    weights_BN = random.multinomial(num, np.full(num, 1 / num), num_resamples).astype(np.float64)
    rate = math.fsum(liked_N) / num
    raw = _estimate(rate, weights_BN @ liked_N / num, liked_N)
    reason = _no_controlled_reason(delta_N)
    controlled = weight = None
    if not reason:
        x_N = standardised(delta_N)
        (a, b) = fit(liked_N, x_N, np.ones((1, num)))[0].tolist()
        a_B = np.concatenate(
            [
                fit(liked_N, x_N, part_BN)[:, 0]
                for part_BN in np.array_split(weights_BN, -(-weights_BN.size // _WEIGHTS_AT_ONCE))
            ]
        )
        controlled, weight = _controlled(a, a_B, liked_N), b
    return WinRate(
        num=num,
        num_won=int((liked_N > _TIE).sum()),
        num_tied=int((liked_N == _TIE).sum()),
        raw=raw,
        controlled=controlled,
        no_controlled_reason=reason,
        length_weight=weight,
    )


def standardised(delta_N: Floats) -> Floats:
    """Return tanh of the length differences in their standard deviations, as AlpacaEval does."""
    deviation = float(delta_N.std(ddof=1)) if len(delta_N) > 1 else 0.0
    return np.tanh(delta_N / deviation) if deviation else np.zeros_like(delta_N)


def fit(liked_N: Floats, x_N: Floats, weights_BN: Floats) -> Floats:
    """Return the most likely [B, 2] (a, b) of logistic(a + b·x), one for each row of weights.

    Newton's method on all resamples at once; the normal prior keeps separable ones finite.

    Args:
        liked_N: Preferences, 0 to 1.
        x_N: What they may depend on.
        weights_BN: How often each prompt counts.

    Raises:
        ArithmeticError: If a fit does not converge.
    """
    precision = PRIOR_DEVIATION**-2
    found_B2 = np.zeros((len(weights_BN), 2))
    for _ in range(_MAX_STEPS):
        p_BN = expit(found_B2[:, :1] + found_B2[:, 1:] * x_N)
        miss_BN = weights_BN * (p_BN - liked_N)
        gradient_B2 = np.stack([miss_BN.sum(1), miss_BN @ x_N], axis=1) + precision * found_B2
        if np.abs(gradient_B2).max() < _TOLERANCE * max(1, len(liked_N)):
            return found_B2
        bend_BN = weights_BN * p_BN * (1 - p_BN)
        aa, ab, bb = bend_BN.sum(1) + precision, bend_BN @ x_N, bend_BN @ x_N**2 + precision
        first, second = gradient_B2.T
        step_B2 = np.stack([bb * first - ab * second, aa * second - ab * first], axis=1)
        step_B2 /= (aa * bb - ab**2)[:, None]
        length_B1 = np.linalg.norm(step_B2, axis=1, keepdims=True)
        found_B2 -= step_B2 * np.minimum(1, _MAX_STEP_LENGTH / np.maximum(length_B1, 1e-300))
    raise ArithmeticError(f"the length model did not converge in {_MAX_STEPS} steps")


def _estimate(rate: float, rates_B: Floats, liked_N: Floats) -> Estimate:
    num = len(liked_N)
    if np.ptp(liked_N) == 0:
        return Estimate(rate, 0.0 if num > 1 else None, _unseen(rate, num))
    low, high = (rate + _widening(num) * (np.quantile(rates_B, _LEVELS) - rate)).tolist()
    error = float(liked_N.std(ddof=1)) / math.sqrt(num)
    return Estimate(rate, error, (max(0.0, low), min(1.0, high)))


def _controlled(a: float, a_B: Floats, liked_N: Floats) -> Estimate:
    """Return the win rate at equal length; the interval is taken before the logistic."""
    rate, num = float(expit(a)), len(liked_N)
    if np.ptp(liked_N) == 0:
        return Estimate(rate, 0.0, _unseen(float(liked_N[0]), num))
    bounds = a + _widening(num) * (np.quantile(a_B, _LEVELS) - a)
    low, high = expit(bounds).tolist()
    return Estimate(rate, float(expit(a_B).std(ddof=1)), (low, high))


def _no_controlled_reason(delta_N: Floats) -> str:
    """Return why the data do not tell length from liking; empty if they do."""
    not_longer, not_shorter = int((delta_N <= 0).sum()), int((delta_N >= 0).sum())
    number, word = min((not_longer, "longer"), (not_shorter, "shorter"))
    if number >= MIN_EACH_SIDE:
        return ""
    return (
        f"all but {number} of {len(delta_N)} outputs are {word} than the reference's, so nothing "
        "shows how the judge would choose at equal length"
    )


def _unseen(rate: float, num: int) -> tuple[float, float]:
    """Return the interval when all of `num` preferences are equal to `rate`."""
    share = 1 - _LEVELS[0] ** (1 / num)
    return rate * (1 - share), rate * (1 - share) + share


def _widening(num: int) -> float:
    """Return what makes a bootstrap of `num` values as wide as Student's interval."""
    quantile = stdtrit(num - 1, _LEVELS[1]) / ndtri(_LEVELS[1])
    return float(quantile * math.sqrt(num / (num - 1)))
