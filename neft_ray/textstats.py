"""Statistics of a text: words, n-gram repetition, log-diversity. Pure functions of the text.

A word is what stands between white space, case kept. Longer texts repeat more by nature, so
repetition and diversity look at a text's first words alone (`FIRST_WORDS`); a shorter text is taken
as it is.
"""

from __future__ import annotations

import math

FIRST_WORDS = 50
ORDERS = (2, 3, 4)
MOST_DIVERSE = 20.0
"""The log-diversity of a text in which nothing comes twice, where the logarithm has no value."""


def words_of(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


def repetition(text: str, order: int = 2) -> float:
    """Return the share of n-grams that came before: 1 − distinct/all, of the first words.

    Args:
        text: Any text; without a single n-gram, nothing is repeated.
        order: The n.
    """
    words = words_of(text)[:FIRST_WORDS]
    grams = list(zip(*(words[start:] for start in range(order)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def log_diversity(text: str) -> float:
    """Return −ln(1 − Π (1 − repetition of n-grams)) over n = 2, 3, 4, at most `MOST_DIVERSE`.

    As defined by Kirchenbauer et al., "On the Reliability of Watermarks for Large Language Models"
    (arXiv 2306.04634), whose product of distinct shares is that of Su et al. (arXiv 2202.06417).
    """
    diversity = math.prod(1 - repetition(text, order) for order in ORDERS)
    return -math.log(max(1 - diversity, math.exp(-MOST_DIVERSE))) + 0.0
