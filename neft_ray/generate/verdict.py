"""A causal language model as a judge: how likely it holds each of two letters to come next."""

from __future__ import annotations

from typing import Any

import torch

from neft_ray.config.trial import ModelConfig
from neft_ray.errors import bad_input
from neft_ray.model import context_of, load_model, load_tokenizer


class LabelLogits:
    """Reads a judge's prompt and returns the logits of the labels that could follow."""

    def __init__(self, path: str, labels: tuple[str, str]) -> None:
        """Load the model, on a GPU where there is one.

        Args:
            path: A causal language model, best one tuned for chat.
            labels: Such as A and B; each is one token.

        Raises:
            UserError: If it cannot be loaded, or a label is more than one token of it.
        """
        has_gpu = torch.cuda.is_available()
        config = ModelConfig(path=path, dtype="bfloat16" if has_gpu else "float32")
        self._device = "cuda" if has_gpu else "cpu"
        self._tokenizer = load_tokenizer(config)
        self._labels = [self._token(path, label) for label in labels]
        model: Any = load_model(config, getattr(torch, config.dtype))
        self._model = model.eval().to(self._device)

    def _token(self, path: str, label: str) -> int:
        # As it comes after other text: some tokenizers mark the beginning of a text.
        before = self._tokenizer.encode("\n", add_special_tokens=False)
        after = self._tokenizer.encode(f"\n{label}", add_special_tokens=False)
        if after[: len(before)] != before or len(after) != len(before) + 1:
            what = f"the letter {label} is not one token of its tokenizer"
            raise bad_input(path, what, "judge with another model")
        return int(after[-1])

    @torch.no_grad()
    def __call__(self, prompt: str) -> tuple[float, float]:
        """Return the next token's logits of both labels.

        Raises:
            UserError: If the prompt is longer than the model's context.
        """
        if self._tokenizer.chat_template:
            said = [{"role": "user", "content": prompt}]
            text = self._tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=True
            )
            tokens = self._tokenizer.encode(text, add_special_tokens=False)
        else:
            tokens = self._tokenizer.encode(f"{prompt}\n")
        context = context_of(self._model.config)
        if len(tokens) > context:
            what = f"a question of {len(tokens)} tokens is longer than its context of {context}"
            raise bad_input("the judge", what, "use a judge with a longer context")
        logits = self._model(input_ids=torch.tensor([tokens], device=self._device)).logits[0, -1]
        first, second = (float(logits[label]) for label in self._labels)
        return first, second
