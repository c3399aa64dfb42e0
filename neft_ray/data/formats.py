"""Reads rows from files, folders or the hub, and turns each into a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from neft_ray.errors import Problem, UserError, bad_input

Row = Mapping[str, Any]
MAX_PROBLEMS = 20
READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str
    context: str = ""
    """What the message refers to: Alpaca's `input`."""


class _RowError(ValueError):
    """What is wrong with one row, without its place."""


def _text(row: Row, key: str, required: bool = True) -> str:
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise _RowError(f"'{key}' is missing" if value is None else f"'{key}' is not text")
    if required and not value.strip():
        raise _RowError(f"'{key}' is empty")
    return value


def alpaca(row: Row) -> list[Turn]:
    """`{instruction, input, output}`; `input` may be missing or empty."""
    question = Turn("user", _text(row, "instruction"), _text(row, "input", required=False))
    return [question, Turn("assistant", _text(row, "output"))]


def prompt_response(row: Row) -> list[Turn]:
    """`{prompt, response}`."""
    return [Turn("user", _text(row, "prompt")), Turn("assistant", _text(row, "response"))]


def messages(row: Row) -> list[Turn]:
    """`{messages: [{role, content}, …]}` with at least one assistant message."""
    listed = row.get("messages")
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise _RowError("'messages' is missing or not a list")
    turns = []
    for number, message in enumerate(listed):
        if not isinstance(message, Mapping):
            raise _RowError(f"message {number} is not an object")
        role = message.get("role")
        if role not in ("system", "user", "assistant"):
            raise _RowError(f"message {number} has the role {role!r}")
        turns.append(Turn(role, _text(message, "content")))
    if all(turn.role != "assistant" for turn in turns):
        raise _RowError("no message has the role 'assistant'")
    return turns


FORMATS: Mapping[str, Callable[[Row], list[Turn]]] = {
    "alpaca": alpaca,
    "prompt_response": prompt_response,
    "messages": messages,
}


def read_conversations(source: str, format_name: str, part: str = "train") -> list[list[Turn]]:
    """Read every row of `source` as a conversation.

    Args:
        source: Hub name, file, folder, or `builtin:tales`.
        format_name: A key of `FORMATS`.
        part: Which part of the built-in data: `train` or `held_out`.

    Raises:
        UserError: If the source cannot be read, or rows are malformed (the first 20 are named).
    """
    to_turns = FORMATS[format_name]
    conversations, problems = [], []
    for number, row in enumerate(_read_rows(source, part), start=1):
        try:
            conversations.append(to_turns(row))
        except _RowError as error:
            remedy = f"a row of format '{format_name}' is {to_turns.__doc__}"
            problems.append(Problem(f"{source}: row {number}", str(error), remedy))
            if len(problems) == MAX_PROBLEMS:
                break
    if problems:
        raise UserError(problems)
    if not conversations:
        raise bad_input(source, "has no rows", "give a file with at least a few dozen rows")
    return conversations


def builtin_data(part: str) -> Path:
    """Return the file of the built-in data's `part`, `train` or `held_out`."""
    return Path(str(resources.files("neft_ray") / "builtin" / f"{part}.jsonl"))


def local_files(source: str, part: str = "train") -> list[Path]:
    """Return the files that a source consists of, none where it is a hub name.

    Raises:
        UserError: If there are none although `source` cannot be a hub name.
    """
    if source.startswith("builtin:"):
        if source != "builtin:tales":
            raise bad_input(source, "no such built-in data", "use builtin:tales")
        return [builtin_data(part)]
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in READERS)
        if not files:
            raise bad_input(source, "has no data files", f"expected {', '.join(READERS)}")
        return files
    if path.is_file():
        if path.suffix not in READERS:
            raise bad_input(source, "unknown kind of file", f"expected {', '.join(READERS)}")
        return [path]
    if source.startswith(("/", ".", "~")) or path.suffix in READERS:
        raise bad_input(source, "no such file or folder", "check the path")
    return []


def _read_rows(source: str, part: str) -> Sequence[Row]:
    files = local_files(source, part)
    return _read_files(source, files) if files else _read_hub(source)


def _read_files(source: str, files: Sequence[Path]) -> Sequence[Row]:
    import datasets

    kinds = {READERS[file.suffix] for file in files}
    if len(kinds) > 1:
        raise bad_input(source, "mixes kinds of files", "keep one kind in the folder")
    for file in files:
        if file.stat().st_size == 0:
            raise bad_input(file, "is empty", "give a file with rows")
    datasets.disable_progress_bars()
    try:
        paths = [str(file) for file in files]
        loaded = datasets.load_dataset(kinds.pop(), data_files=paths, split="train")
        return loaded.to_list()  # type: ignore[no-any-return]
    except Exception as error:  # the readers of each kind of file raise errors of their own
        malformed = _malformed_lines(files)
        remedy = "give a well-formed file with at least one row"
        raise UserError(malformed or [_unreadable(source, error, remedy)]) from error


def _read_hub(source: str) -> Sequence[Row]:
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(source, split="train").to_list()  # type: ignore[no-any-return]
    except Exception as error:  # the hub client's errors have no common base
        remedy = "check the name; without a hub connection give a local file"
        raise UserError([_unreadable(source, error, remedy)]) from error


def _unreadable(source: str, error: BaseException, remedy: str) -> Problem:
    cause = error.__cause__ or error
    first_line = str(cause).strip().partition("\n")[0][:200]
    return Problem(source, f"cannot be read: {type(cause).__name__}: {first_line}", remedy)


def _malformed_lines(files: Sequence[Path]) -> list[Problem]:
    """Name the lines of JSON Lines files that are no JSON objects in UTF-8."""
    problems = []
    for file in files:
        if file.suffix != ".jsonl":
            continue
        for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
            try:
                valid = not line.strip() or isinstance(json.loads(line), dict)
            except ValueError:
                valid = False
            if not valid:
                remedy = "write one JSON object per line"
                problems.append(Problem(f"{file}:{number}", "is not a JSON object", remedy))
    return problems[:MAX_PROBLEMS]
