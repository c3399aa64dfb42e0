"""OpenAssistant's rows: every row is a message of a tree, with its parent and its rank.

Source: https://huggingface.co/datasets/OpenAssistant/oasst1, "Dataset Structure".
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from neft_ray.data.conversation import Conversation, Turn
from neft_ray.data.read import PlacedRow, Row
from neft_ray.data.row import BadRow, RowError, text

ROLES: dict[str, Literal["user", "assistant"]] = {"prompter": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class _Message:
    place: str
    key: str
    parent: str
    """Empty: it begins a tree."""
    turn: Turn
    rank: float
    """0 is the best of the replies to one message; infinite where it has none."""


def best_paths(rows: Iterable[PlacedRow]) -> Iterator[Conversation | BadRow]:
    """`{message_id, parent_id, role, text, rank}`, where `parent_id` is null or another row's.

    From the first message of every tree, the best reply of all not deleted is followed, and so on
    to the last.
    """
    wanted = best_paths.__doc__ or ""
    by_key: dict[str, _Message] = {}
    replies: defaultdict[str, list[_Message]] = defaultdict(list)
    for place, row in rows:
        try:
            message = _message(place, row)
            if message.key in by_key:
                raise RowError(f"'message_id' is also that of {by_key[message.key].place}")
        except RowError as error:
            yield BadRow(place, str(error), wanted)
            continue
        by_key[message.key] = message
        if str(row.get("deleted") or False).lower() == "false":  # CSV has texts alone
            replies[message.parent].append(message)
    for parent, orphans in replies.items():
        if parent and parent not in by_key:
            yield BadRow(orphans[0].place, "'parent_id' is no message of these rows", wanted)
    for root in replies[""]:
        path = [root]
        while path[-1].key in replies:
            path.append(min(replies[path[-1].key], key=lambda message: message.rank))
        yield Conversation([message.turn for message in path], root.place)


def _message(place: str, row: Row) -> _Message:
    if row.get("role") not in ROLES:
        raise RowError(f"the role is {row.get('role')!r}, not prompter or assistant")
    if not text(row, "message_id"):
        raise RowError("'message_id' is empty")
    return _Message(
        place=place,
        key=text(row, "message_id"),
        parent=text(row, "parent_id", required=False),
        turn=Turn(ROLES[row["role"]], text(row, "text")),
        rank=_rank(row.get("rank")),
    )


def _rank(value: Any) -> float:
    try:
        rank = float(math.inf if value in (None, "") else value)
    except (TypeError, ValueError):
        raise RowError(f"'rank' is {value!r}, not a number") from None
    return math.inf if math.isnan(rank) else rank
