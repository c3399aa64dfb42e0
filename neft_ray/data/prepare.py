"""From rows to a folder of tokens on disk, written once and memory-mapped by every worker."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neft_ray.config.trial import DataConfig
from neft_ray.data.formats import Turn, local_files, read_conversations
from neft_ray.data.split import Split, halve_by_key, prompt_key, split_by_key
from neft_ray.data.templates import Template
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import Problem, UserError
from neft_ray.working_copy import Pushing, pull

FORMAT_VERSION = 1
CHUNK_ROWS = 1000
Encoded = tuple[NDArray[np.int32], NDArray[np.bool_]]


class _Tokenizing:
    """Applies the length rules row by row and counts what they do."""

    def __init__(self, config: DataConfig, template: Template, tokenizer: Any) -> None:
        self._config, self._template, self._tokenizer = config, template, tokenizer
        self.counts: Counter[str] = Counter()
        self.tokens: list[NDArray[np.int32]] = []
        self.supervised: list[NDArray[np.bool_]] = []
        self.splits: list[int] = []

    def encode(self, conversations: Sequence[Sequence[Turn]]) -> Iterator[Encoded | None]:
        """Yield token ids and loss mask per conversation, None where a rule drops it (counted)."""
        num_cut = sum(turns[-1].role != "assistant" for turns in conversations)
        if num_cut:
            self.counts["cut: messages after the last answer"] += num_cut
        for start in range(0, len(conversations), CHUNK_ROWS):
            pieces = [self._template.pieces(turns) for turns in conversations[start:][:CHUNK_ROWS]]
            encoded = self._tokenizer(
                ["".join(text for text, _ in row) for row in pieces],
                add_special_tokens=self._template.adds_special_tokens,
                return_offsets_mapping=True,
                verbose=False,
            )
            spans = encoded["offset_mapping"]
            for row, tokens, row_spans in zip(pieces, encoded["input_ids"], spans, strict=True):
                yield self._apply_rules(np.asarray(tokens, np.int32), _mask(row, row_spans))

    def _apply_rules(self, tokens: NDArray[np.int32], mask: NDArray[np.bool_]) -> Encoded | None:
        mask[:1] = False  # nothing predicts the first token
        reason = self._dropped(len(tokens), mask)
        if reason is None and len(tokens) > self._config.max_length_tokens:
            self.counts["truncated"] += 1
            tokens = tokens[: self._config.max_length_tokens]
            mask = mask[: self._config.max_length_tokens]
            reason = None if mask.any() else "no response left after truncation"
        if reason is not None:
            self.counts[f"dropped: {reason}"] += 1
            return None
        return tokens, mask

    def _dropped(self, num_tokens: int, mask: NDArray[np.bool_]) -> str | None:
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
        return None

    def add(self, encoded: Encoded, split: Split) -> None:
        """Keep a row."""
        self.counts[split.name.lower()] += 1
        self.tokens.append(encoded[0])
        self.supervised.append(encoded[1])
        self.splits.append(split)

    def finish(self) -> TokenizedData:
        """Join the rows."""
        lengths = [len(tokens) for tokens in self.tokens]
        tokens = np.concatenate(self.tokens)
        supervised = np.concatenate(self.supervised)
        splits = np.asarray(self.splits, dtype=np.int8)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        digest = hashlib.sha256()
        for array in (tokens, supervised, offsets, splits):
            digest.update(array.tobytes())
        summary = {
            "format_version": FORMAT_VERSION,
            "content_hash": digest.hexdigest()[:16],
            "rows": dict(self.counts),
            "longest_tokens": max(lengths),
            "mean_tokens": round(float(np.mean(lengths)), 1),
        }
        return TokenizedData(tokens, supervised, offsets, splits, summary)


def _mask(pieces: Sequence[tuple[str, bool]], spans: Sequence[tuple[int, int]]) -> Any:
    """Mark the tokens whose last character lies in a supervised piece."""
    ends = np.cumsum([len(piece) for piece, _ in pieces])
    flags = np.asarray([flag for _, flag in pieces])
    last = np.asarray([end - 1 for _, end in spans])
    index = np.minimum(np.searchsorted(ends, last, side="right"), len(flags) - 1)
    return flags[index]


def tokenize(config: DataConfig, tokenizer: Any) -> TokenizedData:
    """Read, split, filter and tokenize the data of a trial.

    Args:
        config: The `data` section.
        tokenizer: A fast Hugging Face tokenizer with an end-of-text token.

    Raises:
        UserError: If a source is unreadable or malformed, or a split ends up empty.
    """
    work = _Tokenizing(config, Template(config.template, tokenizer), tokenizer)
    held_out_keys: set[str] = set()
    if config.held_out is not None:
        held_out = read_conversations(config.held_out, config.format, part="held_out")
        for turns, encoded in zip(held_out, work.encode(held_out), strict=True):
            held_out_keys.add(prompt_key(turns))
            if encoded is not None:
                work.add(encoded, halve_by_key(prompt_key(turns), config.split))
    conversations = read_conversations(config.train, config.format)
    for turns, encoded in zip(conversations, work.encode(conversations), strict=True):
        if encoded is None:
            continue
        key = prompt_key(turns)
        split = Split.TRAIN if config.held_out else split_by_key(key, config.split)
        if key in held_out_keys:
            work.counts["dropped: prompt is held out"] += 1
        elif split is Split.TRAIN and work.counts["train"] == config.max_rows:
            work.counts["dropped: over max_rows"] += 1
        else:
            work.add(encoded, split)
    _refuse_empty_splits(config, work.counts)
    return work.finish()


def _refuse_empty_splits(config: DataConfig, counts: Counter[str]) -> None:
    dropped = "; ".join(f"{n} {why}" for why, n in counts.items() if why.startswith("dropped"))
    problems = []
    for split in Split:
        if counts[split.name.lower()]:
            continue
        what = f"no rows are left to {split.name.lower()}"
        what += f" ({dropped})" if dropped else ""
        remedy = "loosen the length rules under data"
        if split is not Split.TRAIN:
            remedy += ", give more rows, or raise data.split"
        problems.append(Problem(config.train, what, remedy))
    if problems:
        raise UserError(problems)


def prepare(config: DataConfig, tokenizer: Any, tokenizer_name: str, cache: Path) -> Path:
    """Return a folder with the tokenized data of `config`, made now if `cache` has none."""
    folder = cache / _identity(config, tokenizer, tokenizer_name)
    pull(folder)
    if not folder.exists():
        tokenize(config, tokenizer).save(folder)
        Pushing(folder).push()
    return folder


def _identity(config: DataConfig, tokenizer: Any, tokenizer_name: str) -> str:
    """Return a name that differs wherever the tokens may differ, hub data sets aside."""
    parts = [FORMAT_VERSION, tokenizer_name, config.model_dump_json()]
    parts += [tokenizer.eos_token, tokenizer.chat_template, tokenizer.backend_tokenizer.to_str()]
    digest = hashlib.sha256("|".join(map(str, parts)).encode())
    files = local_files(config.train)
    files += local_files(config.held_out, part="held_out") if config.held_out else []
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
