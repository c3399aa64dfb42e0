"""Outputs of a system for a set of instructions, in AlpacaEval's file format, and their pairing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray.errors import Problem, UserError, bad_input
from neft_ray.files import write_whole

MOST_SHOWN = 10
"""Problems of a file that are listed; a file of another kind would fill the screen."""


@dataclass(frozen=True)
class Output:
    """What a system answered to one instruction."""

    instruction: str
    output: str
    dataset: str = ""
    """The part of the evaluation set that the instruction comes from."""


@dataclass(frozen=True)
class Outputs:
    """The answers of one system, no instruction twice."""

    name: str
    """Of the system: AlpacaEval's `generator`."""
    rows: tuple[Output, ...]


@dataclass(frozen=True)
class Pair:
    """The answers of both systems to one instruction."""

    instruction: str
    dataset: str
    system: str
    """The output of the system that is judged."""
    reference: str
    """The output of the system that it is judged against."""


@dataclass(frozen=True)
class Pairing:
    """Two systems' outputs side by side, in the order of the judged system's rows."""

    system: str
    """The name of the system that is judged."""
    reference: str
    """The name of the system that it is judged against; never the same name."""
    pairs: tuple[Pair, ...]
    system_alone: tuple[str, ...]
    """Instructions that the reference has no output for."""
    reference_alone: tuple[str, ...]
    """Instructions that the judged system has no output for."""

    def sentence(self) -> str:
        """Say how many prompts are compared, and how many have no partner."""
        text = (
            f"{len(self.pairs):,} prompts have outputs of both {self.system} and {self.reference}"
        )
        alone = [
            f"{len(instructions):,} of {name} alone"
            for name, instructions in (
                (self.system, self.system_alone),
                (self.reference, self.reference_alone),
            )
            if instructions
        ]
        return f"{text}; left out: {' and '.join(alone)}" if alone else text


def read_outputs(path: Path) -> Outputs:
    """Read a file of outputs: a JSON list of {dataset, instruction, output, generator}.

    `dataset` may be missing, and further keys are passed over, as published files have some.

    Raises:
        UserError: With the file, the row (from 1) and the key of everything that is wrong.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))  # as Windows may begin it
    except OSError as error:
        raise bad_input(path, f"cannot be read: {error.strerror}", "give a file") from None
    except ValueError as error:
        raise bad_input(path, f"is not JSON: {error}", "write a list of outputs") from None
    if not isinstance(content, list) or not content:
        what = "is an empty list" if content == [] else "is no list of outputs"
        raise bad_input(path, what, "write [{dataset, instruction, output, generator}, …]")
    problems = list(_problems(path, content))
    if problems:
        more = len(problems) - MOST_SHOWN
        rest = [Problem(str(path), f"{more} more problems", "mend the first ones")]
        raise UserError(problems[:MOST_SHOWN] + (rest if more > 0 else []))
    rows = (Output(row["instruction"], row["output"], row.get("dataset", "")) for row in content)
    return Outputs(content[0]["generator"], tuple(rows))


def write_outputs(path: Path, outputs: Outputs) -> None:
    """Write outputs as AlpacaEval reads them, all or nothing.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    content = [
        {
            "dataset": row.dataset,
            "instruction": row.instruction,
            "output": row.output,
            "generator": outputs.name,
        }
        for row in outputs.rows
    ]
    write_whole(path, json.dumps(content, indent=2) + "\n")


def pair_outputs(system: Outputs, reference: Outputs) -> Pairing:
    """Put two systems' outputs side by side, by instruction.

    Raises:
        UserError: If they share no instruction.
    """
    theirs = {row.instruction: row.output for row in reference.rows}
    pairs = tuple(
        Pair(row.instruction, row.dataset, row.output, theirs[row.instruction])
        for row in system.rows
        if row.instruction in theirs
    )
    if not pairs:
        raise bad_input(
            f"{system.name} and {reference.name}",
            "have no instruction in common",
            "compare outputs for the same evaluation set",
        )
    ours = {pair.instruction for pair in pairs}
    same = system.name == reference.name
    return Pairing(
        system.name,
        f"{reference.name} (reference)" if same else reference.name,
        pairs,
        tuple(row.instruction for row in system.rows if row.instruction not in theirs),
        tuple(row.instruction for row in reference.rows if row.instruction not in ours),
    )


def _problems(path: Path, content: Sequence[Any]) -> Iterator[Problem]:
    """Yield what is wrong with the rows of a file."""
    name: str | None = None
    first_rows: dict[str, int] = {}
    for number, row in enumerate(content, 1):
        where = f"{path}: row {number}"
        if not isinstance(row, dict):
            yield Problem(where, f"is {_kind(row)}", "write {instruction, output, generator}")
            continue
        wrong = list(_wrong_keys(where, row))
        yield from wrong
        if wrong:
            continue
        name = row["generator"] if name is None else name
        if row["generator"] != name:
            what = f"'{row['generator']}', but the rows before are of '{name}'"
            yield Problem(f"{where}: generator", what, "keep one system in a file")
        first = first_rows.setdefault(row["instruction"], number)
        if first != number:
            what = f"the same as in row {first}"
            yield Problem(f"{where}: instruction", what, "keep one output of each instruction")


def _wrong_keys(where: str, row: dict[str, Any]) -> Iterator[Problem]:
    for key in ("instruction", "output", "generator", "dataset"):
        if key not in row:
            if key != "dataset":
                yield Problem(f"{where}: {key}", "is missing", "add it: text")
        elif not isinstance(row[key], str):
            yield Problem(f"{where}: {key}", f"is {_kind(row[key])}", "write text")
        elif key in ("instruction", "generator") and not row[key].strip():
            yield Problem(f"{where}: {key}", "is empty", "write text")


def _kind(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
