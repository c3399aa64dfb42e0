"""The expected loss over α × learning rate, and beside it where the trials say little."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from neft_ray.report.figures.scatter import label_rates
from neft_ray.report.figures.style import BLACK, GREY, VERMILION, new_figure, say
from neft_ray.report.results import Results
from neft_ray.report.surrogate import Surface

TITLE = "Which α and learning rate are best, and how sure that is"
_LEVELS = 12
UNSURE = 0.5
"""Hatched: a standard deviation over so much of what it is without a trial nearby."""


def draw(results: Results) -> tuple[Figure, str, str]:
    """Return the figure, its caption and its alternative text."""
    surface = results.surface
    if surface is None:
        figure = new_figure(1.2)
        text = f"No surface: {results.no_surface_reason}."
        say(figure, text)
        return figure, text, "An empty figure."
    figure = new_figure(6.4)
    axes = figure.subplots(2, 1, sharex=True)
    panels = (
        (surface.mean_AR, "viridis_r", "expected select loss\n(nats per token)"),
        (surface.std_AR, "cividis_r", "standard deviation\n(nats per token)"),
    )
    for axis, (values, colours, label) in zip(axes, panels, strict=True):
        filled = axis.contourf(surface.rates, surface.alphas, values, _LEVELS, cmap=colours)
        bar = figure.colorbar(filled, ax=axis, pad=0.02, format="%.3g")
        bar.set_label(label)
        bar.ax.invert_yaxis()
        _draw_marks(axis, surface)
        axis.set_ylabel("α")
    label_rates(axes[-1], surface.rates.tolist())
    alpha, rate, mean, std = _lowest(surface)
    axes[0].plot(
        rate,
        alpha,
        "*",
        color=VERMILION,
        markeredgecolor=BLACK,
        markersize=15,
        zorder=4,
        clip_on=False,
    )
    caption = (
        f"A Gaussian process of the treatment arm: {surface.basis}. Dots are these trials, the "
        f"star is the lowest expected loss ({mean:.3f} ± {std:.2g} at α = {alpha:.3g}, learning "
        f"rate {rate:.2g}). A single trial scatters by another {surface.noise_std:.2g}."
    )
    if is_unsure(surface):
        caption += " Where it is hatched the trials say little."
    if surface.num_capped:
        caption += f" {surface.num_capped} very high losses are entered lower than they are."
    alt = f"Expected select loss and its standard deviation over α and learning rate. {caption}"
    return figure, caption, alt


def is_unsure(surface: Surface) -> bool:
    """Tell whether there are places that the trials say little about."""
    return bool(surface.std_AR.max() > UNSURE * surface.prior_std)


def _draw_marks(axis: Any, surface: Surface) -> None:
    """Draw the trials, and hatch where they say little."""
    unsure = surface.std_AR / surface.prior_std
    if is_unsure(surface):
        levels, hatches = (UNSURE, max(1.0, float(unsure.max()))), ["//"]
        axis.contourf(surface.rates, surface.alphas, unsure, levels, colors="none", hatches=hatches)
        axis.contour(surface.rates, surface.alphas, unsure, (UNSURE,), colors=GREY, linewidths=1)
    _, alphas, rates, _ = zip(*surface.points, strict=True)
    axis.scatter(rates, alphas, s=26, color="white", edgecolors=BLACK, zorder=3, clip_on=False)


def _lowest(surface: Surface) -> tuple[float, float, float, float]:
    """Return α, learning rate, mean and standard deviation where the mean is lowest."""
    row, column = divmod(int(surface.mean_AR.argmin()), surface.mean_AR.shape[1])
    mean, std = float(surface.mean_AR[row, column]), float(surface.std_AR[row, column])
    return float(surface.alphas[row]), float(surface.rates[column]), mean, std
