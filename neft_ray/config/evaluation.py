"""Evaluation: how a model answers a set of prompts, on which workers, and who judges it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from neft_ray.config.base import Count, Name, NonNegative, Positive, Section, Seed, broken_rule
from neft_ray.config.explain import explain
from neft_ray.config.overrides import apply_overrides
from neft_ray.config.places import Places
from neft_ray.config.trial import ModelConfig
from neft_ray.config.workers import WorkersConfig
from neft_ray.errors import UserError

REPETITION_PENALTY = 1.2
"""The paper's, with greedy decoding."""


class DecodingConfig(Section):
    """How a model writes."""

    max_new_tokens: Count = 512
    """The longest reply; a model's context may end it earlier."""
    repetition_penalty: Positive = REPETITION_PENALTY
    temperature: NonNegative = 0.0
    """0: greedy. Otherwise tokens are drawn, and a reply depends on those in its batch."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Seed = 0


class JudgeConfig(Section):
    """Who compares two models' replies, and what that may cost."""

    model: Name
    """Of an endpoint; without `url` a Hugging Face folder or hub name, which judges here."""
    url: Name | None = None
    """Of an OpenAI-compatible endpoint, such as `https://api.openai.com/v1`."""
    key_variable: Name | None = "OPENAI_API_KEY"
    """The environment variable with its key; null: it wants none."""
    prompt: Name | None = None
    """A file with a Jinja template over instruction, output_1, output_2, label_1 and label_2; null:
    the one that ships with neft_ray."""
    max_output_tokens: Count = 8
    extra: dict[str, Any] | None = None
    """Further fields of each request; null takes one of ours out."""
    num_at_once: Count = 4
    """Requests at a time."""
    input_price_per_million: NonNegative | None = None
    output_price_per_million: NonNegative | None = None
    max_cost: NonNegative | None = None
    """Begin without asking if the estimate is not above it; in the money of the prices."""

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.input_price_per_million is None) != (self.output_price_per_million is None):
            raise broken_rule("one of two prices is missing", "give input and output prices")
        if self.max_cost is not None and self.input_price_per_million is None:
            raise broken_rule("max_cost without prices", "give input and output prices")
        return self


class ReplyConfig(Section):
    """How replies are written, whatever writes them."""

    decoding: DecodingConfig = DecodingConfig()
    batch_size: Count = 16
    """Prompts that a worker answers at a time."""
    sharded: bool = False
    """One model in shards on all workers (FSDP2), where it does not fit on one. Otherwise each has
    a whole copy."""
    workers: WorkersConfig = WorkersConfig()
    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm`, where it is installed, is faster on GPUs; it spreads a model over `workers.gpus` of
    this machine."""


class EvaluationConfig(ReplyConfig):
    """The settings of `neft-ray evaluate`."""

    template: Name | None = None
    """How prompts are put to a model; null: as it was tuned in its run, else its chat template."""
    max_prompts: Count | None = None
    """The first so many of the set; null: all."""
    rebuild: bool = False
    """Train a trial again whose checkpoints are gone."""
    overwrite: bool = False
    """Replace replies that were written with other settings."""
    judge: JudgeConfig | None = None


class Answering(Section):
    """A model and how it is to reply: what a worker is told."""

    model: ModelConfig
    template: Name
    replies: ReplyConfig


def load_evaluation(overrides: Sequence[str]) -> EvaluationConfig:
    """Return the settings that options of the command line say.

    Args:
        overrides: Such as `decoding.max_new_tokens=64`.

    Raises:
        UserError: With every problem of the options.
    """
    values: dict[str, Any] = {}
    places = Places("evaluate", {})
    problems = apply_overrides(values, places, overrides)
    try:
        config = EvaluationConfig.model_validate(values)
    except ValidationError as error:
        raise UserError([*problems, *places.problems(explain(error, EvaluationConfig))]) from None
    if problems:
        raise UserError(problems)
    return config
