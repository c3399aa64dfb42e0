"""The built-in instruction rows, written as rows of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from neft_ray.data.read import Row, read_rows


def builtin_rows(part: str) -> list[Row]:
    """Return the built-in rows `{instruction, input, output}` of a part: `train`, `held_out`."""
    return [row for _, row in read_rows("builtin:tales", part)]


def _question(row: Row) -> str:
    return "\n".join(filter(None, [row["instruction"], row["input"]]))


def _each(written: Callable[[Row], Row]) -> Callable[[Sequence[Row]], Iterator[Row]]:
    return lambda rows: map(written, rows)


def _talks(
    written: Callable[[list[tuple[str, str]]], Row],
) -> Callable[[Sequence[Row]], Iterator[Row]]:
    """Return what makes conversations of one and of two questions, in turn, of rows."""

    def write(rows: Sequence[Row]) -> Iterator[Row]:
        left = list(rows)
        for size in [1, 2] * len(left):
            taken, left = left[:size], left[size:]
            if taken:
                yield written([(_question(row), row["output"]) for row in taken])

    return write


def _sharegpt(talk: list[tuple[str, str]]) -> Row:
    said = [pair for q, a in talk for pair in (("human", q), ("gpt", a))]
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in said]}


def _messages(talk: list[tuple[str, str]]) -> Row:
    said = [pair for q, a in talk for pair in (("user", q), ("assistant", a))]
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def _oasst(rows: Sequence[Row]) -> Iterator[Row]:
    """Write trees of a question and two answers, the second of which is worse."""
    for number, row in enumerate(rows):
        key, worse = f"m{number}", rows[number - 1]["output"]
        yield {"message_id": key, "parent_id": None, "role": "prompter", "text": _question(row)}
        for rank, text in enumerate((row["output"], worse)):
            reply = {"message_id": f"{key}-{rank}", "parent_id": key, "role": "assistant"}
            yield reply | {"text": text, "rank": rank}


WRITERS: Mapping[str, Callable[[Sequence[Row]], Iterator[Row]]] = {
    "alpaca": _each(dict),
    "prompt_response": _each(lambda row: {"prompt": _question(row), "response": row["output"]}),
    "dolly": _each(
        lambda row: {
            "instruction": row["instruction"],
            "context": row["input"],
            "response": row["output"],
        }
    ),
    "text": _each(lambda row: {"text": f"{_question(row)}\n{row['output']}"}),
    "messages": _talks(_messages),
    "sharegpt": _talks(_sharegpt),
    "oasst": _oasst,
}
"""How rows become rows of a format, by the format's name."""
