"""What a slot has to say, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Happened:
    """What a slot has to say."""

    id: int
    kind: Literal["came", "went", "woken", "report", "crash", "move", "end"]
    """`came`, `went`: the workers. `crash`, `move`: the trial goes on elsewhere or later."""
    trial: int = -1
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = ""
    reason: str = ""
    is_idle: bool = False
    """Whether the slot can take a trial from then on."""
    num_workers: int = 0
    """How many came."""


@dataclass(frozen=True)
class Standing:
    """How a slot stands.

    Attributes:
        trial: That is laid out or runs.
        nodes: Where its workers are.
        is_closed: Its workers are sent home.
        is_wanted: It is to have workers.
    """

    trial: int | None
    nodes: frozenset[str]
    is_closed: bool
    is_wanted: bool
