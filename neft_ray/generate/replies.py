"""Replies to the prompts of an evaluation set, batch by batch, each in the model's template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neft_ray.data.conversation import Turn
from neft_ray.data.templates import Template
from neft_ray.generate.decoding import Tokens, Writer
from neft_ray.model import context_of

CUT, ENDED, NO_ROOM = "cut", "ended", "no room"


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: one question, or several of which each follows the reply before."""

    number: int
    """Its place in the set."""
    questions: tuple[Turn, ...]


@dataclass(frozen=True)
class Reply:
    """What a model wrote for a prompt: a text for each question."""

    number: int
    texts: tuple[str, ...]
    num_tokens: tuple[int, ...]
    """Without the end-of-text token."""
    ends: tuple[str, ...]
    """`ended` by itself; `cut` at the longest length allowed, or where the model's context is
    full; `no room`: the context is full before it could begin."""


@dataclass(frozen=True)
class Replying:
    """A writer with the words around what it is asked and says."""

    writer: Writer
    tokenizer: Any
    template: Template

    def replies(self, batches: Iterator[list[Prompt]], num_questions: int) -> Iterator[list[Reply]]:
        """Yield the replies of each batch.

        Args:
            batches: What this worker is to answer; equally many on all workers that are in step.
            num_questions: The most that any prompt of any worker has.
        """
        for batch in batches:
            talks = [list[Turn]() for _ in batch]
            found = [Reply(prompt.number, (), (), ()) for prompt in batch]
            for turn in range(num_questions):
                asked = [row for row, prompt in enumerate(batch) if len(prompt.questions) > turn]
                if not (asked or self.writer.in_step):
                    break
                for row in asked:
                    talks[row].append(batch[row].questions[turn])
                # Who is in step writes even if it is asked nothing.
                written = self._written([talks[row] for row in asked] or [talks[0][:-1]])
                for row, (text, num_tokens, end) in zip(asked, written, strict=bool(asked)):
                    talks[row].append(Turn("assistant", text))
                    found[row] = extended(found[row], text, num_tokens, end)
            yield found

    def _written(self, talks: Sequence[Sequence[Turn]]) -> list[tuple[str, int, str]]:
        """Return what is said next in some conversations: text, number of tokens, how it ends.

        A prompt that leaves less room than a reply may take is written alone, so that it does not
        cut the others; in step that cannot be.
        """
        prompts = [tokens_of(talk, self.template, self.tokenizer) for talk in talks]
        context = context_of(self.writer.plain.model.config)
        longest = self.writer.decoding.max_new_tokens
        rooms = [min(longest, context - len(prompt)) for prompt in prompts]
        groups = [[row for row, room in enumerate(rooms) if room == longest]]
        groups += [[row] for row, room in enumerate(rooms) if 0 < room < longest]
        if self.writer.in_step:
            groups = [[row for row, room in enumerate(rooms) if room > 0] or [0]]
        found = [("", 0, NO_ROOM)] * len(talks)
        for group in filter(None, groups):
            room = max(1, min(rooms[row] for row in group))
            given = [prompts[row][: context - 1] for row in group]
            for row, tokens in zip(group, self._continued(given, room), strict=True):
                if rooms[row] > 0:
                    found[row] = self._said(tokens)
        return found

    def _continued(self, prompts: Sequence[Tokens], num_tokens: int) -> list[Tokens]:
        decoding = self.writer.decoding.model_copy(update={"max_new_tokens": num_tokens})
        return replace(self.writer, decoding=decoding).write(prompts)

    def _said(self, tokens: Tokens) -> tuple[str, int, str]:
        has_ended = bool(np.isin(tokens[-1:], self.writer.ends).any())
        text = str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip()
        return text, len(tokens) - has_ended, ENDED if has_ended else CUT


def extended(reply: Reply, text: str, num_tokens: int, end: str) -> Reply:
    """Return a reply with what answers one question more."""
    return Reply(
        reply.number,
        texts=(*reply.texts, text),
        num_tokens=(*reply.num_tokens, num_tokens),
        ends=(*reply.ends, end),
    )


def tokens_of(talk: Sequence[Turn], template: Template, tokenizer: Any) -> Tokens:
    """Return a conversation up to what the model is to say next."""
    encoded = tokenizer(
        template.prompt(talk), add_special_tokens=template.adds_special_tokens, verbose=False
    )
    return np.asarray(encoded["input_ids"], dtype=np.int64)


def batches_of(
    prompts: Sequence[Prompt], size: int, rank: int, world: int
) -> Iterator[list[Prompt]]:
    """Yield a worker's batches, of prompts of similar length, the longest first.

    All workers have equally many: one that is left without prompts is given one of another's.
    """
    by_length = sorted(prompts, key=_length, reverse=True)
    for start in range(0, len(by_length), size * world):
        there = by_length[start : start + size * world]
        yield there[rank::world] or [there[0]]


def _length(prompt: Prompt) -> tuple[int, int]:
    texts = (turn.text + turn.context for turn in prompt.questions)
    return sum(map(len, texts)), -prompt.number
