"""What a comparison will cost, before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass

CHARACTERS_PER_TOKEN = 4
"""Of English text, about; tokenizers differ, and other scripts have fewer."""


@dataclass(frozen=True)
class TokenPrices:
    """What a judge takes, in whatever money."""

    input_per_million: float
    output_per_million: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return what so many tokens cost."""
        taken = (input_tokens * self.input_per_million, output_tokens * self.output_per_million)
        return sum(taken) / 1e6


@dataclass(frozen=True)
class Cost:
    """What is still to be asked, and about what it takes."""

    num_pairs: int
    num_questions: int
    """Two per pair of outputs that differ."""
    num_known: int
    """Of them, already in the file of verdicts."""
    input_tokens: int
    """Of the others, estimated from their length in characters."""
    output_tokens: int
    """At most, without questions that are asked again."""
    money: float | None
    """None without prices."""

    @property
    def num_calls(self) -> int:
        """Questions still to be asked."""
        return self.num_questions - self.num_known

    def sentence(self) -> str:
        """Say it in one line."""
        if not self.num_calls:
            return f"all {self.num_questions:,} verdicts are known: nothing is asked"
        price = "price unknown" if self.money is None else f"at most about {self.money:.2f} in all"
        known = f" ({self.num_known:,} of {self.num_questions:,} known)" if self.num_known else ""
        return (
            f"{self.num_calls:,} questions to the judge{known}, about {self.input_tokens:,} input "
            f"and at most {self.output_tokens:,} output tokens, {price}"
        )


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text is."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
