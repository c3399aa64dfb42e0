"""Replies to the prompts of an evaluation set, batch by batch, each in the model's template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neft_ray.data.formats import Turn
from neft_ray.data.templates import Template
from neft_ray.generate.decoding import Tokens, Writer, context_of

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
                for row in asked:
                    talks[row].append(batch[row].questions[turn])
                # Who is in step writes even if it is asked nothing.
                written = self._written([talks[row] for row in asked or [0]])
                for row, (text, num_tokens, end) in zip(asked, written, strict=bool(asked)):
                    talks[row].append(Turn("assistant", text))
                    reply = found[row]
                    found[row] = replace(
                        reply,
                        texts=(*reply.texts, text),
                        num_tokens=(*reply.num_tokens, num_tokens),
                        ends=(*reply.ends, end),
                    )
            yield found

    def _written(self, talks: Sequence[Sequence[Turn]]) -> list[tuple[str, int, str]]:
        """Return what is said next in some conversations: text, number of tokens, how it ends."""
        prompts = [self._tokens(talk) for talk in talks]
        context, decoding = context_of(self.writer.plain.model), self.writer.decoding
        full = [len(prompt) >= context for prompt in prompts]
        shown = [prompt[: context - 1] for prompt in prompts]
        room = context - max(map(len, shown))
        num = min(decoding.max_new_tokens, room)
        writer = replace(self.writer, decoding=replace(decoding, max_new_tokens=num))
        found = []
        for tokens, has_no_room in zip(writer.write(shown), full, strict=True):
            has_ended = bool(np.isin(tokens[-1:], self.writer.ends).any())
            text = str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip()
            end = ENDED if has_ended else CUT
            whole = (text, len(tokens) - has_ended, end)
            found.append(("", 0, NO_ROOM) if has_no_room else whole)
        return found

    def _tokens(self, talk: Sequence[Turn]) -> Tokens:
        encoded = self.tokenizer(
            self.template.prompt(talk),
            add_special_tokens=self.template.adds_special_tokens,
            verbose=False,
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
