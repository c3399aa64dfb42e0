"""The report's pictures; the only home of matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib
from matplotlib.figure import Figure

from neft_ray.report.figures import bars, curves, paired, scatter, stopping, surface
from neft_ray.report.figures.style import SETTINGS, Picture, inline_svg, to_png, to_vector
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
