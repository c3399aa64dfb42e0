"""How much each searched setting matters for the loss: fANOVA over the trials of the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.space import Choice, Domain, IntRange, LogUniform
from neft_ray.report.arms import Arm
from neft_ray.report.fidelity import common_fidelity
from neft_ray.report.trials import Trial

FEWEST_TRIALS = 10


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of the loss over the space, by setting; they add up to 1."""

    shares: Mapping[str, float]
    """From the largest to the smallest; empty where it is unknown."""
    basis: str
    """Which trials at which fidelity; why it is unknown where it is."""


def importance_of(arm: Arm, space: Mapping[str, Domain]) -> Importance:
    """Return the importance of every setting that varies in an arm's search.

    One that is drawn in some trials alone, by its `when`, is left out; so are trials outside of a
    space that was narrowed since they ran.

    The evaluator is Optuna's fANOVA (Hutter et al., ICML 2014): a random forest of the loss over
    the space, whose variance is taken apart. Its random seed is fixed.
    """
    inside = [trial for trial in arm.trials if _is_inside(trial, space)]
    num_outside = len(arm.trials) - len(inside)
    outside = f"; {num_outside} are outside of the space as it is now" if num_outside else ""
    found = common_fidelity(inside, FEWEST_TRIALS)
    if len(found.points) < FEWEST_TRIALS:
        return Importance({}, f"unknown: {found.too_few(FEWEST_TRIALS)}{outside}")
    if len({loss for _, loss in found.points}) == 1:
        return Importance({}, "unknown: the losses of all trials are equal")
    drawn = [trial.record.values for trial, _ in found.points]
    searched = {key: it for key, it in space.items() if all(key in values for values in drawn)}
    varied = [key for key in searched if len({repr(values[key]) for values in drawn}) > 1]
    if not varied:
        return Importance({}, "unknown: nothing varies in this arm")
    from optuna import create_study
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.logging import ERROR, set_verbosity
    from optuna.trial import create_trial

    set_verbosity(ERROR)
    study = create_study()
    for trial, loss in found.points:
        params = {key: trial.values[key] for key in varied}
        kinds = {key: _distribution(searched[key]) for key in varied}
        study.add_trial(create_trial(params=params, distributions=kinds, value=loss))
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return Importance({key: float(share) for key, share in ordered}, found.text + outside)


def _is_inside(trial: Trial, space: Mapping[str, Domain]) -> bool:
    drawn = trial.record.values
    return all(domain.listed(drawn[key]) for key, domain in space.items() if key in drawn)


def _distribution(domain: Domain) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choice)
    low, high = domain.corners
    if isinstance(domain, IntRange):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=isinstance(domain, LogUniform))
