"""The lift: differences of every pair of finalists, with mean and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neft_ray.report.figures.style import (
    BLACK,
    BLUE,
    FAINT,
    GREY,
    ORANGE,
    VERMILION,
    new_figure,
    say,
)
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE, Difference
from neft_ray.report.results import Results
from neft_ray.report.words import DIRECTIONS, loss_text

TITLE = "The lift: noise against no noise, seed by seed"
_COLOURS = {HELPS: BLUE, NO_EVIDENCE: GREY, HURTS: VERMILION}


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    lift = results.lift
    rows = {
        "both at the end": lift and lift.at_end,
        "both at their best step\n(early stopping)": lift and lift.at_best,
        "noise at the end,\ncontrol at its best step": lift and lift.against_early_stopping,
    }
    there = {label: difference for label, difference in rows.items() if difference}
    figure = new_figure(1.7 + 0.85 * len(there) if there else 1.2)
    if not there:
        why = results.no_lift_reason or "no pair of finalists can be compared"
        say(figure, f"No lift: {why}.")
        return figure, f"No lift: {why}.", "An empty figure."
    axis = figure.subplots()
    for row, difference in enumerate(there.values()):
        _draw_row(axis, row, difference)
    axis.axvline(0, color=BLACK, linewidth=1.2)
    axis.set_yticks(range(len(there)), list(there))
    axis.set_ylim(len(there) - 0.5, -0.6)
    axis.set_xlabel(
        "held-out loss, noise minus control (nats per token)\n← noise better · noise worse →"
    )
    axis.grid(axis="x", color=FAINT)
    axis.set_axisbelow(True)
    axis.margins(x=0.15)
    axis.locator_params(axis="x", nbins=5)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    caption = (
        "Treatment minus control on the report split for every seed, with the mean and its 95 % "
        "interval; left of zero noise is better."
    )
    return figure, caption, _alt(there)


def _draw_row(axis: Any, row: int, difference: Difference) -> None:
    colour, mean = _COLOURS[difference.verdict], difference.difference
    low, high = difference.interval or (mean, mean)
    axis.plot((low, high), (row, row), color=colour, linewidth=5, solid_capstyle="butt")
    axis.plot(mean, row, "D", color=colour, markeredgecolor=BLACK, markersize=10, zorder=3)
    seeds = difference.seed_differences
    heights = row + 0.24 + 0.05 * (np.arange(len(seeds)) % 2)
    style = {"markerfacecolor": ORANGE, "markeredgecolor": BLACK, "markersize": 6}
    axis.plot(seeds, heights, "o", linestyle="none", **style)
    text = f"{loss_text(mean)} ({DIRECTIONS[difference.verdict]})"
    above = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axis.annotate(text, (mean, row), fontsize=10, bbox=paper, **above)


def _legend() -> list[Line2D]:
    common: dict[str, Any] = {"linestyle": "none", "markeredgecolor": BLACK}
    return [
        Line2D([], [], marker="D", markerfacecolor="white", markersize=9, label="mean", **common),
        Line2D([], [], color=GREY, linewidth=5, label="95 % interval"),
        Line2D([], [], marker="o", markerfacecolor=ORANGE, label="one seed", **common),
    ]


def _alt(rows: dict[str, Difference]) -> str:
    parts = [
        f"{label.replace(chr(10), ' ')}: {loss_text(d.difference)}, {DIRECTIONS[d.verdict]}"
        for label, d in rows.items()
    ]
    return f"Treatment minus control in nats per token. {'; '.join(parts)}."
