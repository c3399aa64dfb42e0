"""Colours, fonts and sizes that all figures share, and a figure's way to PNG."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from neft_ray.journal import CANCELLED, COMPLETED, DIVERGED, FAILED, STOPPED

BLACK, GREY, FAINT = "#222222", "#767676", "#E3E3E3"
BLUE, ORANGE, VERMILION = "#0072B2", "#E69F00", "#D55E00"
GREEN, PURPLE, SKY = "#009E73", "#CC79A7", "#56B4E9"
"""Okabe and Ito's colours, told apart in all common forms of colour blindness."""
ARM_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
"""Of the arms in their order; beside the colour there is always a name."""
_MARKERS = {COMPLETED: "o", STOPPED: "v", DIVERGED: "X", FAILED: "P", CANCELLED: "^"}
_OTHER_MARKER = "s"
WIDTH_INCHES = 5.4
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "text.color": BLACK,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "savefig.dpi": 220,
    "figure.constrained_layout.use": True,
    "path.simplify": False,
    "svg.hashsalt": "neft_ray",
}


@dataclass(frozen=True)
class Picture:
    """A figure with the words that go with it."""

    name: str
    """The file's name without `.png`."""
    title: str
    caption: str
    """One or two sentences: what is shown and how to read it."""
    alt: str
    """What a person who cannot see it should know."""
    png: bytes
    svg: str = ""
    """To stand in a page, where it is worth pointing at its parts; else empty."""


def arm_colour(index: int) -> str:
    """Return the colour of the arm at a place; beyond six they repeat."""
    return ARM_COLOURS[index % len(ARM_COLOURS)]


def marker_of(status: str) -> str:
    """Return the mark of a trial by its status."""
    return _MARKERS.get(status, _OTHER_MARKER)


def new_figure(height_inches: float) -> Figure:
    """Return an empty figure of the common width."""
    return Figure(figsize=(WIDTH_INCHES, height_inches))


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def to_vector(figure: Figure, kind: Literal["pdf", "svg"]) -> bytes:
    """Return a figure as a PDF or SVG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    dated = {"pdf": "CreationDate", "svg": "Date"}[kind]
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format=kind, metadata={dated: None})
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page, its ids made the page's own by a prefix."""
    text = to_vector(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    opening = re.sub(r'\s+(width|height|version)="[^"]*"', "", text[: text.index(">")])
    text = opening + text[text.index(">") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.strip()


def say(figure: Figure, text: str) -> None:
    """Write on an empty figure why it is empty."""
    figure.text(
        0.5, 0.5, textwrap.fill(text, 60), ha="center", va="center", color=GREY, fontsize=12
    )


def finite_limits(values: Iterable[float], outliers: float) -> tuple[float, float]:
    """Return axis limits; the few highest values stay outside where they would squeeze the rest.

    Args:
        values: Non-finite ones are ignored; with none left, 0 to 1.
        outliers: The fraction of highest values that may lie outside.
    """
    finite = np.asarray([value for value in values if np.isfinite(value)])
    if not finite.size:
        return 0.0, 1.0
    low, bulk, high = np.quantile(finite, (0, 1 - outliers, 1)).tolist()
    if high > bulk + (bulk - low):
        high = bulk
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin
