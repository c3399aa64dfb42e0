"""What every format of rows becomes: a conversation of turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool", "text"]
    """`text` is no message: a plain text that stands alone, all of it a target."""
    text: str
    context: str = ""
    """What the message refers to: Alpaca's `input`."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What a chat template alone reads: `tool_calls`, `tool_call_id`, `name`."""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing and calls no tool."""
        return not self.text.strip() and not self.extra.get("tool_calls")


@dataclass(frozen=True)
class Conversation:
    """Turns in their order, and where they were read."""

    turns: Sequence[Turn]
    place: str
    """The file and row in which it begins."""
    tools: Sequence[Mapping[str, Any]] = ()
    """The tools on offer, as JSON schemas."""

    @property
    def uses_tools(self) -> bool:
        """Whether only a chat template can render it."""
        return bool(self.tools) or any(turn.role == "tool" or turn.extra for turn in self.turns)

    def without_leading_answers(self) -> Self:
        """Leave out answers that stand before the first question."""
        first = next((i for i, turn in enumerate(self.turns) if turn.role == "user"), 0)
        kept = [t for i, t in enumerate(self.turns) if i >= first or t.role != "assistant"]
        return replace(self, turns=kept)

    def rounds(self) -> Iterator[Self]:
        """Yield every question with all that follows until the next, each after the system's."""
        system = [turn for turn in self.turns if turn.role == "system"]
        others = [turn for turn in self.turns if turn.role != "system"]
        starts = [i for i, turn in enumerate(others) if turn.role == "user" or i == 0]
        for start, end in zip(starts, [*starts[1:], len(others)], strict=True):
            yield replace(self, turns=[*system, *others[start:end]])
