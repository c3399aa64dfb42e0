"""Answers to held-out rows, generated in batches by the model that is being trained.

Greedy, with the paper's repetition penalty and a cache of keys and values. A row's answer does not
depend on the rows beside it, up to the rounding of floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neft_ray.config.evaluation import DecodingConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.generate.decoding import Tokens, Writer, end_tokens
from neft_ray.model import context_of, load_tokenizer
from neft_ray.strategy.base import Engine

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Answer:
    """What a model wrote for a row, and what the data has there."""

    sample_id: int
    prompt: str
    text: str
    reference: str
    num_tokens: int
    """Without the end-of-text token."""
    has_ended: bool
    """False: cut off at the longest length allowed."""


def answer_rows(engine: Engine, data: TokenizedData, config: TrialConfig, num: int) -> list[Answer]:
    """Answer the first `num` rows of the report split; all ranks call this and share the rows.

    The first answer of a conversation is meant. It may be as long as a whole row
    (`data.max_length_tokens`), or as the model's context leaves room for.

    Returns:
        The answers in the order of their rows, on all ranks.
    """
    rows = data.rows(Split.REPORT)[:num].tolist()
    tokenizer = load_tokenizer(config.model)
    model: Any = engine.plain.model
    longest = max((len(prompt_tokens(data, row)) for row in rows), default=0)
    room = context_of(model.config) - longest
    max_tokens = max(1, min(config.data.max_length_tokens, room))
    ends = end_tokens(model, tokenizer)
    decoding = DecodingConfig(max_new_tokens=max_tokens)
    writer = Writer(engine.plain, engine.device, ends, decoding, engine.world > 1)
    engine.module.eval()
    mine: list[Answer] = []
    for batch in _batches(rows, engine.rank, engine.world):
        prompts = [prompt_tokens(data, row) for row in batch]
        found = writer.write(prompts)
        for row, prompt, tokens in zip(batch, prompts, found, strict=True):
            has_ended = bool(np.isin(tokens[-1:], ends).any())
            answer = Answer(
                sample_id=row,
                prompt=_text(tokenizer, prompt),
                text=_text(tokenizer, tokens),
                reference=_text(tokenizer, _reference(data, row)),
                num_tokens=len(tokens) - has_ended,
                has_ended=has_ended,
            )
            mine.append(answer)
    there = [answer for answers in engine.gather_over_ranks(mine) for answer in answers]
    by_row = {answer.sample_id: answer for answer in there}
    return [by_row[row] for row in rows]


def _batches(rows: Sequence[int], rank: int, world: int) -> Iterator[list[int]]:
    """Yield a rank's batches: equally many on all ranks, for their forwards may be collectives."""
    size = ROWS_AT_ONCE * world
    for start in range(0, len(rows), size):
        share = list(rows[start : start + size][rank::world])
        yield share or [rows[start]]


def prompt_tokens(data: TokenizedData, row: int) -> Tokens:
    """Return a row's tokens before its first answer."""
    start, stop = data.offsets[row], data.offsets[row + 1]
    num = int(data.supervised[start:stop].argmax())
    return np.asarray(data.tokens[start : start + num], dtype=np.int64)


def _reference(data: TokenizedData, row: int) -> Tokens:
    """Return the tokens of a row's first answer."""
    start, stop = data.offsets[row], data.offsets[row + 1]
    is_answer = np.asarray(data.supervised[start:stop])
    first = int(is_answer.argmax())
    length = int(np.append(is_answer[first:], False).argmin())
    tokens = data.tokens[start + first : start + first + length]
    return np.asarray(tokens, dtype=np.int64)


def _text(tokenizer: Any, tokens: Tokens) -> str:
    return str(tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip()
