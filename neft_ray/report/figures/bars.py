"""The importance of every searched setting, as bars."""

from __future__ import annotations

from matplotlib.figure import Figure

from neft_ray.report.figures.style import BLUE, FAINT, new_figure, say
from neft_ray.report.phrases import sentence, short_key
from neft_ray.report.results import Results

TITLE = "Which settings matter"


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    importance = results.importance
    if not importance.shares:
        figure = new_figure(1.2)
        text = f"Importance {importance.basis}."
        say(figure, text)
        return figure, text, "An empty figure."
    names = [short_key(key) for key in importance.shares]
    shares = list(importance.shares.values())
    figure = new_figure(1.1 + 0.4 * len(names))
    axis = figure.subplots()
    axis.barh(range(len(names)), shares, color=BLUE, height=0.6)
    for row, share in enumerate(shares):
        axis.annotate(
            f"{share:.0%}", (share, row), xytext=(5, 0), textcoords="offset points", va="center"
        )
    axis.set_yticks(range(len(names)), names)
    axis.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.12 * max(shares)))
    axis.set_xlabel("share of the variance of the select loss")
    axis.grid(axis="x", color=FAINT)
    axis.set_axisbelow(True)
    caption = (
        f"fANOVA of the treatment arm: {importance.basis}. It says what moved the loss within this "
        "space, not what is best."
    )
    parts = [f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True)]
    return figure, caption, sentence(f"importance: {', '.join(parts)}.")
