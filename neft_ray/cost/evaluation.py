"""What share of a trial's operations its evaluations are, from the lengths of its rows alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from neft_ray.config.trial import TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.train.loop import step_order
from neft_ray.train.metrics import train_sample

PASSES = 3.0
"""A step on a token takes the operations of three forwards: its forward, and twice as much back."""
ENOUGH = 0.1
"""The share that is still taken for little."""


@dataclass(frozen=True)
class EvaluationShare:
    """How much of a trial is evaluation.

    Attributes:
        share: Of its operations, 0 to 1, all of them taken for proportional to tokens.
        enough_steps: The least `training.eval_every_steps` whose share is at most `ENOUGH`.
    """

    share: float
    enough_steps: int

    @property
    def is_little(self) -> bool:
        """Whether evaluating less often would hardly make a trial faster."""
        return self.share <= ENOUGH


def evaluation_share(config: TrialConfig, data: TokenizedData) -> EvaluationShare:
    """Return the share of the evaluations that the search makes, which see no report split."""
    order, lengths_R = step_order(data, config), np.diff(data.offsets)
    evaluated = [*data.rows(Split.SELECT).tolist(), *train_sample(data, config)]
    evaluation = float(lengths_R[evaluated].sum())
    epoch = PASSES * config.noise.num_copies * float(lengths_R[data.rows(Split.TRAIN)].sum())
    step = epoch / order.steps_per_epoch
    every = min(config.training.eval_every_steps, order.steps_per_epoch * config.training.epochs)
    share = evaluation / (evaluation + every * step)
    return EvaluationShare(share, math.ceil(evaluation * (1 / ENOUGH - 1) / step))
