"""The judge that a configuration names, and whether its cost is agreed to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neft_ray.config.evaluation import JudgeConfig
from neft_ray.errors import bad_input
from neft_ray.judge import (
    LABELS,
    Comparison,
    EndpointJudge,
    Judge,
    LocalJudge,
    TokenPrices,
    load_prompt,
)


def make_judge(config: JudgeConfig) -> Judge:
    """Return the judge: an endpoint, or a model that is loaded here.

    Raises:
        UserError: If it cannot be used.
    """
    prompt = load_prompt(Path(config.prompt).expanduser() if config.prompt else None)
    if config.url is not None:
        return EndpointJudge(
            config.url,
            config.model,
            config.key_variable,
            prompt,
            config.max_output_tokens,
            config.extra or {},
        )
    from neft_ray.generate.verdict import LabelLogits

    return LocalJudge(config.model, LabelLogits(config.model, LABELS), prompt)


def confirm_cost(
    comparison: Comparison, config: JudgeConfig, confirm: Callable[[str], bool]
) -> None:
    """Say what a comparison takes before it is asked for, and go on only if that is agreed to.

    A judge here costs nothing but time, and nothing is asked where all verdicts are known.

    Raises:
        UserError: If nobody agrees.
    """
    prices = None
    if config.input_price_per_million is not None and config.output_price_per_million is not None:
        prices = TokenPrices(config.input_price_per_million, config.output_price_per_million)
    cost = comparison.cost(prices)
    if not cost.num_calls or config.url is None:
        return
    if config.max_cost is not None and cost.money is not None and cost.money <= config.max_cost:
        return
    if not confirm(cost.sentence()):
        remedy = "agree on a terminal, or set judge.max_cost with the judge's prices"
        raise bad_input("judge", f"nobody agreed to {cost.sentence()}", remedy)
