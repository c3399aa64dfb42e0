"""Answers to held-out rows, generated in batches by the model that is being trained.

Greedy, with the paper's repetition penalty and a cache of keys and values. A row's answer does not
depend on the rows beside it, up to the rounding of floating-point numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neft_ray.config.trial import TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.generate.chat import REPETITION_PENALTY
from neft_ray.model import load_tokenizer
from neft_ray.strategy.base import Engine

ROWS_AT_ONCE = 16
Tokens = NDArray[np.int64]


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


@torch.no_grad()
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
    context = getattr(model.config, "max_position_embeddings", sys.maxsize)
    room = context - max((len(prompt_tokens(data, row)) for row in rows), default=0)
    max_tokens = max(1, min(config.data.max_length_tokens, room))
    ends = _end_tokens(model, tokenizer)
    engine.module.eval()
    mine: list[Answer] = []
    for batch in _batches(rows, engine.rank, engine.world):
        prompts = [prompt_tokens(data, row) for row in batch]
        found = _generate(engine, prompts, ends, max_tokens)
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


def _generate(
    engine: Engine, prompts: Sequence[Tokens], ends: Sequence[int], max_tokens: int
) -> list[Tokens]:
    """Return each prompt's continuation, the end-of-text token included where there is one."""
    longest = max(map(len, prompts))
    # A token of the prompt itself pads: the repetition penalty knows every token it meets, and
    # must not hold padding against a row that has more of it than another.
    tokens = torch.tensor([[row[0]] * (longest - len(row)) + row.tolist() for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    generated = engine.plain.generate(
        input_ids=tokens.to(engine.device),
        attention_mask=mask.to(engine.device),
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        repetition_penalty=REPETITION_PENALTY,
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        synced_gpus=engine.world > 1,  # a forward may be a collective: all go on until all end
    )
    return [_until_end(row[longest:].cpu().numpy(), ends) for row in generated]


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    known = model.generation_config.eos_token_id
    listed = known if isinstance(known, list) else [] if known is None else [known]
    return list(dict.fromkeys([tokenizer.eos_token_id, *listed]))


def _until_end(tokens: Tokens, ends: Sequence[int]) -> Tokens:
    at_end = np.isin(tokens, ends)
    return tokens[: int(at_end.argmax()) + 1] if at_end.any() else tokens


def _text(tokenizer: Any, tokens: Tokens) -> str:
    return str(tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip()
