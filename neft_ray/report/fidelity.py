"""The search's losses at one fidelity: cut trials and whole ones compared after as many steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from neft_ray.report.trials import Trial


@dataclass(frozen=True)
class Fidelity:
    """What trials had come to after the same number of steps."""

    step: int
    points: tuple[tuple[Trial, float], ...]
    """Every trial that came so far, with its lowest select loss until then."""
    num_left_out: int
    """Trials that did not, or had no finite loss."""

    @property
    def text(self) -> str:
        """Say it in words."""
        text = f"{len(self.points)} trials by their lowest select loss in the first "
        text += f"{self.step:,} steps"
        return text + (f" ({self.num_left_out} did not get so far)" if self.num_left_out else "")

    def too_few(self, needed: int) -> str:
        """Say that so many trials are not enough."""
        return f"{len(self.points)} trials came to step {self.step:,}, at least {needed} are needed"


def common_fidelity(trials: Sequence[Trial], fewest: int) -> Fidelity:
    """Return the latest step that at least half of the evaluated trials, and `fewest`, came to.

    Where fewer than `fewest` were evaluated at all, half of them are enough. A trial that was cut
    early has a higher loss than it would have had: to compare it as it is with one that ran to its
    end would say more of the rungs than of the hyper-parameters.
    """
    reached = sorted((t.record.last_step for t in trials if t.record.reports), reverse=True)
    if not reached:
        return Fidelity(0, (), len(trials))
    needed = -(-len(reached) // 2)
    enough = reached[(max(needed, fewest) if fewest <= len(reached) else needed) - 1]
    points = []
    for trial in trials:
        if trial.record.last_step < enough:
            continue
        steps, losses = trial.record.series("select_loss")
        until = [loss for step, loss in zip(steps, losses, strict=True) if step <= enough]
        finite = [loss for loss in until if math.isfinite(loss)]
        if finite:
            points.append((trial, min(finite)))
    return Fidelity(enough, tuple(points), len(trials) - len(points))
