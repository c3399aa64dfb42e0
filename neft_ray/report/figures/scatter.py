"""α × learning rate against the best select loss: one mark per trial of the search."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neft_ray.report.arms import Arm
from neft_ray.report.figures.style import (
    BLACK,
    FAINT,
    VERMILION,
    finite_limits,
    marker_of,
    new_figure,
    say,
)
from neft_ray.report.phrases import value_text
from neft_ray.report.results import Results
from neft_ray.report.trials import ALPHA, LEARNING_RATE, Trial

TITLE = "Every trial of the search"
_MOST_ROWS = 8
"""With more values of α than this, α becomes a continuous axis."""
_CROWD = 12
"""With more trials in a row than this, on average, marks are smaller and spread."""


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    arms = [arm for arm in results.arms if arm.trials]
    rows = [_num_rows(arm) for arm in arms]
    figure = new_figure(1.9 + 0.62 * sum(rows) + 0.35 * len(rows))
    if not arms:
        say(figure, "No trial has started yet.")
        return figure, "No trial has started yet.", "An empty figure."
    axes = figure.subplots(
        len(arms), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": rows}
    )[:, 0]
    trials = [trial for arm in arms for trial in arm.trials]
    losses = [trial.best_select_loss for trial in trials]
    finite = [loss for loss in losses if math.isfinite(loss)]
    low, top = finite_limits(finite, outliers=0.2)
    scale = Normalize(low, top, clip=True)
    has_rates = len({trial.learning_rate for trial in trials}) > 1
    limits = finite_limits(losses, outliers=0)
    for axis, arm in zip(axes, arms, strict=True):
        _draw_arm(axis, arm, scale, None if has_rates else limits)
    if has_rates:
        label_rates(axes[-1], [trial.learning_rate for trial in trials])
    else:
        axes[-1].set(xlabel="best select loss (nats per token)", xlim=limits)
    if finite:
        _colour_bar(figure, axes, scale, is_cut=top < max(finite))
    figure.legend(handles=_legend(trials), loc="outside lower center", ncols=4)
    return figure, _caption(results, has_rates), _alt(arms)


def _colour_bar(figure: Figure, axes: Any, scale: Normalize, is_cut: bool) -> None:
    colours = figure.colorbar(
        ScalarMappable(scale, "viridis_r"),
        ax=list(axes),
        pad=0.02,
        extend="max" if is_cut else "neither",
    )
    colours.set_label("best select loss\n(nats per token)")
    colours.ax.invert_yaxis()


def _num_rows(arm: Arm) -> int:
    return min(len({trial.alpha for trial in arm.trials}), _MOST_ROWS)


def _draw_arm(
    axis: Any, arm: Arm, scale: Normalize, loss_limits: tuple[float, float] | None
) -> None:
    """Draw an arm's trials; over the learning rate, or over the loss where limits are given."""
    alphas = sorted({trial.alpha for trial in arm.trials})
    is_row = len(alphas) <= _MOST_ROWS
    is_crowded = len(arm.trials) > _CROWD * len(alphas)

    def place(trial: Trial) -> tuple[float, float]:
        y = alphas.index(trial.alpha) + _offset(trial, is_crowded) if is_row else trial.alpha
        if loss_limits is None:
            return trial.learning_rate, y
        return min(trial.best_select_loss, loss_limits[1]), y

    groups: dict[tuple[str, bool], list[Trial]] = defaultdict(list)
    for trial in arm.trials:
        groups[marker_of(trial.status), math.isfinite(trial.best_select_loss)].append(trial)
    for (marker, is_finite), trials in groups.items():
        colours: dict[str, Any] = {"c": "white"}
        if is_finite:
            losses = [trial.best_select_loss for trial in trials]
            colours = {"c": losses, "norm": scale, "cmap": "viridis_r"}
        x, y = zip(*map(place, trials), strict=True)
        style = {"marker": marker, "edgecolors": BLACK, "linewidths": 0.8, "clip_on": False}
        points = axis.scatter(x, y, s=45 if is_crowded else 100, zorder=3, **style, **colours)
        points.set_gid(".".join(["points", *(trial.name for trial in trials)]))
    if best := arm.best:
        ring = {"facecolors": "none", "edgecolors": VERMILION, "linewidths": 2.2}
        axis.scatter(*place(best), s=320, zorder=4, **ring)
    if is_row:
        axis.set(ylim=(-0.6, len(alphas) - 0.4), yticks=range(len(alphas)))
        axis.set_yticklabels([f"{alpha:g}" for alpha in alphas])
    axis.set_title(arm.name, loc="left", fontsize=10)
    axis.set_ylabel("α", rotation=0, labelpad=10, va="center")
    axis.grid(color=FAINT, zorder=0)


def _offset(trial: Trial, is_crowded: bool) -> float:
    """Spread the marks of a crowded row, the same way every time."""
    return 0.6 * (trial.record.number * 0.618 % 1.0 - 0.5) if is_crowded else 0.0


def label_rates(axis: Any, rates: Sequence[float]) -> None:
    """Make the horizontal axis one of learning rates, with ticks in the field's way."""
    low, high = min(rates), max(rates)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        ticks = [digit * 10.0**n for n in exponents for digit in digits]
        ticks = [tick for tick in ticks if low * 0.99 <= tick <= high * 1.01]
        if len(ticks) > 2:
            break
    else:
        ticks = [float(f"{rate:.2g}") for rate in np.geomspace(low, high, 4)]
    axis.set(xscale="log", xlabel="learning rate (log scale)")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)


def _legend(trials: Sequence[Trial]) -> list[Line2D]:
    shapes: dict[str, str] = {}
    for status in sorted({trial.status for trial in trials}):
        known = shapes.get(marker_of(status))
        shapes[marker_of(status)] = f"{known} or {status}" if known else status
    common: dict[str, Any] = {
        "linestyle": "none",
        "markeredgecolor": BLACK,
        "markerfacecolor": "white",
    }
    handles = [
        Line2D([], [], marker=marker, label=label, markersize=9, **common)
        for marker, label in shapes.items()
    ]
    ring = common | {"markeredgecolor": VERMILION, "markeredgewidth": 2}
    if any(math.isfinite(trial.best_select_loss) for trial in trials):
        handles.append(Line2D([], [], marker="o", label="best of its arm", markersize=13, **ring))
    return handles


def _caption(results: Results, has_rates: bool) -> str:
    text = "Every trial of the search; the lighter its mark, the lower its best select loss."
    if not has_rates:
        rate = results.config.optimizer.learning_rate
        text += f" The learning rate is {value_text(rate)} everywhere."
    others = [key for key in results.config.sweep.space if key not in (ALPHA, LEARNING_RATE)]
    if others:
        text += f" Also searched, and not told apart here: {', '.join(others)}."
    return text


def _alt(arms: Sequence[Arm]) -> str:
    parts = [
        f"{arm.name}: best at α = {best.alpha:g}, learning rate "
        f"{value_text(best.learning_rate)}, with {best.best_select_loss:.3f}"
        for arm in arms
        if (best := arm.best)
    ]
    return "Best select loss by α and learning rate. " + "; ".join(parts) + "."
