"""What a data section makes of its rows: counts, lengths, and rows as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neft_ray.data.examples import Example
from neft_ray.data.split import Split

NUM_BINS = 10
Span = tuple[str, bool]
"""Text, and whether its tokens are supervised."""


@dataclass(frozen=True)
class Lengths:
    """Tokens per row: some quantiles and a histogram."""

    quantiles: dict[str, float]
    """`min`, `median`, `mean`, `p95`, `max`."""
    edges: list[int]
    counts: list[int]
    """Rows from an edge to below the next; the last bin holds its upper edge too."""


def lengths(values: Sequence[int]) -> Lengths:
    """Describe the lengths of at least one row."""
    low, high = min(values), max(values)
    width = max(1, -(-(high - low + 1) // NUM_BINS))
    edges = list(range(low, high + width + 1, width))
    counts, _ = np.histogram(values, edges)
    quantiles = {
        "min": low,
        "median": float(np.median(values)),
        "mean": round(float(np.mean(values)), 1),
        "p95": float(np.percentile(values, 95)),
        "max": high,
    }
    return Lengths(quantiles, edges, counts.tolist())


def all_lengths(rows: Sequence[Example]) -> dict[str, Lengths]:
    """Return the lengths of the rows that are kept: whole, before the first answer, of answers."""
    kept = [row for row in rows if row.split is not None]
    if not kept:
        return {}
    return {
        "tokens": lengths([len(row.tokens) for row in kept]),
        "prompt": lengths([row.num_prompt_tokens for row in kept]),
        "targets": lengths([int(row.supervised.sum()) for row in kept]),
    }


def spans(row: Example, tokenizer: Any) -> list[Span]:
    """Return a row's text, special tokens too, cut where supervision begins or ends.

    It is decoded from the tokens, each span as it reads after those before it.
    """
    if not len(row.tokens):
        return []
    borders = (np.flatnonzero(np.diff(row.supervised)) + 1).tolist()
    found, before = [], ""
    for start, end in zip([0, *borders], [*borders, len(row.tokens)], strict=True):
        text = tokenizer.decode(row.tokens[:end].tolist(), clean_up_tokenization_spaces=False)
        found.append((text[len(before) :], bool(row.supervised[start])))
        before = text
    return found


def of_split(rows: Sequence[Example], split: Split, num: int) -> list[Example]:
    """Return the first rows of a split."""
    return [row for row in rows if row.split is split][:num]


def dropped(rows: Sequence[Example], num: int) -> list[Example]:
    """Return the first rows dropped for each reason."""
    by_reason: dict[str, list[Example]] = {}
    for row in rows:
        if row.split is None:
            by_reason.setdefault(row.dropped, []).append(row)
    return [row for same in by_reason.values() for row in same[:num]]
