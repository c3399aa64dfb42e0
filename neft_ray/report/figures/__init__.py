"""The report's pictures; the only home of matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib
from matplotlib.figure import Figure

from neft_ray.report.figures import curves, paired, stopping, surface
from neft_ray.report.figures.style import SETTINGS, Picture, to_png
from neft_ray.report.results import Results

Draw = Callable[[Results], tuple[Figure, str, str]]
_FIGURES: dict[str, tuple[str, Draw]] = {
    "lift": (paired.TITLE, paired.draw),
    "alpha_learning_rate": (surface.TITLE, surface.draw),
    "learning_curves": (curves.TITLE, curves.draw),
    "early_stopping": (stopping.TITLE, stopping.draw),
}


def draw_pictures(results: Results) -> Iterator[Picture]:
    """Yield every picture of a report; one that has nothing to show says why."""
    for name, (title, draw) in _FIGURES.items():
        with matplotlib.rc_context(SETTINGS):
            figure, caption, alt = draw(results)
        yield Picture(name, title, caption, alt, to_png(figure))
