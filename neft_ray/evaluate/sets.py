"""Sets of prompts: AlpacaEval, MT-Bench and IFEval from the hub, or from a file of their format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray.data.conversation import Turn
from neft_ray.errors import Problem, UserError, bad_input
from neft_ray.generate.replies import Prompt
from neft_ray.judge import Output, Outputs

Row = Mapping[str, Any]
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class OnHub:
    """Where a published set lies."""

    repository: str
    file: str
    kind: str = "dataset"


PUBLISHED = {
    "alpaca_eval": OnHub("tatsu-lab/alpaca_eval", "alpaca_eval.json"),
    "ifeval": OnHub("google/IFEval", "ifeval_input_data.jsonl"),
    "mt_bench": OnHub("lmsys/mt-bench", "data/mt_bench/question.jsonl", kind="space"),
}


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts, and what the file says beside them."""

    name: str
    kind: str
    """A key of `READERS`."""
    prompts: tuple[Prompt, ...]
    rows: tuple[Row, ...]
    """One per prompt, as in the file."""
    content_hash: str
    """Twelve hexadecimal digits of the questions."""

    @property
    def outputs(self) -> Outputs | None:
        """The outputs that come with the prompts, of whatever system; None where none do."""
        if not all({"output", "generator"} <= row.keys() for row in self.rows):
            return None
        found = (
            Output(self.instruction(number), str(row["output"]), str(row.get("dataset", "")))
            for number, row in enumerate(self.rows)
        )
        return Outputs(str(self.rows[0]["generator"]), tuple(found))

    def instruction(self, number: int) -> str:
        """Return what a prompt asks, as AlpacaEval's files name it."""
        questions = self.prompts[number].questions
        texts = ["\n\n".join(filter(None, [turn.text, turn.context])) for turn in questions]
        if len(texts) == 1:
            return texts[0]
        return "\n\n".join(f"[Turn {turn}] {text}" for turn, text in enumerate(texts, start=1))


def _questions_of_instruction(row: Row) -> list[Turn]:
    return [Turn("user", _text(row, "instruction"), str(row.get("input") or ""))]


def _questions_of_prompt(row: Row) -> list[Turn]:
    return [Turn("user", _text(row, "prompt"))]


def _questions_of_turns(row: Row) -> list[Turn]:
    turns = row.get("turns")
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise ValueError("'turns' is not a list of questions")
    if not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError("'turns' holds something that is no text, or empty")
    return [Turn("user", turn) for turn in turns]


READERS: Mapping[str, tuple[str, Callable[[Row], list[Turn]]]] = {
    "ifeval": ("instruction_id_list", _questions_of_prompt),
    "mt_bench": ("turns", _questions_of_turns),
    "alpaca_eval": ("instruction", _questions_of_instruction),
    "prompts": ("prompt", _questions_of_prompt),
}
"""The kinds of sets: the key of a row by which one is known, the first that fits, and its
questions."""


def load_set(name: str, max_prompts: int | None = None) -> EvaluationSet:
    """Return a published set, or a file's: a JSON list, or JSON Lines.

    Args:
        name: A key of `PUBLISHED`, or a file.
        max_prompts: The first so many alone; None: all.

    Raises:
        UserError: If it cannot be had, or rows are malformed (the first 20 are named).
    """
    file = Path(name).expanduser()
    if name in PUBLISHED and not file.is_file():
        file = _download(name)
    rows = read_rows(file)
    kind = next((kind for kind, (key, _) in READERS.items() if key in rows[0]), None)
    if kind is None:
        keys = ", ".join(key for key, _ in READERS.values())
        what = f"its first row has none of the keys {keys}"
        raise bad_input(file, what, "give prompts in one of these formats")
    prompts, problems = [], []
    for number, row in enumerate(rows[:max_prompts]):
        try:
            prompts.append(Prompt(number, tuple(READERS[kind][1](row))))
        except ValueError as error:
            remedy = f"all rows of a set of kind {kind} have '{READERS[kind][0]}'"
            problems.append(Problem(f"{file}: row {number + 1}", str(error), remedy))
    problems += _asked_twice(file, prompts)
    if problems:
        raise UserError(problems[:MAX_PROBLEMS])
    asked = [[(turn.text, turn.context) for turn in prompt.questions] for prompt in prompts]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
    chosen = tuple(rows[: len(prompts)])
    return EvaluationSet(_set_name(name), kind, tuple(prompts), chosen, digest)


def _asked_twice(file: Path, prompts: Sequence[Prompt]) -> list[Problem]:
    """Name prompts that are there already: replies are told apart by what they reply to."""
    first: dict[tuple[tuple[str, str], ...], int] = {}
    problems = []
    for prompt in prompts:
        asked = tuple((turn.text, turn.context) for turn in prompt.questions)
        before = first.setdefault(asked, prompt.number)
        if before != prompt.number:
            where, what = f"{file}: row {prompt.number + 1}", f"asks what row {before + 1} asks"
            problems.append(Problem(where, what, "keep one of them"))
    return problems


def read_rows(file: Path) -> list[Row]:
    """Return the rows of a JSON list or of JSON Lines.

    Raises:
        UserError: If the file is not there, not such a file, or empty.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        remedy = f"name a file of prompts, or one of {', '.join(PUBLISHED)}"
        raise bad_input(file, f"cannot be read: {error}", remedy) from None
    rows = _json_list(file, text) if text.lstrip().startswith("[") else _json_lines(file, text)
    if not rows:
        raise bad_input(file, "has no rows", "give at least one prompt")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise bad_input(f"{file}: row {number}", "is no JSON object", "write one per prompt")
    return rows


def _json_list(file: Path, text: str) -> list[Row]:
    try:
        return list(json.loads(text))
    except ValueError as error:
        raise bad_input(file, f"is no JSON: {error}", "give a JSON list, or JSON Lines") from None


def _json_lines(file: Path, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError:
            where, remedy = f"{file}:{number}", "write one JSON object per line"
            raise bad_input(where, "is not a JSON object", remedy) from None
    return rows


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'{key}' is missing, empty or no text")
    return value


def _set_name(name: str) -> str:
    return name if name in PUBLISHED else Path(name).stem


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    place = PUBLISHED[name]
    try:
        file = hf_hub_download(place.repository, place.file, repo_type=place.kind)
    except Exception as error:  # the hub client's errors have no common base
        first = str(error).strip().partition("\n")[0][:200]
        what = f"cannot be fetched from {place.repository}: {type(error).__name__}: {first}"
        raise bad_input(name, what, "without a hub connection name its file") from None
    return Path(file)
