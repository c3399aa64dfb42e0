"""Early stopping: how far each trial of the search ran, and what stopping saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neft_ray.journal import DIVERGED, FAILED
from neft_ray.report.figures.style import (
    ARM_COLOURS,
    BLACK,
    FAINT,
    VERMILION,
    new_figure,
    say,
)
from neft_ray.report.results import Results
from neft_ray.report.trials import Arm, Trial

TITLE = "What early stopping saved"
_MOST_NAMED = 40
"""With more trials in an arm than this, bars have no names."""


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    arms = [arm for arm in results.arms if arm.trials]
    sizes = [len(arm.trials) for arm in arms]
    if not arms:
        figure = new_figure(1.2)
        say(figure, "No trial has started yet.")
        return figure, "No trial has started yet.", "An empty figure."
    figure = new_figure(min(7.0, 2.0 + 0.24 * max(sizes)))
    axes = figure.subplots(1, len(arms), sharex=True, squeeze=False)[0]
    for axis, arm in zip(axes, arms, strict=True):
        _draw_arm(axis, arm, results.rungs)
    handles = _legend(results, arms)
    figure.legend(handles=handles, loc="outside lower center", ncols=3 if len(handles) > 4 else 4)
    return figure, _caption(results), _alt(arms)


def _draw_arm(axis: Any, arm: Arm, rungs: Sequence[int]) -> None:
    trials = sorted(arm.trials, key=lambda t: (t.steps, t.record.number))
    rows, height = range(len(trials)), 0.8 if len(trials) <= _MOST_NAMED else 1.0
    axis.barh(rows, [t.record.num_steps for t in trials], color=FAINT, height=height)
    axis.barh(rows, [t.steps for t in trials], color=ARM_COLOURS[arm.name], height=height)
    for rung in rungs:
        axis.axvline(rung, color=BLACK, linestyle=":", linewidth=1.1)
    for row, trial in enumerate(trials):
        if _is_marked(trial):
            axis.plot(
                trial.steps,
                row,
                "X",
                color=VERMILION,
                markeredgecolor=BLACK,
                markersize=8,
                clip_on=False,
            )
    if len(trials) <= _MOST_NAMED:
        axis.set_yticks(rows, [trial.name for trial in trials], fontsize=9)
    else:
        axis.set_yticks([])
        axis.set_ylabel(f"{len(trials)} trials, longest on top")
    axis.set_ylim(-0.6, len(trials) - 0.4)
    axis.set_xlabel("optimizer steps")
    axis.set_title(f"{arm.name}\n{_saved_text(arm)}", loc="left", fontsize=11)


def _is_marked(trial: Trial) -> bool:
    return trial.status in (DIVERGED, FAILED)


def _saved_text(arm: Arm) -> str:
    return f"{arm.saved_steps:,} of {arm.full_steps:,} steps saved"


def _legend(results: Results, arms: Sequence[Arm]) -> list[Any]:
    handles: list[Any] = [
        Patch(color=ARM_COLOURS[arm.name], label=f"run, {arm.name}") for arm in arms
    ]
    handles.append(Patch(color=FAINT, label="not run"))
    if results.rungs:
        handles.append(Line2D([], [], color=BLACK, linestyle=":", label="rung"))
    if any(_is_marked(trial) for arm in arms for trial in arm.trials):
        style: dict[str, Any] = {"linestyle": "none", "color": VERMILION, "markeredgecolor": BLACK}
        handles.append(Line2D([], [], marker="X", label="diverged or failed", **style))
    return handles


def _caption(results: Results) -> str:
    text = "Every trial of the search as a bar: coloured as far as it ran, grey the rest."
    if results.rungs:
        rungs = ", ".join(map(str, results.rungs))
        text += f" At the rungs (steps {rungs}) the worse trials are cut."
    return text


def _alt(arms: Sequence[Arm]) -> str:
    parts = [f"{a.name}: {len(a.cut)} of {len(a.trials)} cut, {_saved_text(a)}" for a in arms]
    return f"Steps of every trial against its full length. {'; '.join(parts)}."
