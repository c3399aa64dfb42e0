"""Generation from an exported model: one streamed answer at a time, for people."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from neft_ray.config.trial import ModelConfig
from neft_ray.data.formats import Turn
from neft_ray.data.templates import Template
from neft_ray.model import load_model, load_tokenizer

REPETITION_PENALTY = 1.2  # as in the paper, with greedy decoding


class Chat:
    """A model that answers single questions in the template it was tuned with."""

    def __init__(self, folder: Path, template: str) -> None:
        """Load an exported Hugging Face folder.

        Raises:
            UserError: If the folder is not complete.
        """
        config = ModelConfig(path=str(folder))
        self._tokenizer = load_tokenizer(config)
        self._model: Any = load_model(config)
        self._model.eval()
        self._model.config.use_cache = True
        self._template = Template(template, self._tokenizer)

    def answer(self, question: str, max_new_tokens: int) -> Iterator[str]:
        """Yield the answer piece by piece, greedy, as it is generated.

        Args:
            question: What the user says.
            max_new_tokens: The longest answer; a model's context may end it earlier.
        """
        from transformers import TextIteratorStreamer

        prompt = self._template.prompt([Turn("user", question)])
        encoded = self._tokenizer(
            prompt,
            return_tensors="pt",
            add_special_tokens=self._template.adds_special_tokens,
            return_token_type_ids=False,
        )
        room = self._model.config.max_position_embeddings - encoded["input_ids"].shape[1]
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {
            **encoded,
            "streamer": streamer,
            "max_new_tokens": max(1, min(max_new_tokens, room)),
            "do_sample": False,
            "repetition_penalty": REPETITION_PENALTY,
            "pad_token_id": self._tokenizer.eos_token_id,
        }
        with torch.no_grad():
            thread = threading.Thread(target=self._model.generate, kwargs=options, daemon=True)
            thread.start()
            yield from streamer
            thread.join()
