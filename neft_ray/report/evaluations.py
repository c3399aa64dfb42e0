"""The evaluations of a run's models that `neft-ray evaluate` has left in its directory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.errors import bad_input
from neft_ray.report.phrases import fixed_text
from neft_ray.run_directory import RunDirectory
from neft_ray.run_in_bucket import EVALUATIONS

PAGE_FILE, COMPARISON_FILE = "index.html", "comparison.json"
COLUMNS = {
    "Characters": ("characters", 0),
    "Words": ("words", 1),
    "2-gram repetition": ("repetition", 4),
    "Log-diversity": ("log_diversity", 2),
}
"""Of the page's table: what is shown, with so many decimals."""


@dataclass(frozen=True)
class EvaluatedPair:
    """Two models' answers to one set, as `comparison.json` holds them."""

    set_name: str
    link: str
    """To the page with all answers, from the report's folder."""
    content: Mapping[str, Any]

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Both models' names with what stands in `COLUMNS`."""
        sides = (self.content["system"], self.content["reference"])
        texts = (self.content["texts"][side] for side in ("system", "reference"))
        return tuple((name, _cells(found)) for name, found in zip(sides, texts, strict=True))

    @property
    def wins(self) -> str:
        """How often the first model is preferred; a dash without a judge."""
        rates = self.content["win_rate"]
        if rates is None:
            return "–"
        raw, controlled = _rate(rates["raw"]), rates["controlled"]
        return f"{raw}; {_rate(controlled)} at equal length" if controlled else raw


def _cells(texts: Mapping[str, float | None]) -> tuple[str, ...]:
    known = {name: math.nan if value is None else value for name, value in texts.items()}
    return tuple(fixed_text(known[name], decimals) for name, decimals in COLUMNS.values())


def _rate(rate: Mapping[str, Any]) -> str:
    low, high = (f"{100 * bound:.1f}" for bound in rate["interval"])
    return f"{100 * rate['rate']:.1f} % ({low} to {high})"


def read_evaluations(run: RunDirectory) -> tuple[EvaluatedPair, ...]:
    """Return what was evaluated, by set and models.

    Raises:
        UserError: If a file is damaged.
    """
    found = []
    for file in sorted((run.root / EVALUATIONS).glob(f"*/*/{COMPARISON_FILE}")):
        link = f"../{file.parent.relative_to(run.root).as_posix()}/{PAGE_FILE}"
        try:
            content = json.loads(file.read_text("utf-8"))
            found.append(EvaluatedPair(file.parent.parent.name, link, content))
        except ValueError as error:
            raise bad_input(file, f"is damaged ({error})", "run neft-ray evaluate again") from None
    return tuple(found)
