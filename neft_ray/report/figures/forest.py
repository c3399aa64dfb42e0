"""Differences with their intervals, one row each: what the lift's pictures are made of."""

from __future__ import annotations

from collections.abc import Mapping
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
)
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE, Difference
from neft_ray.report.phrases import loss_text

_COLOURS = {HELPS: BLUE, NO_EVIDENCE: GREY, HURTS: VERMILION}
_MARKERS = {HELPS: "<", NO_EVIDENCE: "D", HURTS: ">"}


def draw_forest(rows: Mapping[str, Difference], words: Mapping[str, str], label: str) -> Figure:
    """Return a figure of differences.

    Args:
        rows: By label, from the top; not empty.
        words: What each verdict is called.
        label: Of the horizontal axis.
    """
    figure = new_figure(1.9 + 0.85 * len(rows))
    axis = figure.subplots()
    for row, difference in enumerate(rows.values()):
        _draw_row(axis, row, difference, words[difference.verdict])
    axis.axvline(0, color=BLACK, linewidth=1.2)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.6)
    axis.set_xlabel(label)
    axis.grid(axis="x", color=FAINT)
    axis.set_axisbelow(True)
    axis.margins(x=0.15)
    axis.locator_params(axis="x", nbins=5)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return figure


def forest_alt(rows: Mapping[str, Difference], words: Mapping[str, str]) -> str:
    """Return the rows for a person who cannot see them."""
    parts = [
        f"{label.replace(chr(10), ' ')}: {loss_text(it.difference)}, {words[it.verdict]}"
        for label, it in rows.items()
    ]
    return f"Differences in nats per token. {'; '.join(parts)}."


def _draw_row(axis: Any, row: int, difference: Difference, word: str) -> None:
    colour, mean = _COLOURS[difference.verdict], difference.difference
    low, high = difference.interval or (mean, mean)
    axis.plot((low, high), (row, row), color=colour, linewidth=5, solid_capstyle="butt")
    marker = _MARKERS[difference.verdict]
    axis.plot(mean, row, marker, color=colour, markeredgecolor=BLACK, markersize=11, zorder=3)
    seeds = difference.seed_differences
    heights = row + 0.24 + 0.05 * (np.arange(len(seeds)) % 2)
    style = {"markerfacecolor": ORANGE, "markeredgecolor": BLACK, "markersize": 6}
    axis.plot(seeds, heights, "o", linestyle="none", **style)
    above = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    text = f"{loss_text(mean)} ({word})"
    axis.annotate(text, (mean, row), fontsize=10, bbox=paper, **above)


def _legend() -> list[Line2D]:
    common: dict[str, Any] = {"linestyle": "none", "markeredgecolor": BLACK}
    return [
        Line2D([], [], marker="D", markerfacecolor="white", markersize=9, label="mean", **common),
        Line2D([], [], color=GREY, linewidth=5, label="95 % interval"),
        Line2D([], [], marker="o", markerfacecolor=ORANGE, label="one seed", **common),
    ]
