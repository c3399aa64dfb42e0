"""Early stopping: how far each trial of the search ran, and what stopping saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neft_ray.journal import COMPLETED
from neft_ray.report.arms import Arm
from neft_ray.report.figures.style import (
    BLACK,
    FAINT,
    VERMILION,
    arm_colour,
    new_figure,
    say,
)
from neft_ray.report.results import Results
from neft_ray.report.trials import NOT_ENDED, Trial

TITLE = "What early stopping saved"
_COLUMNS = 2
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
    columns = min(len(arms), _COLUMNS)
    num_rows = -(-len(arms) // columns)
    figure = new_figure(1.2 + min(6.0, 1.0 + 0.24 * max(sizes)) * num_rows)
    grid = figure.subplots(num_rows, columns, sharex=True, squeeze=False)
    for index, (axis, arm) in enumerate(zip(grid.flat, arms, strict=False)):
        _draw_arm(axis, arm, arm_colour(index), results.rungs)
    for axis in grid.flat[len(arms) :]:
        axis.set_visible(False)
    for axis in grid.flat[max(0, len(arms) - columns) : len(arms)]:
        axis.set_xlabel("optimizer steps")
        axis.tick_params(labelbottom=True)
    handles = _legend(results, arms)
    figure.legend(handles=handles, loc="outside lower center", ncols=3 if len(handles) > 4 else 4)
    return figure, _caption(results), _alt(arms)


def _draw_arm(axis: Any, arm: Arm, colour: str, rungs: Sequence[int]) -> None:
    trials = sorted(arm.trials, key=lambda t: (t.steps, t.record.number))
    rows, height = range(len(trials)), 0.8 if len(trials) <= _MOST_NAMED else 1.0
    axis.barh(rows, [t.record.num_steps for t in trials], color=FAINT, height=height)
    begun, spent = [t.record.parent_step for t in trials], [t.spent_steps for t in trials]
    bars = axis.barh(rows, spent, left=begun, color=colour, height=height)
    for bar, trial in zip(bars, trials, strict=True):
        bar.set_gid(f"bar.{trial.name}")
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
    axis.set_title(f"{arm.name}\n{_saved_text(arm)}", loc="left", fontsize=11)


def _is_marked(trial: Trial) -> bool:
    return bool(trial.problem) and trial.status not in (COMPLETED, *NOT_ENDED)


def _saved_text(arm: Arm) -> str:
    return f"{arm.saved_steps:,} of {arm.full_steps:,} steps saved"


def _legend(results: Results, arms: Sequence[Arm]) -> list[Any]:
    handles: list[Any] = [
        Patch(color=arm_colour(index), label=f"run, {arm.name}") for index, arm in enumerate(arms)
    ]
    handles.append(Patch(color=FAINT, label="not run"))
    if results.rungs:
        handles.append(Line2D([], [], color=BLACK, linestyle=":", label="rung"))
    if any(_is_marked(trial) for arm in arms for trial in arm.trials):
        style: dict[str, Any] = {"linestyle": "none", "color": VERMILION, "markeredgecolor": BLACK}
        handles.append(Line2D([], [], marker="X", label="diverged, failed or stalled", **style))
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
