"""The comparison as one HTML file that needs nothing else: every prompt, outputs side by side."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from neft_ray.files import write_whole
from neft_ray.judge import phrases
from neft_ray.judge.compare import TIE, Judged, JudgedPair
from neft_ray.judge.outputs import Pair, Pairing
from neft_ray.judge.texts import TextFigures, compare_texts, figures_of
from neft_ray.textstats import FIRST_WORDS

WON, LOST, TIED, NO_VERDICT = "won", "lost", "tied", "no verdict"


@dataclass(frozen=True)
class Row:
    """A prompt on the page."""

    number: int
    """From 1, in the order of the judged system's file."""
    pair: Pair
    system: TextFigures
    reference: TextFigures
    judged: JudgedPair | None

    @property
    def outcome(self) -> str:
        """`WON`, `LOST`, `TIED` or `NO_VERDICT`, for the judged system."""
        preference = self.judged.preference if self.judged else None
        if preference is None:
            return NO_VERDICT
        return TIED if preference == TIE else WON if preference > TIE else LOST


def render(pairing: Pairing, judged: Judged | None = None) -> str:
    """Return the page.

    Args:
        pairing: Both systems' outputs.
        judged: What a judge says of the same pairing; lengths and repetition alone without.
    """
    js = _part("compare.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=phrases.percent, interval=phrases.interval)
    return environment.from_string(_part("compare.html")).render(
        pairing=pairing,
        judged=judged,
        rows=list(_rows(pairing, judged)),
        texts=compare_texts(pairing),
        datasets=list(dict.fromkeys(pair.dataset for pair in pairing.pairs if pair.dataset)),
        headline=phrases.headline(pairing, judged),
        verdict=phrases.verdict(judged),
        sentences=phrases.sentences(pairing, judged),
        first_words=FIRST_WORDS,
        css=_part("style.css", "neft_ray") + _part("compare.css"),
        js=js,
        js_hash=base64.b64encode(hashlib.sha256(js.encode()).digest()).decode(),
    )


def write_page(path: Path, pairing: Pairing, judged: Judged | None = None) -> None:
    """Write the page, all or nothing.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    write_whole(path, render(pairing, judged))


def _rows(pairing: Pairing, judged: Judged | None) -> Iterator[Row]:
    for index, pair in enumerate(pairing.pairs):
        yield Row(
            index + 1,
            pair,
            figures_of(pair.system),
            figures_of(pair.reference),
            judged.rows[index] if judged else None,
        )


def _part(name: str, package: str = "neft_ray.judge") -> str:
    """Return the text of a file that the page is made of."""
    return resources.files(package).joinpath(name).read_text("utf-8")
