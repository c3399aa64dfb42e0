"""Searchers with a model, trials to tell them of, and what the model sees of those."""

from neft_ray.journal import COMPLETED, Report, TrialRecord
from neft_ray.sweep.propose import build_proposer
from tests.unit.sweep_runs import ALPHA, RATE, TOKENS_PER_STEP, sweep_config

TPE = {"kind": "optuna", "num_startup_trials": 3}
GP = TPE | {"sampler": "gp"}
BOHB = {"kind": "bohb", "num_startup_trials": 3, "random_fraction": 0}
NONE = {"kind": "none"}
VALUES = {ALPHA: 5, RATE: 1e-3}
WHOLE = [3.0, 2.5, 2.0, 2.2]


def record(number, losses, status=COMPLETED, values=VALUES, every=10):
    reports = [
        Report(
            every * index,
            {"select_loss": loss, "tokens_trained": every * index * TOKENS_PER_STEP},
            "continue",
            0.0,
        )
        for index, loss in enumerate(losses, start=1)
    ]
    return TrialRecord(
        number, "treatment", "search", values, 0, 0.0, 80, reports=reports, status=status
    )


def proposer_of(searcher, length=80, **search):
    search = {"num_trials": 400} | search
    return build_proposer(sweep_config(searcher=searcher, **search), "treatment", length)


def view_of(searcher, history, length=80, **search):
    """What the model sees before the next proposal."""
    seen = []
    proposer = proposer_of(searcher, length, **search)
    asked = proposer._asked
    proposer._asked = lambda known, seed, preset: seen.append(known) or asked(known, seed, preset)
    proposer.propose(history)
    return seen[0] if seen else None


def told(searcher, history, length=80, **search):
    """The same as (state, value, intermediate values)."""
    trials = view_of(searcher, history, length, **search)
    return trials and [(t.state, t.value, t.intermediate_values) for t in trials]
