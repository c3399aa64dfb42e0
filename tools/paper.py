"""The table of docs/paper.md and the costs in the recipes' heads: `python -m tools.paper`."""

from __future__ import annotations

import re
from pathlib import Path

from neft_ray.config.load import load_sweep
from neft_ray.config.recipes import Recipe, recipes
from neft_ray.plan import make_plan

PAGE = Path(__file__).parents[1] / "docs" / "paper.md"
BEGIN, END = "<!-- made by tools/paper.py -->", "<!-- end -->"
STEPS = 1000
FLOPS_PER_SECOND = 0.4 * 989e12
"""40 % of what NVIDIA states for bfloat16 on an H100: an assumption, nothing measured."""


def cost_text(recipe: Recipe) -> str:
    """Return the GPU-hours and dollars of a whole sweep, at most, as a recipe's head says them.

    A trial costs 2 operations per parameter and token in the forward, 4 in the backward (2 where
    the weights are frozen), and 2 for activations that are computed again; every row is counted
    as long as the longest that is allowed. Evaluations are left out.
    """
    config = load_sweep(recipe.file)
    size = re.fullmatch(r"([\d.e]+) parameters, (\d+) rows", recipe.facts["size"])
    assert size is not None
    parameters, rows = float(size[1]), int(size[2])
    plan = make_plan(config, STEPS)
    trials = (sum(arm.steps for arm in plan.arms) + plan.finalist_steps) / STEPS
    passes = 6 if config.model.lora is None else 4
    passes += 2 * config.model.activation_checkpointing
    tokens = rows * config.data.max_length_tokens * config.training.epochs
    hours = trials * passes * parameters * tokens / FLOPS_PER_SECOND / 3600
    price = config.sweep.price.of_a_gpu_hour
    assert price is not None
    return f"at most {hours:.0f} GPU-hours in {trials:.0f} trials, {hours * price:.0f} dollars"


def table() -> str:
    """Return the table of all recipes whose head says what they cost.

    `tests/system/test_stand_ins.py` runs each as a stand-in; none was run at full size.
    """
    lines = [
        "| recipe | what | theirs: plain → NEFTune | ours | stand-in | cost, estimated |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in recipes():
        if "cost" in recipe.facts:
            theirs = recipe.facts.get("paper", "not in the paper")
            ours = ("not run", "tested")
            cells = (f"`{recipe.name}`", recipe.title, theirs, *ours, recipe.facts["cost"])
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the text of docs/paper.md with the table as it should be."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write costs into the heads of recipes, and the table into the page."""
    for recipe in recipes():
        if "size" in recipe.facts:
            text = recipe.file.read_text(encoding="utf-8")
            text = re.sub(r"(?m)^# cost: .*$", f"# cost: {cost_text(recipe)}", text, count=1)
            recipe.file.resolve().write_text(text, encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
