"""Continues a batch of prompts with a cache: greedy with the paper's penalty, or sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neft_ray.config.evaluation import DecodingConfig
from neft_ray.model import SupervisedLM

Tokens = NDArray[np.int64]


def options_of(decoding: DecodingConfig) -> dict[str, Any]:
    """Return what Hugging Face's `generate` is told of a decoding, but for the length."""
    chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if decoding.temperature:
        drawn = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        chosen = {"do_sample": True, **drawn}
    return {"num_beams": 1, "repetition_penalty": decoding.repetition_penalty, **chosen}


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's, and those the model names."""
    known = model.generation_config.eos_token_id
    listed = known if isinstance(known, list) else [] if known is None else [known]
    return list(dict.fromkeys([tokenizer.eos_token_id, *listed]))


@dataclass(frozen=True)
class Writer:
    """A model that continues prompts, on one worker."""

    plain: SupervisedLM
    device: torch.device
    ends: Sequence[int]
    """Tokens after which nothing is wanted."""
    decoding: DecodingConfig
    in_step: bool = False
    """A forward is a collective of all workers: they write equally often, until all are done."""

    @torch.no_grad()
    def write(self, prompts: Sequence[Tokens]) -> list[Tokens]:
        """Return each prompt's continuation, with the end-of-text token where there is one.

        Greedy, a continuation does not depend on the prompts beside it, up to the rounding of
        floating-point numbers.
        """
        longest = max(map(len, prompts))
        # A token of the prompt itself pads: the repetition penalty knows every token it meets,
        # and must not hold padding against a row that has more of it than another.
        tokens = torch.tensor([[row[0]] * (longest - len(row)) + row.tolist() for row in prompts])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
        if self.decoding.temperature:
            torch.manual_seed(self.decoding.seed + int(tokens.sum()))
        generated = self.plain.generate(
            input_ids=tokens.to(self.device),
            attention_mask=mask.to(self.device),
            max_new_tokens=self.decoding.max_new_tokens,
            use_cache=True,
            eos_token_id=list(self.ends),
            pad_token_id=self.ends[0],
            synced_gpus=self.in_step,
            **options_of(self.decoding),
        )
        return [_until_end(row[longest:].cpu().numpy(), self.ends) for row in generated]


def _until_end(tokens: Tokens, ends: Sequence[int]) -> Tokens:
    at_end = np.isin(tokens, ends)
    return tokens[: int(at_end.argmax()) + 1] if at_end.any() else tokens
