"""A sweep: a base trial, the space searched around it, and how the search is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from neft_ray.config.base import Count, ListedOnce, Name, Positive, Section, Seed, broken_rule
from neft_ray.config.prices import PriceConfig
from neft_ray.config.schedulers import NoStopping, Scheduler
from neft_ray.config.searchers import RandomSearch, Searcher
from neft_ray.config.space import Domain, Value
from neft_ray.config.trial import TrialConfig

TREATMENT, CONTROL = "treatment", "control"


Beside = Literal[
    "answer_words",
    "answer_tokens",
    "answer_ended_fraction",
    "answer_repetition",
    "answer_log_diversity",
    "answer_rouge_l",
    "answer_bleu",
]


class ObjectiveConfig(Section):
    """What is optimised."""

    metric: Literal["select_loss"] = "select_loss"
    mode: Literal["min"] = "min"
    at: Literal["best", "end"] = "best"
    """`best`: a trial's best evaluation counts. `end`: its last one."""
    beside: dict[Beside, Literal["min", "max"]] = Field(default={"answer_repetition": "min"})
    """What else to weigh against the loss on the report split: measures of the finalists' answers.
    The report says which configurations no other one beats in all of them (the Pareto front)."""
    weights: dict[Beside, Positive] = Field(default={})
    """Nats that one unit of a measure of `beside` is worth when the sweep's model is chosen: of
    the finalists at their end, that of the lowest select loss with the weighed measures added
    (taken off for `max`). Empty: the lowest select loss of all trials. The search, its stopping
    and the lift look at the loss alone."""

    @model_validator(mode="after")
    def _weighs_what_is_listed(self) -> Self:
        for name in self.weights:
            if name not in self.beside:
                what = f"{name} has a weight and is not in `beside`"
                raise broken_rule(what, f"add `{name}: min` or `{name}: max` to beside")
        return self

    @property
    def costs(self) -> dict[str, float]:
        """Nats that one unit more of each weighed measure costs; below 0, what it is worth."""
        return {n: -w if self.beside[n] == "max" else w for n, w in self.weights.items()}


class FinalistsConfig(Section):
    """The best configurations of each arm, run to the end on several seeds.

    Choose seeds other than `training.seed`, which the search uses: a configuration that won by
    the luck of its seed would carry that luck into the lift.
    """

    num: Annotated[int, Field(ge=0)] = 1
    """Configurations per arm; 0 measures no lift."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), ListedOnce] = (1, 2, 3, 4, 5)
    """Paired across the arms. A reviewer expects five or more."""
    generated_rows: Annotated[int, Field(ge=0)] = 16
    """Rows of the report split that every finalist answers at its end, to measure the length,
    repetition and likeness of its text."""


class HealthConfig(Section):
    """When a trial is stopped for its own sake, before it is compared with others."""

    spike_nats: Positive | None = 2.0
    """Diverged: a select loss so far above the trial's own lowest. Null: never."""
    patience_evaluations: Count | None = None
    """Stalled: so many evaluations without a lower select loss. Null: never."""


class BudgetConfig(Section):
    """What a sweep may spend. Its search ends early enough for the finalists."""

    hours: Positive | None = None
    """Of the sweep, interruptions not counted."""
    gpu_hours: Positive | None = None
    """Of all GPUs that slots hold, idle or not."""
    dollars: Positive | None = None
    """At the prices of `sweep.price`."""


class SearchConfig(Section):
    """How values are proposed, trials stopped and results kept."""

    space: Annotated[dict[str, Domain], Field(min_length=1)]
    """Dotted keys of the trial above, each with `choice`, `uniform`, `loguniform`, `int_range`."""
    constraints: tuple[Name, ...] = ()
    """Rules that proposals keep, such as `optimizer.learning_rate * noise.alpha < 0.01`."""
    first: Literal["paper"] | tuple[dict[str, Value | None], ...] = ()
    """Values to try before those of the searcher, which draws what they leave open. `paper`: α 5,
    10 and 15 at learning rate 5e-5, as far as the space holds them."""
    control: Annotated[dict[str, Value | None], Field(min_length=1)] | None = None
    """Fixed values of the control arm, such as `{noise.alpha: 0}`: same space, same budget."""
    controls: dict[Name, Annotated[dict[str, Value | None], Field(min_length=1)]] | None = None
    """Further arms by name, each with its fixed values and the same budget: is it the noise of the
    paper that helps, or any regulariser? Names are up to 40 letters, digits, `_` and `-`."""
    warm_start: tuple[Name, ...] = ()
    """Runs (folders) whose trials the searcher is told of at the start."""
    objective: ObjectiveConfig = ObjectiveConfig()
    searcher: Searcher = RandomSearch(kind="random")
    scheduler: Scheduler = NoStopping(kind="none")
    num_trials: Count | None = None
    """Trials per arm; a grid has as many as it has points."""
    health: HealthConfig = HealthConfig()
    budget: BudgetConfig = BudgetConfig()
    price: PriceConfig = PriceConfig()
    finalists: FinalistsConfig = FinalistsConfig()
    slots: Count | None = None
    """Trials at the same time; null: as many as the cluster holds."""
    warm: bool = True
    """Keep a slot's workers between trials; false starts new processes for each trial."""
    keep_checkpoints: Count = 3
    """Best checkpoints kept over the whole sweep, beside the best of each arm and the latest of
    every live trial."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a trial is started again from its checkpoint after a crash."""

    @property
    def arms(self) -> dict[str, Mapping[str, Value | None]]:
        """The fixed values of every arm by name: the treatment, the control, further controls."""
        control = {} if self.control is None else {CONTROL: self.control}
        return {TREATMENT: {}, **control, **(self.controls or {})}


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
    """The folder that holds every run, relative to where the command is typed, or `~/…`, or a
    bucket's `s3://…` or `gs://…`."""
    sweep: SearchConfig
    mlflow: MlflowConfig = MlflowConfig()

    @property
    def trial(self) -> TrialConfig:
        """The base trial alone."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in TrialConfig.model_fields}
        return TrialConfig(**fields)

    @property
    def is_stored_for_all(self) -> bool:
        """Whether runs lie where every machine of a cluster may see them, not beside this one."""
        return self.storage.startswith("/") or "://" in self.storage

    def base_value(self, key: str) -> Any:
        """Return a setting of the base trial; None in a section that is left out."""
        value: Any = self
        for word in key.split("."):
            value = getattr(value, word, None)
        return value

    def values_of(self, key: str) -> set[Value | None]:
        """Return what a setting is in the base trial, in every arm, and at the space's corners.

        Args:
            key: Dotted, of a setting that every trial has.
        """
        of_arms = (self.values_in(fixed, key) for fixed in self.sweep.arms.values())
        return {self.base_value(key)}.union(*of_arms)

    def values_in(self, fixed: Mapping[str, Value | None], key: str) -> set[Value | None]:
        """Return what a setting is in one arm: the fixed value, the space's corners, or the base's.

        Args:
            fixed: The values that the arm fixes.
            key: Dotted, of a setting that every trial has.
        """
        if key in fixed:
            return {fixed[key]}
        searched = self.sweep.space.get(key)
        return set(searched.corners) if searched else {self.base_value(key)}
