"""The report's pictures; the only home of matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import matplotlib
from matplotlib.figure import Figure

from neft_ray.report.figures import bars, curves, paired, scatter, stopping, surface
from neft_ray.report.figures.forest import draw_forest
from neft_ray.report.figures.style import SETTINGS, Picture, inline_svg, to_png, to_vector
from neft_ray.report.lift import Difference
from neft_ray.report.results import Results

Draw = Callable[[Results], tuple[Figure, str, str] | None]
HEADLINE = "lift"
_FIGURES: dict[str, tuple[str, Draw]] = {
    HEADLINE: (paired.TITLE, paired.draw),
    "controls": (paired.CONTROLS_TITLE, paired.draw_controls),
    "surface": (surface.TITLE, surface.draw),
    "alpha_learning_rate": (scatter.TITLE, scatter.draw),
    "importance": (bars.TITLE, bars.draw),
    "learning_curves": (curves.TITLE, curves.draw),
    "early_stopping": (stopping.TITLE, stopping.draw),
}
VECTORS: tuple[Literal["pdf", "svg"], ...] = ("pdf", "svg")
INTERACTIVE = ("alpha_learning_rate", "learning_curves", "early_stopping")
"""Pictures whose parts are trials, to be pointed at."""


def draw_pictures(results: Results) -> Iterator[Picture]:
    """Yield every picture of a report; one that has nothing to show says why."""
    for name, (title, draw) in _FIGURES.items():
        with matplotlib.rc_context(SETTINGS):
            drawn = draw(results)
        if drawn is None:
            continue
        figure, caption, alt = drawn
        svg = inline_svg(figure, name) if name in INTERACTIVE else ""
        yield Picture(name, title, caption, alt, to_png(figure), svg)


def headline_files(results: Results) -> dict[str, bytes]:
    """Return the picture of the lift for a paper, as `lift.pdf` and `lift.svg`."""
    with matplotlib.rc_context(SETTINGS):
        figure, _, _ = paired.draw(results)
    return {
        f"{HEADLINE}.pdf": to_vector(figure, "pdf"),
        f"{HEADLINE}.svg": to_vector(figure, "svg"),
    }


def lifts_files(
    rows: Mapping[str, Difference], words: Mapping[str, str], label: str, name: str
) -> dict[str, bytes]:
    """Return a picture of differences as PNG, PDF and SVG, see `draw_forest`."""
    with matplotlib.rc_context(SETTINGS):
        figure = draw_forest(rows, words, label)
    vectors = {f"{name}.{kind}": to_vector(figure, kind) for kind in VECTORS}
    return {f"{name}.png": to_png(figure), **vectors}
