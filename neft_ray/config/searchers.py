"""The `searcher` section: who proposes the values of the next trial."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neft_ray.config.base import Count, Section, Seed


class GridSearch(Section):
    """Every combination of the listed choices, in order."""

    kind: Literal["grid"]


class RandomSearch(Section):
    """Independent draws."""

    kind: Literal["random"]
    seed: Seed = 0


class QuasiRandomSearch(Section):
    """A scrambled Sobol sequence (Bergstra and Bengio, JMLR 2012): fills the space evenly."""

    kind: Literal["quasi_random"]
    seed: Seed = 0


class OptunaSearch(Section):
    """One of Optuna's models of good and bad values, over all keys at once."""

    kind: Literal["optuna"]
    sampler: Literal["tpe", "gp"] = "tpe"
    """`tpe`: the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011). `gp`: a
    Gaussian process with expected improvement, which learns from completed trials alone."""
    seed: Seed = 0
    num_startup_trials: Count = 10
    """Random draws before the model is used."""


class BohbSearch(Section):
    """The Parzen estimator over several fidelities (Falkner et al., ICML 2018).

    It models the furthest rung that enough trials have reached: what was cut early teaches too, and
    never beside what ran longer.
    """

    kind: Literal["bohb"]
    seed: Seed = 0
    num_startup_trials: Count = 6
    """So many trials must have reached a rung before it is modelled."""
    random_fraction: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the trials that are drawn at random all the same."""


Searcher = Annotated[
    GridSearch | RandomSearch | QuasiRandomSearch | OptunaSearch | BohbSearch,
    Field(discriminator="kind"),
]
