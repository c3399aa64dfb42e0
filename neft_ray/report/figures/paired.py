"""The lift: differences of every pair of finalists, with mean and interval."""

from __future__ import annotations

from matplotlib.figure import Figure

from neft_ray.report.figures.forest import draw_forest, forest_alt
from neft_ray.report.figures.style import new_figure, say
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE
from neft_ray.report.results import Results
from neft_ray.report.words import DIRECTIONS

TITLE = "The lift: noise against no noise, seed by seed"
CONTROLS_TITLE = "Is it NEFTune, or any regulariser?"
_BETTER = {HELPS: "better", HURTS: "worse", NO_EVIDENCE: "no evidence"}


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure of the lift, its caption and its alternative text."""
    lift = results.lift
    rows = {
        "both at the end": lift and lift.at_end,
        "both at their best step\n(early stopping)": lift and lift.at_best,
        "noise at the end,\ncontrol at its best step": lift and lift.against_early_stopping,
    }
    there = {label: difference for label, difference in rows.items() if difference}
    if not there:
        figure = new_figure(1.2)
        why = results.no_lift_reason or "no pair of finalists can be compared"
        say(figure, f"No lift: {why}.")
        return figure, f"No lift: {why}.", "An empty figure."
    label = "held-out loss, noise minus control\n(nats per token)\n← noise better · noise worse →"
    caption = (
        "Treatment minus control on the report split for every seed, with the mean and its 95 % "
        "interval; left of zero noise is better."
    )
    figure = draw_forest(there, DIRECTIONS, label)
    return figure, caption, forest_alt(there, DIRECTIONS)


def draw_controls(results: Results) -> tuple[Figure, str, str] | None:
    """Return the figure of all arms against each other; None without further controls."""
    rows = {
        f"{comparison.ours.name}\n− {comparison.theirs.name}": comparison.lift.at_best
        for comparison in results.comparisons
        if comparison.lift
    }
    there = {label: difference for label, difference in rows.items() if difference}
    if not (results.further and there):
        return None
    label = "held-out loss, first minus second\n(nats per token)\n← first better · first worse →"
    caption = (
        "The finalists of every arm against those of another on the report split, each run at its "
        "step of lowest select loss: so all of them have early stopping."
    )
    return draw_forest(there, _BETTER, label), caption, forest_alt(there, _BETTER)
