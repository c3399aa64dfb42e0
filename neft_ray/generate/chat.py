"""Generation from an exported model: one streamed answer at a time, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neft_ray.config.evaluation import DecodingConfig
from neft_ray.config.trial import ModelConfig
from neft_ray.data.conversation import Turn
from neft_ray.data.templates import Template
from neft_ray.errors import bad_input
from neft_ray.generate.decoding import end_tokens, options_of
from neft_ray.model import context_of, load_model, load_tokenizer


class Chat:
    """A model that answers single questions in the template it was tuned with."""

    def __init__(self, config: ModelConfig, template: str) -> None:
        """Load a model.

        Raises:
            UserError: If it cannot be loaded.
        """
        self._tokenizer = load_tokenizer(config)
        self._model: Any = load_model(config)
        self._model.eval()
        self._model.config.use_cache = True
        self._ends = end_tokens(self._model, self._tokenizer)
        self._template = Template(template, self._tokenizer)

    def answer(self, question: str, max_new_tokens: int, write: Callable[[str], object]) -> None:
        """Write the answer piece by piece, greedy, as it is generated.

        Args:
            question: What the user says.
            max_new_tokens: The longest answer; a model's context may end it earlier.
            write: Is given each piece of text.

        Raises:
            UserError: If the question leaves no room for an answer.
        """
        from transformers import TextStreamer

        prompt = self._template.prompt([Turn("user", question)])
        encoded = self._tokenizer(
            prompt,
            return_tensors="pt",
            add_special_tokens=self._template.adds_special_tokens,
            return_token_type_ids=False,
            verbose=False,
        )
        context = context_of(self._model.config)
        room = context - encoded["input_ids"].shape[1]
        if room < 1:
            what = f"leaves no room for an answer in the model's context of {context} tokens"
            raise bad_input("the question", what, "shorten it")

        class Written(TextStreamer):  # type: ignore[misc]
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                write(text)

        self._model.generate(
            **encoded,
            streamer=Written(self._tokenizer, skip_prompt=True, skip_special_tokens=True),
            max_new_tokens=min(max_new_tokens, room),
            eos_token_id=self._ends,
            pad_token_id=self._ends[0],
            **options_of(DecodingConfig()),
        )
