"""A sweep: a base trial, the space searched around it, and how the search is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from neft_ray.config.base import Count, ListedOnce, Name, Section, Seed
from neft_ray.config.space import Domain, Value
from neft_ray.config.trial import TrialConfig


class ObjectiveConfig(Section):
    """What is optimised."""

    metric: Literal["select_loss"] = "select_loss"
    mode: Literal["min"] = "min"
    at: Literal["best", "end"] = "best"
    """`best`: a trial's best evaluation counts. `end`: its last one."""


class GridSearch(Section):
    """Every combination of the listed choices, in order."""

    kind: Literal["grid"]


class RandomSearch(Section):
    """Independent draws."""

    kind: Literal["random"]
    seed: Seed = 0


class OptunaSearch(Section):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011)."""

    kind: Literal["optuna"]
    seed: Seed = 0
    num_startup_trials: Count = 10
    """Random draws before the model of good and bad values is used."""


class NoStopping(Section):
    """Every trial runs to its end."""

    kind: Literal["none"]


class AshaStopping(Section):
    """Asynchronous successive halving, the stopping variant (Li et al., arXiv 1810.05934)."""

    kind: Literal["asha"]
    grace_steps: Count
    """The first rung, in optimizer steps. Later rungs are `eta` times further apart each."""
    eta: Annotated[int, Field(ge=2)] = 4
    """At a rung the best 1/eta of the trials that reached it so far go on."""

    def rungs(self, num_steps: int) -> list[int]:
        """Return the steps at which trials of `num_steps` are compared."""
        steps, step = [], self.grace_steps
        while step < num_steps:
            steps.append(step)
            step *= self.eta
        return steps


class MedianStopping(Section):
    """Stop a trial whose best loss is worse than the median of the others' running averages."""

    kind: Literal["median"]
    grace_steps: Count
    min_trials: Count = 3
    """So many other trials must have come as far before one is stopped."""


Searcher = Annotated[GridSearch | RandomSearch | OptunaSearch, Field(discriminator="kind")]
Scheduler = Annotated[NoStopping | AshaStopping | MedianStopping, Field(discriminator="kind")]


class FinalistsConfig(Section):
    """The best configurations of each arm, run to the end on several seeds.

    Choose seeds other than `training.seed`, which the search uses: a configuration that won by
    the luck of its seed would carry that luck into the lift.
    """

    num: Annotated[int, Field(ge=0)] = 1
    """Configurations per arm; 0 measures no lift."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), ListedOnce] = (1, 2, 3, 4, 5)
    """Paired across the arms. A reviewer expects five or more."""


class SearchConfig(Section):
    """How values are proposed, trials stopped and results kept."""

    space: Annotated[dict[str, Domain], Field(min_length=1)]
    """Dotted keys of the trial above, each with `choice`, `uniform`, `loguniform`, `int_range`."""
    control: Annotated[dict[str, Value | None], Field(min_length=1)] | None = None
    """Fixed values of the control arm, such as `{noise.alpha: 0}`: same space, same budget."""
    objective: ObjectiveConfig = ObjectiveConfig()
    searcher: Searcher = RandomSearch(kind="random")
    scheduler: Scheduler = NoStopping(kind="none")
    num_trials: Count | None = None
    """Trials per arm; a grid has as many as it has points."""
    finalists: FinalistsConfig = FinalistsConfig()
    slots: Count | None = None
    """Trials at the same time; null: as many as the cluster holds."""
    warm: bool = True
    """Keep a slot's workers between trials; false starts new processes for each trial."""
    keep_checkpoints: Count = 3
    """Best checkpoints kept over the whole sweep, beside the latest of every live trial."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a trial is started again from its checkpoint after a crash."""


class MlflowConfig(Section):
    """Where runs are recorded."""

    uri: Name | None = None
    """A tracking server or database; null: a sqlite file inside the storage folder."""
    experiment: Name | None = None
    """Null: the sweep's name."""


class SweepConfig(TrialConfig):
    """One sweep file: the base trial at the top level, the search below `sweep`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Letters, digits, dots, dashes and underscores; a letter or digit first, 100 at most."""
    storage: Name = "runs"
    """The folder that holds every run, relative to where the command is typed."""
    sweep: SearchConfig
    mlflow: MlflowConfig = MlflowConfig()

    @property
    def trial(self) -> TrialConfig:
        """The base trial alone."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in TrialConfig.model_fields}
        return TrialConfig(**fields)

    def values_of(self, key: str) -> set[Value | None]:
        """Return what a setting is in the base trial, the control, and at the space's corners.

        Args:
            key: Dotted, of a setting that every trial has.
        """
        base: Any = self
        for word in key.split("."):
            base = getattr(base, word)
        searched = self.sweep.space.get(key)
        fixed = (self.sweep.control or {}).get(key, base)
        return {base, fixed, *(searched.corners if searched else ())}
