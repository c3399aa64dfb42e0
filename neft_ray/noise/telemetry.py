"""What the noise really was, measured on what the embeddings became: a few sums for each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MEASURED_ENTRIES = 2**14
"""Per micro-batch, the first so many entries of its first sequence are measured."""

_NUM_SUMS = 7


class Meter:
    """Collects sums over what was added in a step; they add up over ranks too."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def observe(self, before: Tensor, after: Tensor, unit: Tensor, scale: Tensor) -> None:
        """Measure some entries of one sequence.

        Args:
            before: [n] embeddings.
            after: [n] what they became.
            unit: [n] the unit noise that belongs to them.
            scale: What the unit noise is multiplied by where α is 1.
        """
        signal, noise = before.double(), unit.double() * scale.double()
        added = after.double() - signal
        count = torch.full_like(added[:1], len(added)).squeeze(0)
        sums = (
            count,
            added.dot(noise),
            noise.dot(noise),
            added.dot(added),
            signal.dot(signal),
            (added != 0).sum(),
            count * scale.double().square() / 3,
        )
        self._sums.append(torch.stack([value.double() for value in sums]))

    def pop(self, device: torch.device) -> Tensor:
        """Return the sums since the last call, and forget them: float64 [7], zeros for none."""
        collected, self._sums = self._sums, []
        zeros = torch.zeros(_NUM_SUMS, dtype=torch.float64, device=device)
        return torch.stack([zeros, *(sums.to(device) for sums in collected)]).sum(0)


def metrics_of(sums: Tensor, alpha: float) -> dict[str, float]:
    """Return the metrics of a step from its sums, added over all ranks.

    Args:
        sums: What `Meter.pop` returned.
        alpha: The step's α as it was set.

    Returns:
        Nothing where no noise was measured; otherwise `noise_alpha`, as it was set;
        `noise_alpha_measured`: the slope of what was added over the noise that α = 1 would be,
        which stochastic rounding leaves unbiased;
        `noise_alpha_error`: the standard error of that slope, from rounding;
        `noise_relative_norm`: the norm of what was added over its expectation α/√3; 1 is exact,
        stochastic rounding raises it, noise lost to rounding would lower it;
        `noise_to_signal`: the norm of what was added over that of the embeddings;
        `noise_changed_fraction`: of the entries, those that are not what they were.
    """
    count, cross, unit, added, signal, changed, expected = sums.tolist()
    if count == 0 or unit == 0:
        return {}
    slope = cross / unit
    residual = max(0.0, added - slope * cross)
    norm = alpha * alpha * expected
    return {
        "noise_alpha": alpha,
        "noise_alpha_measured": slope,
        "noise_alpha_error": math.sqrt(residual / max(1.0, count - 1) / unit),
        "noise_relative_norm": math.sqrt(added / norm) if norm > 0 else math.inf,
        "noise_to_signal": math.sqrt(added / signal) if signal > 0 else math.inf,
        "noise_changed_fraction": changed / count,
    }
