"""Learning curves: held-out and noise-off training loss against steps, one panel per α."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neft_ray.config.sweep import TREATMENT
from neft_ray.journal import COMPLETED
from neft_ray.report.figures.style import (
    BLUE,
    FAINT,
    GREY,
    VERMILION,
    finite_limits,
    new_figure,
    say,
)
from neft_ray.report.results import Results
from neft_ray.report.trials import Trial

TITLE = "Learning curves, and the gap between training and held-out loss"
SELECT, TRAIN = "select_loss", "train_eval_loss"
_COLOURS = {SELECT: BLUE, TRAIN: VERMILION}
_STYLES = {SELECT: "-", TRAIN: "--"}
_MOST_ALPHAS = 3
"""With more values of α than this in the treatment arm, panels are of ranges of α."""
_COLUMNS = 2


@dataclass(frozen=True)
class _Panel:
    title: str
    trials: Sequence[Trial]

    def mean(self, metric: str) -> tuple[list[int], list[float]]:
        """Average the finalists at the steps that all of them have reported."""
        curves = [dict(zip(*_series(t, metric), strict=True)) for t in self.finalists]
        common = sorted(set.intersection(*map(set, curves))) if curves else []
        return common, [float(np.mean([curve[step] for curve in curves])) for step in common]

    @property
    def finalists(self) -> list[Trial]:
        """Those that ran to their end."""
        return [t for t in self.trials if t.record.phase == "finalist" and t.status == COMPLETED]

    @property
    def end_gap(self) -> float:
        """Held-out minus training loss of the finalists at their last step, on average."""
        last = [trial.record.reports[-1].metrics for trial in self.finalists]
        gaps = [metrics[SELECT] - metrics[TRAIN] for metrics in last if TRAIN in metrics]
        return math.fsum(gaps) / len(gaps) if gaps else math.nan


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    panels = _panels([trial for trial in results.trials if trial.record.reports])
    if not panels:
        figure = new_figure(1.2)
        say(figure, "No trial has been evaluated yet.")
        return figure, "No trial has been evaluated yet.", "An empty figure."
    columns = min(_COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / columns)
    figure = new_figure(1.0 + 2.6 * num_rows)
    grid = figure.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False)
    losses = [v for t in results.trials for m in _COLOURS for v in _series(t, m)[1]]
    last = max(trial.record.last_step for panel in panels for trial in panel.trials)
    limits = finite_limits(losses, outliers=0.1)
    grid[0, 0].set(ylim=limits, xlim=(0, 1.02 * last))
    for number, (axis, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        _draw_panel(axis, panel, number)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for axis in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("optimizer steps")
        axis.tick_params(labelbottom=True)
    figure.supylabel("loss (nats per token)", fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3)
    caption = _caption(panels)
    if any(limits[1] < loss < math.inf for loss in losses):
        caption += " The highest losses lie outside the picture."
    return figure, caption, _alt(panels)


def _panels(trials: Iterable[Trial]) -> list[_Panel]:
    """Return one panel per control arm, and one per α of the treatment, or per range of α."""
    by_alpha: dict[float, list[Trial]] = defaultdict(list)
    controls: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        arm = trial.record.arm
        (by_alpha[trial.alpha] if arm == TREATMENT else controls[arm]).append(trial)
    panels = []
    for name, members in controls.items():
        values = sorted({trial.alpha for trial in members})
        panels.append(_Panel(f"{_range_text(values)} ({name})", members))
    alphas = sorted(by_alpha)
    for part in np.array_split(np.asarray(alphas), min(_MOST_ALPHAS, len(alphas)) or 1):
        if part.size:
            members = [trial for alpha in part.tolist() for trial in by_alpha[alpha]]
            panels.append(_Panel(_range_text(part.tolist()), members))
    return panels


def _range_text(alphas: Sequence[float]) -> str:
    if len(alphas) == 1:
        return f"α = {alphas[0]:g}"
    return f"α from {alphas[0]:.3g} to {alphas[-1]:.3g}"


def _series(trial: Trial, metric: str) -> tuple[list[int], list[float]]:
    return trial.record.series(metric)


def _draw_panel(axis: Any, panel: _Panel, number: int) -> None:
    for metric, colour in _COLOURS.items():
        style = {"color": colour, "linestyle": _STYLES[metric]}
        for trial in panel.trials:
            steps, values = _series(trial, metric)
            marker = "o" if len(steps) == 1 else None
            opacity = 0.25 if panel.finalists else 0.5
            line = axis.plot(steps, values, marker=marker, alpha=opacity, linewidth=0.9, **style)
            line[0].set_gid(f"curve.{trial.name}.{metric}")
        mean = axis.plot(*panel.mean(metric), linewidth=2.6, **style)
        mean[0].set_gid(f"mean.{number}.{metric}")
    title = panel.title
    if math.isfinite(panel.end_gap):
        title += f"\ngap at the end {panel.end_gap:.2f}"
    axis.set_title(title, loc="left", fontsize=11)
    axis.grid(color=FAINT)


def _legend() -> list[Line2D]:
    labels = {SELECT: "held-out (select)", TRAIN: "training rows, noise off"}
    handles = [
        Line2D([], [], color=_COLOURS[m], linestyle=_STYLES[m], linewidth=2.6, label=label)
        for m, label in labels.items()
    ]
    return [*handles, Line2D([], [], color=GREY, linewidth=0.9, label="one trial")]


def _caption(panels: Sequence[_Panel]) -> str:
    text = "Loss on the held-out select split and, noise off, on a sample of the training rows"
    if any(panel.finalists for panel in panels):
        return text + ": thick lines are means over the finalists' seeds, faint ones single trials."
    return text + ", one line per trial."


def _alt(panels: Sequence[_Panel]) -> str:
    gaps = [f"{p.title}: {p.end_gap:.2f} nats" for p in panels if math.isfinite(p.end_gap)]
    text = "Select loss and noise-off training loss against optimizer steps, by α."
    return text + (f" Gap at the end: {'; '.join(gaps)}." if gaps else "")
