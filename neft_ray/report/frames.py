"""A run's tables as pandas data frames, for notebooks: trials, evaluations, lift, measures."""

from __future__ import annotations

import pandas as pd

from neft_ray.report.results import Results
from neft_ray.report.tables import evaluation_rows, lift_rows, measure_rows, trial_rows


def trials_frame(results: Results) -> pd.DataFrame:
    """Return a line per trial under its id: `tables.trial_row`, then every searched value.

    Losses are in nats per supervised token. Empty before the first trial.
    """
    frame = pd.DataFrame(trial_rows(results.trials))
    return frame if frame.empty else frame.set_index("trial")


def evaluations_frame(results: Results) -> pd.DataFrame:
    """Return a line per evaluation: which trial, which step, all metrics, the decision."""
    return pd.DataFrame(evaluation_rows(results.trials))


def lift_frame(results: Results) -> pd.DataFrame:
    """Return a line per comparison of two arms' finalists, and per place where they are compared.

    Columns: `first_arm`, `second_arm`; `at` their end, their best step, or one against the other;
    both losses, their `difference` (below 0 the first is better), `low` and `high` of its 95 %
    interval, the `verdict`, and how many seeds, rows and diverged runs. Empty without finalists.
    """
    return pd.DataFrame(lift_rows(results.comparisons))


def measures_frame(results: Results) -> pd.DataFrame:
    """Return a line per comparison and measure beside the loss, see `tables.measure_row`."""
    return pd.DataFrame(measure_rows(results.comparisons))
