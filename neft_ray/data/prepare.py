"""From rows to a folder of tokens on disk, written once and memory-mapped by every worker."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from neft_ray.config.data import DataConfig
from neft_ray.data.examples import Example, examples
from neft_ray.data.questions import is_published
from neft_ray.data.read import local_files
from neft_ray.data.split import Split
from neft_ray.data.tokenized import FILES, TokenizedData
from neft_ray.errors import Problem, UserError
from neft_ray.working_copy import Pushing, bucket_of, pull

FORMAT_VERSION = 2


def count(rows: Iterable[Example]) -> Counter[str]:
    """Count rows by split, by why they are dropped, and what was cut of them."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(f"cut: {what}" for what in row.cuts)
        counts[f"dropped: {row.dropped}" if row.split is None else row.split.name.lower()] += 1
        counts.update(["truncated"] if row.is_truncated and row.split is not None else [])
    return counts


def tokenize(config: DataConfig, tokenizer: Any) -> TokenizedData:
    """Read, split, filter and tokenize the data of a trial.

    Args:
        config: The `data` section.
        tokenizer: A fast Hugging Face tokenizer with an end-of-text token.

    Raises:
        UserError: If a source is unreadable or malformed, or a split ends up empty.
    """
    rows = list(examples(config, tokenizer))
    counts = count(rows)
    if problems := empty_splits(config, counts):
        raise UserError(problems)
    kept = [row for row in rows if row.split is not None]
    lengths = [len(row.tokens) for row in kept]
    tokens = np.concatenate([row.tokens for row in kept])
    supervised = np.concatenate([row.supervised for row in kept])
    splits = np.asarray([row.split for row in kept], dtype=np.int8)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    digest = hashlib.sha256()
    for array in (tokens, supervised, offsets, splits):
        digest.update(array.tobytes())
    summary = {
        "format_version": FORMAT_VERSION,
        "content_hash": digest.hexdigest()[:16],
        "rows": dict(counts),
        "longest_tokens": max(lengths),
        "mean_tokens": round(float(np.mean(lengths)), 1),
    }
    return TokenizedData(tokens, supervised, offsets, splits, summary)


def empty_splits(config: DataConfig, counts: Counter[str]) -> list[Problem]:
    """Return a problem for every split without rows."""
    dropped = "; ".join(f"{n} {why}" for why, n in counts.items() if why.startswith("dropped"))
    problems = []
    for split in Split:
        if counts[split.name.lower()]:
            continue
        what = f"no rows are left to {split.name.lower()}"
        what += f" ({dropped})" if dropped else ""
        remedy = "see them with neft-ray data inspect --dropped; loosen the length rules under data"
        if split is not Split.TRAIN:
            remedy += ", give more rows, or raise data.split"
        problems.append(Problem(config.train, what, remedy))
    return problems


def prepare(config: DataConfig, tokenizer: Any, tokenizer_name: str, cache: Path) -> Path:
    """Return a folder with the tokenized data of `config`, made now if `cache` has none.

    Args:
        config: The `data` section.
        tokenizer: See `tokenize`.
        tokenizer_name: The model's path, or its name on the hub.
        cache: Where such folders lie. In a bucket one may be in part, of a process that died.

    Raises:
        UserError: As `tokenize`, or if the disk or the bucket does not take it.
    """
    folder = cache / _identity(config, tokenizer, tokenizer_name)
    bucket = bucket_of(folder)
    is_there = bucket is not None and bucket.sizes().keys() >= FILES
    if is_there:
        pull(folder)
    if not folder.exists():
        tokenize(config, tokenizer).save(folder)
    if not is_there:
        Pushing(folder).push()
    return folder


def _identity(config: DataConfig, tokenizer: Any, tokenizer_name: str) -> str:
    """Return a name that differs wherever the tokens may differ, hub data sets aside."""
    parts = [FORMAT_VERSION, tokenizer_name, config.model_dump_json()]
    parts += [tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template]
    parts += [tokenizer.backend_tokenizer.to_str()]
    digest = hashlib.sha256("|".join(map(str, parts)).encode())
    files = local_files(config.train)
    excluded = [source for source in config.exclude if not is_published(source)]
    for other in [*filter(None, [config.held_out]), *excluded]:
        files += local_files(other, part="held_out")
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
