"""What two systems' outputs look like beside each other: length, repetition, diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from neft_ray.judge.outputs import Pairing
from neft_ray.textstats import FIRST_WORDS, log_diversity, repetition, words_of


@dataclass(frozen=True)
class TextFigures:
    """Of one output, or the means over many."""

    characters: float
    words: float
    repetition: float | None
    """Of 2-grams in the first words, see `textstats`; None as a mean of no output."""
    log_diversity: float | None


@dataclass(frozen=True)
class TextComparison:
    """The means of both systems over their common prompts."""

    system: TextFigures
    reference: TextFigures
    num: int
    """Prompts."""
    num_long: int
    """Prompts where both outputs have at least `FIRST_WORDS` words: repetition and diversity are
    means over these, for a shorter text repeats less by nature."""


def figures_of(text: str) -> TextFigures:
    """Return the figures of one output."""
    return TextFigures(len(text), len(words_of(text)), repetition(text), log_diversity(text))


def compare_texts(pairing: Pairing) -> TextComparison:
    """Return the means of both systems."""
    system = [figures_of(pair.system) for pair in pairing.pairs]
    reference = [figures_of(pair.reference) for pair in pairing.pairs]
    is_long = [
        min(one.words, other.words) >= FIRST_WORDS
        for one, other in zip(system, reference, strict=True)
    ]
    return TextComparison(
        _mean(system, is_long), _mean(reference, is_long), len(is_long), sum(is_long)
    )


def _mean(figures: Sequence[TextFigures], is_long: Sequence[bool]) -> TextFigures:
    long = [each for each, kept in zip(figures, is_long, strict=True) if kept]
    repetitions = [each.repetition for each in long if each.repetition is not None]
    diversities = [each.log_diversity for each in long if each.log_diversity is not None]
    return TextFigures(
        fmean(each.characters for each in figures),
        fmean(each.words for each in figures),
        fmean(repetitions) if repetitions else None,
        fmean(diversities) if diversities else None,
    )
