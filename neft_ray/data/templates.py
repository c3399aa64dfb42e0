"""Templates: a conversation to pieces of text, each marked as supervised or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from neft_ray.data.formats import Turn
from neft_ray.errors import bad_input

NAMED = {
    # https://github.com/tatsu-lab/stanford_alpaca, as published
    "alpaca": (
        "Below is an instruction that describes a task"
        "{% if input %}, paired with an input that provides further context{% endif %}. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{{ instruction }}\n\n"
        "{% if input %}### Input:\n{{ input }}\n\n{% endif %}### Response:"
    ),
    "question": "Question: {{ instruction }}{% if input %}\n{{ input }}{% endif %}\nAnswer:",
}


INSTRUCTION, INPUT = "\x02instruction", "\x02input"
"""Stand for texts when a template is tried."""


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that templates need."""

    chat_template: Any
    eos_token: str

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render messages as text."""


Piece = tuple[str, bool]
"""Text, and whether its tokens are supervised."""


class Template:
    """Renders conversations with a named template, the tokenizer's own, or Jinja text."""

    def __init__(self, template: str, tokenizer: ChatTokenizer) -> None:
        """Compile the template.

        Raises:
            UserError: If the tokenizer has no chat template, or the Jinja text is wrong.
        """
        self._tokenizer = tokenizer
        self._jinja: jinja2.Template | None = None
        if template == "chat":
            if not tokenizer.chat_template:
                raise bad_input(
                    "data.template",
                    "this tokenizer has no chat template",
                    f"use one of {', '.join(NAMED)}, or Jinja text over instruction and input",
                )
            return
        text = NAMED.get(template, template)
        if template not in NAMED and "{{" not in template:
            raise bad_input(
                "data.template",
                f"'{template}' is neither a named template nor Jinja text",
                f"use {', '.join([*NAMED, 'chat'])}, or text with {{{{ instruction }}}}",
            )
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        try:
            self._jinja = environment.from_string(text)
            rendered = self._jinja.render(instruction=INSTRUCTION, input=INPUT)
        except jinja2.TemplateError as error:
            remedy = "the variables are instruction and input"
            raise bad_input("data.template", f"{error}", remedy) from error
        if INSTRUCTION not in rendered:
            raise bad_input("data.template", "leaves out the instruction", "add {{ instruction }}")
        self._uses_input = INPUT in rendered

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds its own first token; chat templates spell it out."""
        return self._jinja is not None

    def prompt(self, turns: Sequence[Turn]) -> str:
        """Render everything that comes before the next assistant turn."""
        if self._jinja is None:
            return self._render_chat(turns, add_generation_prompt=True)
        question = turns[-1]
        if question.context and not self._uses_input:
            raise bad_input(
                "data.template", "leaves out the input that rows have", "add {{ input }}"
            )
        return self._jinja.render(instruction=question.text, input=question.context)

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """Render a conversation; every assistant turn is supervised, with its end of text."""
        if self._jinja is not None:
            roles = [turn.role for turn in turns]
            if roles != ["user", "assistant"]:
                what = f"a conversation has the roles {', '.join(roles)}, not user, assistant"
                raise bad_input("data.template", what, "use `template: chat` for it")
            return [
                (self.prompt(turns[:-1]), False),
                (f" {turns[-1].text.strip()}{self._tokenizer.eos_token}", True),
            ]
        pieces: list[Piece] = []
        done = ""
        for index, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            before = self._render_chat(turns[:index], add_generation_prompt=True)
            after = self._render_chat(turns[: index + 1], add_generation_prompt=False)
            if not (before.startswith(done) and after.startswith(before)):
                raise bad_input(
                    "data.template",
                    "this chat template rewrites earlier turns, so the loss mask is not defined",
                    "use a named template, or one message pair per row",
                )
            answer = after[len(before) :]
            if answer.rstrip().endswith(turn.text.strip()):
                what = (
                    "this chat template writes nothing after an answer, so its end is not learned"
                )
                raise bad_input(
                    "data.template", what, "use a named template, or mend the tokenizer's"
                )
            pieces += [(before[len(done) :], False), (answer, True)]
            done = after
        return pieces

    def _render_chat(self, turns: Sequence[Turn], add_generation_prompt: bool) -> str:
        conversation = [
            {"role": turn.role, "content": "\n".join(filter(None, [turn.text, turn.context]))}
            for turn in turns
        ]
        rendered: str = self._tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return rendered
