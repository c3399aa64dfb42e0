"""Beside the lift: training loss, its gap to the held-out loss, and what answers look like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from neft_ray.journal import COMPLETED
from neft_ray.report.arms import Arm, best_configuration
from neft_ray.report.lift import t_quantile
from neft_ray.report.trials import Trial

GAP = "gap"


@dataclass(frozen=True)
class Measure:
    """Something that is compared between the finalists of two arms."""

    name: str
    """Of the metric, or `gap`."""
    title: str
    unit: str
    decimals: int


MEASURES = (
    Measure("train_eval_loss", "training loss, noise off", "nats per token", 3),
    Measure(GAP, "gap: held-out minus training loss", "nats per token", 3),
    Measure("answer_words", "length of an answer", "words", 1),
    Measure("answer_tokens", "length of an answer", "tokens", 1),
    Measure("answer_ended_fraction", "answers that end by themselves", "share", 3),
    Measure("answer_repetition", "2-gram repetition", "share", 4),
    Measure("answer_log_diversity", "log-diversity", "nats", 2),
    Measure("answer_rouge_l", "ROUGE-L against the data", "0 to 1", 3),
    Measure("answer_bleu", "BLEU against the data", "0 to 100", 2),
)


@dataclass(frozen=True)
class MeasureDifference:
    """A measure in two arms at the last step, over the seeds that both have finished."""

    measure: Measure
    treatment: float
    """Mean over seeds; nan where it is unknown."""
    control: float
    seeds: tuple[int, ...]
    seed_differences: tuple[float, ...]

    @property
    def is_known(self) -> bool:
        """Whether any pair of runs has it."""
        return bool(self.seeds)

    @property
    def difference(self) -> float:
        """First arm minus second, mean over seeds."""
        return self.treatment - self.control

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval over paired seeds; None from a single one."""
        num = len(self.seeds)
        if num < 2:
            return None
        half = t_quantile(num - 1) * stdev(self.seed_differences) / math.sqrt(num)
        return self.difference - half, self.difference + half

    @property
    def verdict(self) -> str:
        """`higher`, `lower`, `no evidence` or `unknown`; which is better is another question."""
        if not self.is_known:
            return "unknown"
        low, high = self.interval or (-math.inf, math.inf)
        return "higher" if low > 0 else "lower" if high < 0 else "no evidence"


def compare_measures(treatment: Arm, control: Arm) -> tuple[MeasureDifference, ...]:
    """Return every measure of the best configurations' finalists; unknown ones say so."""
    if not (treatment.finalists and control.finalists):
        return ()
    ours, theirs = (_by_seed(best_configuration(arm)) for arm in (treatment, control))
    return tuple(_difference(measure, ours, theirs) for measure in MEASURES)


def measure_of(measure: Measure, metrics: Mapping[str, float]) -> float | None:
    """Return a measure from a finalist's last metrics; None where they lack it."""
    if measure.name != GAP:
        return metrics.get(measure.name)
    held_out, train = metrics.get("report_loss"), metrics.get("train_eval_loss")
    return None if held_out is None or train is None else held_out - train


def _by_seed(trials: tuple[Trial, ...]) -> dict[int, Mapping[str, float]]:
    done = [trial for trial in trials if trial.status == COMPLETED and trial.record.reports]
    return {trial.record.seed: trial.record.reports[-1].metrics for trial in done}


def _difference(
    measure: Measure,
    ours: Mapping[int, Mapping[str, float]],
    theirs: Mapping[int, Mapping[str, float]],
) -> MeasureDifference:
    pairs = {}
    for seed in sorted(ours.keys() & theirs.keys()):
        one, other = (measure_of(measure, side[seed]) for side in (ours, theirs))
        if one is not None and other is not None:
            pairs[seed] = one, other
    treatment, control = ([pair[side] for pair in pairs.values()] for side in (0, 1))
    return MeasureDifference(
        measure,
        treatment=fmean(treatment) if pairs else math.nan,
        control=fmean(control) if pairs else math.nan,
        seeds=tuple(pairs),
        seed_differences=tuple(one - other for one, other in pairs.values()),
    )
