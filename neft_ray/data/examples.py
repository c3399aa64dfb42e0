"""Every row as the model would see it, and what becomes of it: its split, or why it is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neft_ray.config.data import DataConfig
from neft_ray.data.conversation import Conversation
from neft_ray.data.exclude import asked_keys, excluded_prompts
from neft_ray.data.formats import read_conversations
from neft_ray.data.split import Split, halve_by_key, prompt_key, split_by_key
from neft_ray.data.templates import Piece, PlainText, Template, UnfitError
from neft_ray.errors import bad_input

CHUNK_ROWS = 1000


@dataclass(frozen=True)
class Example:
    """A row as the model would see it.

    Attributes:
        conversation: What it was made from.
        key: What near-copies of its prompt share, see `split.prompt_key`.
        tokens: [L] token ids, cut to the longest length allowed.
        supervised: [L] whether a token is a target of the loss.
        num_tokens: Before it was cut.
        num_prompt_tokens: Before the first target.
        cuts: What was left out of the conversation.
        split: None where it is dropped.
        dropped: Why it is dropped; empty where it is not.
        detail: More on that, of this row alone.
    """

    conversation: Conversation
    key: str
    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    cuts: tuple[str, ...] = ()
    split: Split | None = None
    dropped: str = ""
    detail: str = ""

    @property
    def is_truncated(self) -> bool:
        """Whether tokens were cut off."""
        return len(self.tokens) < self.num_tokens

    def drop(self, reason: str, detail: str = "") -> Example:
        """Return it as dropped."""
        return replace(self, split=None, dropped=reason, detail=detail)


def examples(config: DataConfig, tokenizer: Any) -> Iterator[Example]:
    """Yield what becomes of every row: those held out first, then those of `train`.

    Args:
        config: The `data` section.
        tokenizer: A fast Hugging Face tokenizer with an end-of-text token.

    Raises:
        UserError: If a source is unreadable or malformed, or the template does not fit it.
    """
    encoder = _Encoder(config, tokenizer)
    held_out_keys: set[str] = set()
    if config.held_out is not None:
        held_out = read_conversations(config.held_out, config.format, part="held_out")
        for example in encoder.encode(held_out):
            held_out_keys.add(example.key)
            yield _into(example, halve_by_key(example.key, config.split))
    excluded = excluded_prompts(config.exclude)
    num_train = 0
    for example in encoder.encode(read_conversations(config.train, config.format)):
        split = Split.TRAIN if config.held_out else split_by_key(example.key, config.split)
        like = [excluded[key] for key in asked_keys(example.conversation.turns) if key in excluded]
        if example.dropped:
            yield example
        elif example.key in held_out_keys:
            yield example.drop("prompt is held out")
        elif like:
            yield example.drop("prompt is excluded", f"it is that of {like[0]}")
        elif split is Split.TRAIN and num_train == config.max_rows:
            yield example.drop("over max_rows")
        else:
            num_train += split is Split.TRAIN
            yield _into(example, split)


def encoded(
    config: DataConfig, tokenizer: Any, conversations: Sequence[Conversation]
) -> Iterator[Example]:
    """Yield what becomes of some conversations by the rules of length, in no split.

    Raises:
        UserError: If the template does not fit them.
    """
    return _Encoder(config, tokenizer).encode(conversations)


def _into(example: Example, split: Split) -> Example:
    return example if example.dropped else replace(example, split=split)


class _Encoder:
    """Renders and tokenizes conversations, and applies the rules of length."""

    def __init__(self, config: DataConfig, tokenizer: Any) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._template: Template | PlainText = (
            PlainText(tokenizer)
            if config.format == "text"
            else Template(config.template, tokenizer)
        )

    def encode(self, conversations: Sequence[Conversation]) -> Iterator[Example]:
        """Yield an example per conversation, or more by `data.turns`, without a split."""
        rows = [row for whole in conversations for row in self._rows(whole)]
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = [self._render(row) for row in rows[start : start + CHUNK_ROWS]]
            encoded = self._tokenizer(
                ["".join(text for text, _ in pieces) for _, pieces in chunk],
                add_special_tokens=self._template.adds_special_tokens,
                return_offsets_mapping=True,
                verbose=False,
            )
            tokenized = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            for (example, pieces), (tokens, spans) in zip(chunk, tokenized, strict=True):
                if example.dropped:
                    yield example
                else:
                    yield self._apply_rules(
                        example, np.asarray(tokens, np.int32), _mask(pieces, spans)
                    )

    def _rows(self, whole: Conversation) -> Iterator[Example]:
        """Yield the rows that a conversation makes, all with its key, so with its split."""
        is_kept = self._template.is_chat and self._config.turns == "all"
        kept = whole if is_kept else whole.without_leading_answers()
        cuts = ["answers before the first question"] if len(kept.turns) < len(whole.turns) else []
        parts = [kept]
        if self._config.format != "text" and self._config.turns != "all":
            parts = list(kept.rounds())
        if self._config.turns == "first":
            cuts += ["questions after the first"] if len(parts) > 1 else []
            parts = parts[:1]
        for part in parts:
            ends = part.turns[-1].role in ("assistant", "text")
            after = [] if ends else ["messages after the last answer"]
            nothing: Any = np.zeros(0, np.int32)
            yield Example(part, prompt_key(whole.turns), nothing, nothing > 0, cuts=(*cuts, *after))

    def _render(self, example: Example) -> tuple[Example, list[Piece]]:
        row = example.conversation
        if any(turn.is_empty for turn in row.turns):
            return example.drop("an empty message"), []
        if row.uses_tools and not self._template.is_chat:
            what = "a named template has no place for tools, as rows have them"
            raise bad_input(f"{row.place}: data.template", what, "use `template: chat`")
        try:
            pieces = self._template.pieces(row.turns, row.tools)
        except UnfitError as unfit:
            return example.drop(unfit.reason, unfit.detail), []
        return (example, pieces) if pieces else (example.drop("no response"), [])

    def _apply_rules(
        self, example: Example, tokens: NDArray[np.int32], mask: NDArray[np.bool_]
    ) -> Example:
        mask[:1] = False  # nothing predicts the first token
        longest = self._config.max_length_tokens
        example = replace(
            example,
            tokens=tokens[:longest],
            supervised=mask[:longest],
            num_tokens=len(tokens),
            num_prompt_tokens=int(mask.argmax()),
        )
        reason = self._dropped(len(tokens), mask)
        if not reason and not example.supervised.any():
            reason = "no response left after truncation"
        return example.drop(reason) if reason else example

    def _dropped(self, num_tokens: int, mask: NDArray[np.bool_]) -> str:
        config = self._config
        num_response = int(mask.sum()) - 1  # without the end-of-text token
        num_prompt = int(mask.argmax())
        if not mask.any():
            return "no response"
        if num_response < config.min_response_tokens:
            return "response below min_response_tokens"
        if config.max_response_tokens is not None and num_response > config.max_response_tokens:
            return "response over max_response_tokens"
        if config.max_prompt_tokens is not None and num_prompt > config.max_prompt_tokens:
            return "prompt over max_prompt_tokens"
        if config.too_long == "drop" and num_tokens > config.max_length_tokens:
            return "longer than max_length_tokens"
        return ""


def _mask(pieces: Sequence[Piece], spans: Sequence[tuple[int, int]]) -> Any:
    """Mark the tokens whose last character lies in a supervised piece."""
    ends = np.cumsum([len(piece) for piece, _ in pieces])
    flags = np.asarray([flag for _, flag in pieces])
    last = np.asarray([end - 1 for _, end in spans])
    index = np.minimum(np.searchsorted(ends, last, side="right"), len(flags) - 1)
    return flags[index]
