"""A small model of a family: its architecture with random weights, its special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from neft_ray.model import resolve_path
from neft_ray.stand_in.families import Family
from neft_ray.strategy.zero_setup import quiet_deepspeed


def make_model(family: Family, chats: bool, folder: Path) -> None:
    """Write a model with its tokenizer as a Hugging Face folder; the same one every time.

    Args:
        family: Its kind.
        chats: Whether its tokenizer has a chat template.
        folder: Where to; it exists and is empty.
    """
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.utils import logging

    quiet_deepspeed()  # transformers imports it to save a model
    logging.disable_progress_bar()
    tokenizer = _tokenizer(family, chats, folder)
    config = CONFIG_MAPPING[family.model_type](
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **family.sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(family: Family, chats: bool, folder: Path) -> Any:
    """Return the built-in tokenizer with the special tokens of a family in the place of its own."""
    from transformers import PreTrainedTokenizerFast

    described = json.loads((Path(resolve_path("builtin:base")) / "tokenizer.json").read_text())
    names = {"<pad>": family.pad, "<s>": family.first or "<s>", "</s>": family.last}
    if family.first == family.last:
        names["<s>"] = "<s>"
    for token in described["added_tokens"]:
        token["content"] = names[token["content"]]
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {names.get(key, key): i for key, i in vocabulary.items()}
    described["post_processor"] = None
    if family.first is not None:
        described["post_processor"] = _puts_in_front(family.first, vocabulary, names)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(described))
    given: dict[str, Any] = {"bos_token": family.first} if family.first else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        eos_token=family.last,
        pad_token=family.pad,
        **given,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.others)})
    tokenizer.chat_template = family.chat_template if chats else None
    return tokenizer


def _puts_in_front(first: str, vocabulary: dict[str, int], names: dict[str, str]) -> dict[str, Any]:
    number = next(i for key, i in vocabulary.items() if names.get(key, key) == first)
    piece, text = (
        {"SpecialToken": {"id": first, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    )
    return {
        "type": "TemplateProcessing",
        "single": [piece, text],
        "pair": [piece, text, piece, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {first: {"id": first, "ids": [number], "tokens": [first]}},
    }
