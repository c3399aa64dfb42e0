"""From the finalists of two arms to the lift: which runs are paired, and which cannot be."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neft_ray.config.sweep import FinalistsConfig
from neft_ray.journal import COMPLETED, DIVERGED
from neft_ray.report.arms import Arm, best_configuration
from neft_ray.report.lift import Difference, Floats, Pair, difference_of
from neft_ray.report.trials import Trial
from neft_ray.run_directory import RunDirectory


@dataclass(frozen=True)
class Rows:
    """A run's report split at one step, in the order of sample ids.

    Attributes:
        key: Sample ids and supervised tokens; equal keys mean the same rows.
        losses: [R] sum of token losses, in nats.
        counts: [R] supervised tokens.
    """

    key: bytes
    losses: Floats
    counts: Floats


@dataclass(frozen=True)
class Lift:
    """Finalists of two arms compared on the report split, which no decision saw."""

    treatment: tuple[Trial, ...]
    """The runs of the first arm's best configuration, one per seed."""
    control: tuple[Trial, ...]
    """The same of the arm that it is compared with."""
    num_planned_seeds: int
    at_best: Difference | None
    """Each run at its step of lowest select loss: early stopping in both arms."""
    at_end: Difference | None
    """Each run at its last step."""
    against_early_stopping: Difference | None
    """Treatment at its last step, control at its best: noise against early stopping alone."""
    left_out: tuple[str, ...]
    """Runs that could not be compared, and why."""


class NoLift(Exception):
    """There is nothing to compare; the message says why."""


def measure_lift(run: RunDirectory, treatment: Arm, control: Arm, config: FinalistsConfig) -> Lift:
    """Return the lift over all pairs of finalists that have ended so far.

    Args:
        run: Where the rows lie.
        treatment: The arm that the lift is of.
        control: The arm that it is compared with.
        config: How many were asked for.

    Raises:
        NoLift: If there is nothing to compare yet, or ever.
    """
    for arm in (treatment, control):
        if not arm.finalists:
            raise NoLift(f"the {arm.name} arm {_why_no_finalists(arm, config)}")
    ours, theirs = (_read_side(run, best_configuration(arm)) for arm in (treatment, control))
    _refuse_different_rows((ours, theirs))

    return Lift(
        treatment=ours.trials,
        control=theirs.trials,
        num_planned_seeds=len(config.seeds),
        at_best=_compare(ours, theirs, "best", "best"),
        at_end=_compare(ours, theirs, "end", "end"),
        against_early_stopping=_compare(ours, theirs, "end", "best"),
        left_out=ours.left_out + theirs.left_out,
    )


def _why_no_finalists(arm: Arm, config: FinalistsConfig) -> str:
    if config.num == 0:
        return "has no finalists (sweep.finalists.num is 0)"
    if arm.is_searched and arm.best is None:
        return "has no finalists, because none of its trials has a finite select loss"
    return "has no finalists yet"


def _compare(
    treatment: _Side, control: _Side, treatment_at: str, control_at: str
) -> Difference | None:
    ours, theirs = treatment.rows[treatment_at], control.rows[control_at]
    seeds = sorted(ours.keys() & theirs.keys())
    pairs = [Pair(seed, ours[seed].losses, theirs[seed].losses) for seed in seeds]
    counts = ours[seeds[0]].counts if seeds else np.zeros(0)
    diverged = (treatment.diverged_seeds - ours.keys(), control.diverged_seeds - theirs.keys())
    return difference_of(pairs, counts, (len(diverged[0]), len(diverged[1])))


@dataclass(frozen=True)
class _Side:
    """One arm's runs with their rows by seed, at best and at end."""

    trials: tuple[Trial, ...]
    rows: Mapping[str, Mapping[int, Rows]]
    left_out: tuple[str, ...]

    @property
    def diverged_seeds(self) -> set[int]:
        """Seeds whose run diverged."""
        return {trial.record.seed for trial in self.trials if trial.status == DIVERGED}


def _read_side(run: RunDirectory, trials: tuple[Trial, ...]) -> _Side:
    rows: dict[str, dict[int, Rows]] = {"best": {}, "end": {}}
    left_out = []
    for trial in trials:
        record = trial.record
        where = f"{record.arm} run {trial.name} (seed {record.seed})"
        steps = {}
        if trial.status in (COMPLETED, DIVERGED) and record.best:
            steps["best"] = record.best.step
        if trial.status == COMPLETED:
            steps["end"] = record.last_step
        else:
            reason = f" ({record.reason})" if record.reason else ""
            left_out.append(f"{where}: {trial.status}{reason}")
        for at, step in steps.items():
            path = run.trial(record.number) / "report_rows" / f"step-{step:06d}.npz"
            try:
                rows[at][record.seed] = read_rows(path)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                left_out.append(f"{where}: report_rows/{path.name} cannot be read")
    return _Side(trials, rows, tuple(left_out))


def read_rows(path: Path) -> Rows:
    """Read what a worker saved of the report split at one step."""
    with np.load(path) as file:
        order = np.argsort(file["sample_ids"], kind="stable")
        ids, losses, counts = (file[name][order] for name in ("sample_ids", "losses", "counts"))
    return Rows(ids.tobytes() + counts.tobytes(), losses, counts.astype(np.float64))


def _refuse_different_rows(sides: Sequence[_Side]) -> None:
    keys = {r.key for side in sides for rows in side.rows.values() for r in rows.values()}
    if len(keys) > 1:
        raise NoLift("the finalists were evaluated on different report rows")
