"""Tokenized rows as other trainers take them."""

from __future__ import annotations

from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData

IGNORED = -100
Rows = list[tuple[list[int], list[bool]]]
"""Token ids of each row, and which of them are targets of the loss."""


def rows_of(data: TokenizedData, split: Split) -> Rows:
    """Return the rows of a split."""
    spans = [slice(data.offsets[row], data.offsets[row + 1]) for row in data.rows(split)]
    return [(data.tokens[span].tolist(), data.supervised[span].tolist()) for span in spans]


def labelled(rows: Rows) -> list[dict[str, list[int]]]:
    """Return rows with labels, as transformers' `Trainer` takes them."""
    return [
        {
            "input_ids": tokens,
            "labels": [
                token if flag else IGNORED for token, flag in zip(tokens, flags, strict=True)
            ],
        }
        for tokens, flags in rows
    ]
