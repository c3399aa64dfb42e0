"""Everything that is known of a run, gathered from its directory: what the report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.arm_space import num_points, num_trials
from neft_ray.config.load import load_sweep
from neft_ray.config.schedulers import Rungs
from neft_ray.config.sweep import CONTROL, TREATMENT, SweepConfig
from neft_ray.journal import read_events, reduce_events
from neft_ray.report.arms import Arm, best_of
from neft_ray.report.beside import MeasureDifference, compare_measures
from neft_ray.report.evaluations import EvaluatedPair, read_evaluations
from neft_ray.report.finalists import Lift, NoLift, measure_lift
from neft_ray.report.front import LOSS, Candidate, candidates_of
from neft_ray.report.importance import Importance, importance_of
from neft_ray.report.surrogate import NoSurface, Surface, surface_of
from neft_ray.report.trials import Trial, fixed_values, read_trials
from neft_ray.run_directory import RunDirectory


@dataclass(frozen=True)
class Comparison:
    """The finalists of one arm against those of another."""

    ours: Arm
    theirs: Arm
    lift: Lift | None
    no_lift_reason: str
    """Why there is no lift; empty if there is one."""
    beside: tuple[MeasureDifference, ...]
    """Measures at the last step; empty where an arm has no finalists."""

    @property
    def name(self) -> str:
        """Such as `treatment − control`."""
        return f"{self.ours.name} − {self.theirs.name}"


@dataclass(frozen=True)
class Results:
    """A run as it stands; complete once `is_finished`."""

    name: str
    config: SweepConfig
    manifest: Mapping[str, Any]
    trials: tuple[Trial, ...]
    treatment: Arm
    control: Arm | None
    further: tuple[Arm, ...]
    """The arms of `sweep.controls`."""
    comparisons: tuple[Comparison, ...]
    """The treatment against the control first, if there is one; then each further control against
    it, and the treatment against each."""
    is_finished: bool
    """Whether every trial there will be has ended."""
    rungs: tuple[int, ...]
    """Steps at which trials are compared; empty where every evaluation is one, or none."""
    importance: Importance
    """Of the settings that the treatment arm searches."""
    surface: Surface | None
    """The treatment arm's loss over α and learning rate."""
    no_surface_reason: str
    candidates: tuple[Candidate, ...]
    """Finalist configurations under the loss and `objective.beside`."""
    evaluations: tuple[EvaluatedPair, ...]
    """Of its models, by `neft-ray evaluate`."""
    seconds: float
    """From the journal's first event to its last, interruptions included."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Treatment first, then the control, then the further ones."""
        control = (self.control,) if self.control else ()
        return (self.treatment, *control, *self.further)

    @property
    def headline(self) -> Comparison | None:
        """The treatment against the control; None in a sweep without one."""
        first = self.comparisons[0] if self.comparisons else None
        return first if first and first.theirs is self.control else None

    @property
    def lift(self) -> Lift | None:
        """Of the treatment over the control."""
        return self.headline.lift if self.headline else None

    @property
    def no_lift_reason(self) -> str:
        """Why there is no lift; empty if there is one."""
        return self.headline.no_lift_reason if self.headline else "this sweep has no control arm"

    @property
    def best(self) -> Trial | None:
        """The best trial, of all arms and phases, weighed as the objective says."""
        return best_of(self.trials, self.config.sweep.objective)

    @property
    def headline_metrics(self) -> dict[str, float]:
        """What the run came to, by name, in nats per supervised token."""
        found = {}
        for arm in self.arms:
            if arm.best_report is not None:
                found[f"{arm.name}_best_select_loss"] = arm.best_report.metrics["select_loss"]
        if self.lift is not None:
            differences = {"lift_at_best": self.lift.at_best, "lift_at_end": self.lift.at_end}
            for name, measured in differences.items():
                if measured is not None:
                    found[name] = measured.difference
        return found

    @property
    def with_problems(self) -> tuple[Trial, ...]:
        """Trials that diverged, failed or crashed."""
        return tuple(trial for trial in self.trials if trial.problem)


def objectives_of(config: SweepConfig) -> dict[str, str]:
    """Return what finalists are weighed by, the loss first, each with `min` or `max`."""
    beside = config.sweep.objective.beside.items()
    return {LOSS: "min", **{str(name): str(mode) for name, mode in beside}}


def gather(run: RunDirectory) -> Results:
    """Read a run directory, of a run that has ended or not.

    Raises:
        UserError: If a file of the run is damaged.
    """
    config = load_sweep(run.config_file)
    events = list(read_events(run.journal_file))
    trials = read_trials(config, run, reduce_events(events), events)
    arms = {name: _arm(config, trials, name) for name in config.sweep.arms}
    treatment, control = arms[TREATMENT], arms.get(CONTROL)
    further = tuple(arm for name, arm in arms.items() if name not in (TREATMENT, CONTROL))
    pairs = [(treatment, control)] if control else []
    for arm in further:
        pairs += [(arm, control)] if control else []
        pairs.append((treatment, arm))
    surface, no_surface_reason = None, ""
    try:
        surface = surface_of(treatment)
    except NoSurface as why:
        no_surface_reason = str(why)
    times = [event["time"] for event in events]
    return Results(
        name=run.name,
        config=config,
        manifest=run.manifest,
        trials=trials,
        treatment=treatment,
        control=control,
        further=further,
        comparisons=tuple(_compare(run, config, *pair) for pair in pairs),
        is_finished=any(event["event"] == "finish" for event in events),
        rungs=_rungs(config, trials),
        importance=importance_of(treatment, config.sweep.space),
        surface=surface,
        no_surface_reason=no_surface_reason,
        candidates=candidates_of(tuple(arms.values()), objectives_of(config)),
        evaluations=read_evaluations(run),
        seconds=max(times) - min(times) if times else 0.0,
    )


def _compare(run: RunDirectory, config: SweepConfig, ours: Arm, theirs: Arm) -> Comparison:
    lift, reason = None, ""
    try:
        lift = measure_lift(run, ours, theirs, config.sweep.finalists)
    except NoLift as why:
        reason = str(why)
    return Comparison(ours, theirs, lift, reason, compare_measures(ours, theirs))


def _arm(config: SweepConfig, trials: tuple[Trial, ...], name: str) -> Arm:
    own = [trial for trial in trials if trial.record.arm == name]
    fixed = fixed_values(config, name)
    return Arm(
        name=name,
        fixed=fixed,
        trials=tuple(trial for trial in own if trial.record.phase == "search"),
        finalists=tuple(trial for trial in own if trial.record.phase == "finalist"),
        num_planned=num_trials(config, name),
        num_points=num_points(config, name),
        at=config.sweep.objective.at,
    )


def _rungs(config: SweepConfig, trials: tuple[Trial, ...]) -> tuple[int, ...]:
    scheduler = config.sweep.scheduler
    if not isinstance(scheduler, Rungs) or scheduler.unit != "steps":
        return ()
    return tuple(scheduler.rungs(max((trial.record.num_steps for trial in trials), default=0)))
