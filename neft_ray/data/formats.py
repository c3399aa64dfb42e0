"""How rows are written, by the name of their format: rows in, conversations out.

A format is given all rows, for a conversation may lie over several of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neft_ray.data.conversation import Conversation, Turn
from neft_ray.data.oasst import best_paths
from neft_ray.data.read import MAX_PROBLEMS, PlacedRow, Row, read_rows
from neft_ray.data.row import BadRow, RowError, items, text
from neft_ray.errors import UserError

Format = Callable[[Iterable[PlacedRow]], Iterator[Conversation | BadRow]]
"""Yields conversations and what is wrong with rows, in their order."""
Tools = Sequence[Mapping[str, Any]]

SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
}
"""Who speaks in ShareGPT's rows, as they are met."""


def alpaca(row: Row) -> list[Turn]:
    """`{instruction, input, output}`; `input` may be missing or empty."""
    question = Turn("user", text(row, "instruction"), text(row, "input", required=False))
    return [question, Turn("assistant", text(row, "output"))]


def prompt_response(row: Row) -> list[Turn]:
    """`{prompt, response}`."""
    return [Turn("user", text(row, "prompt")), Turn("assistant", text(row, "response"))]


def dolly(row: Row) -> list[Turn]:
    """`{instruction, context, response}`; `context` may be missing or empty."""
    question = Turn("user", text(row, "instruction"), text(row, "context", required=False))
    return [question, Turn("assistant", text(row, "response"))]


def plain_text(row: Row) -> list[Turn]:
    """`{text}`."""
    return [Turn("text", text(row, "text"))]


def messages(row: Row) -> list[Turn]:
    """`{messages: [{role, content}, …]}` with at least one assistant message.

    The roles are system, user, assistant, tool. `tools` and a message's `tool_calls` are as in
    OpenAI's API, as JSON or as text that holds it.
    """
    return _answered(said_in_messages(row), "no message has the role 'assistant'")


def said_in_messages(row: Row) -> list[Turn]:
    """Return the turns of a row of `messages`, answered or not, without an empty system's."""
    turns = []
    for number, message in enumerate(items(row, "messages")):
        if message.get("role") not in ("system", "user", "assistant", "tool"):
            raise RowError(f"message {number} has the role {message.get('role')!r}")
        extra = {key: message[key] for key in ("name", "tool_call_id") if message.get(key)}
        if message.get("tool_calls"):
            extra["tool_calls"] = [_tool_call(call) for call in _parsed(message, "tool_calls")]
        said = text(message, "content", required="tool_calls" not in extra)
        turns.append(Turn(message["role"], said, extra=extra))
    return _without_empty_system(turns)


def sharegpt(row: Row) -> list[Turn]:
    """`{conversations: [{from, value}, …]}` with at least one message from gpt.

    The speakers are human, gpt, system, tool, or other names for them; `system` may be a text
    beside `conversations`.
    """
    return _answered(said_in_sharegpt(row), "no message is from 'gpt'")


def said_in_sharegpt(row: Row) -> list[Turn]:
    """Return the turns of a row of `sharegpt`, answered or not, without an empty system's."""
    turns = [Turn("system", text(row, "system", required=False))]
    for number, message in enumerate(items(row, "conversations")):
        role: Any = SPEAKERS.get(str(message.get("from")))
        if role is None:
            raise RowError(f"message {number} is from {message.get('from')!r}")
        turns.append(Turn(role, text(message, "value")))
    return _without_empty_system(turns)


def tools_of(row: Row) -> Tools:
    """Return the tools on offer in the way that transformers' chat templates want them.

    Source: https://huggingface.co/docs/transformers/chat_extras, "Tool use".
    """
    listed = _parsed(row, "tools") if row.get("tools") else []
    return [tool if "function" in tool else _as_function(tool) for tool in listed]


def _answered(turns: list[Turn], otherwise: str) -> list[Turn]:
    if all(turn.role != "assistant" for turn in turns):
        raise RowError(otherwise)
    return turns


def _without_empty_system(turns: Sequence[Turn]) -> list[Turn]:
    """Leave out an empty message of the system, as many rows have it."""
    return [turn for turn in turns if turn.role != "system" or not turn.is_empty]


def _parsed(row: Row, key: str) -> list[Mapping[str, Any]]:
    """Return a list of objects that may be written as JSON in a text, as tables need it."""
    value = row[key]
    return items({key: _from_json(value, key)}, key)


def _from_json(value: Any, what: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise RowError(f"'{what}' is a text but not JSON") from None


def _tool_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    whole = call if "function" in call else _as_function(call)
    function = whole["function"]
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError("a tool call has no function with a name")
    arguments = _from_json(function.get("arguments") or {}, "arguments")
    return {**whole, "function": {**function, "arguments": arguments}}


def _as_function(bare: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "function", "function": bare}


@dataclass(frozen=True)
class EachRow:
    """A format where every row is a conversation of its own."""

    turns: Callable[[Row], list[Turn]]
    tools: Callable[[Row], Tools] = lambda row: ()

    def __call__(self, rows: Iterable[PlacedRow]) -> Iterator[Conversation | BadRow]:
        """See `Format`."""
        for place, row in rows:
            try:
                yield Conversation(self.turns(row), place, self.tools(row))
            except RowError as error:
                yield BadRow(place, str(error), self.turns.__doc__ or "")


FORMATS: Mapping[str, Format] = {
    "alpaca": EachRow(alpaca),
    "prompt_response": EachRow(prompt_response),
    "messages": EachRow(messages, tools_of),
    "sharegpt": EachRow(sharegpt, tools_of),
    "dolly": EachRow(dolly),
    "oasst": best_paths,
    "text": EachRow(plain_text),
}


def read_conversations(source: str, format_name: str, part: str = "train") -> list[Conversation]:
    """Read all conversations of `source`.

    Args:
        source: Hub name, file, folder, or `builtin:tales`.
        format_name: A key of `FORMATS`.
        part: Which part of the built-in data: `train` or `held_out`.

    Raises:
        UserError: If the source cannot be read, or rows are malformed (the first 20 are named).
    """
    conversations, problems = [], []
    for found in FORMATS[format_name](read_rows(source, part)):
        if isinstance(found, Conversation):
            conversations.append(found)
            continue
        problems.append(found.problem(format_name))
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise UserError(problems)
    return conversations
