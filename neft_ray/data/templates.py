"""Templates: a conversation to pieces of text, each marked as supervised or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from neft_ray.data.conversation import Turn
from neft_ray.data.wordings import WORDINGS, Wording
from neft_ray.errors import UserError, bad_input

MARKS = {name: f"\x02{name}" for name in ("instruction", "input", "system")}
"""Stand for texts when a template is tried."""
Tools = Sequence[Mapping[str, Any]]


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that templates need."""

    chat_template: Any
    bos_token: Any
    eos_token: str

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render messages as text."""


Piece = tuple[str, bool]
"""Text, and whether its tokens are supervised."""


class UnfitError(ValueError):
    """A conversation that the template has no place for, and why."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Round(NamedTuple):
    """A question and its answer."""

    question: Turn
    answer: str | None
    """None: it is to be generated."""
    system: str
    """What the system says before it."""
    is_first: bool


class Template:
    """Renders conversations with a named template, the tokenizer's own, or Jinja text."""

    def __init__(self, template: str, tokenizer: ChatTokenizer) -> None:
        """Compile the template.

        Raises:
            UserError: If the tokenizer has no chat template, or the Jinja text is wrong.
        """
        self._tokenizer = tokenizer
        self._prompt: jinja2.Template | None = None
        if template == "chat":
            if not tokenizer.chat_template:
                raise bad_input(
                    "data.template",
                    "this tokenizer has no chat template",
                    f"use one of {', '.join(WORDINGS)}, or Jinja text over instruction and input",
                )
            return
        if template not in WORDINGS and "{{" not in template:
            raise bad_input(
                "data.template",
                f"'{template}' is neither a named template nor Jinja text",
                f"use {', '.join([*WORDINGS, 'chat'])}, or text with {{{{ instruction }}}}",
            )
        wording = WORDINGS.get(template, Wording(template))
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        special = {"bos_token": tokenizer.bos_token or "", "eos_token": tokenizer.eos_token}
        try:
            self._prompt = environment.from_string(wording.prompt, special)
            self._answer = environment.from_string(wording.answer, special)
        except jinja2.TemplateError as error:
            raise _faulty(error) from error
        rendered = _text(self._prompt, **MARKS, is_first=True)
        self._used = {name for name, mark in MARKS.items() if mark in rendered}
        if "instruction" not in self._used:
            raise bad_input("data.template", "leaves out the instruction", "add {{ instruction }}")

    @property
    def is_chat(self) -> bool:
        """Whether it is the tokenizer's own, which spells out its first token."""
        return self._prompt is None

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds its own first token."""
        return not self.is_chat

    def prompt(self, turns: Sequence[Turn], tools: Tools = ()) -> str:
        """Render everything that comes before the next answer.

        Raises:
            UnfitError: If the template has no place for these turns.
        """
        if self.is_chat:
            return self._render_chat(turns, tools, add_generation_prompt=True)
        return "".join(text for text, _ in self._render_rounds(turns))

    def pieces(self, turns: Sequence[Turn], tools: Tools = ()) -> list[Piece]:
        """Render a conversation; every answer is supervised, with its end of text.

        Messages after the last answer are left out.

        Raises:
            UnfitError: If the template has no place for these turns.
            UserError: If it has none for what rows of this kind have, or no end of an answer.
        """
        last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
        if self.is_chat:
            return self._chat_pieces(turns[: last + 1], tools)
        return list(self._render_rounds(turns[: last + 1]))

    def _render_rounds(self, turns: Sequence[Turn]) -> Iterator[Piece]:
        assert self._prompt is not None
        for said in _rounds(turns):
            given = {
                "instruction": said.question.text,
                "input": said.question.context,
                "system": said.system,
            }
            for name, text in given.items():
                if text and name not in self._used:
                    what = f"leaves out the {name} that rows have"
                    raise bad_input("data.template", what, f"add {{{{ {name} }}}}")
            yield _text(self._prompt, **given, is_first=said.is_first), False
            if said.answer is not None:
                yield _text(self._answer, answer=said.answer.strip()), True

    def _chat_pieces(self, turns: Sequence[Turn], tools: Tools) -> list[Piece]:
        pieces: list[Piece] = []
        done = ""
        for index, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            before = self._render_chat(turns[:index], tools, add_generation_prompt=True)
            after = self._render_chat(turns[: index + 1], tools, add_generation_prompt=False)
            if not (before.startswith(done) and after.startswith(before)):
                raise bad_input(
                    "data.template",
                    "this chat template rewrites earlier turns, so the loss mask is not defined",
                    "use a named template, or one message pair per row (data.turns: first)",
                )
            answer = after[len(before) :]
            if turn.text.strip() and answer.rstrip().endswith(turn.text.strip()):
                what = (
                    "this chat template writes nothing after an answer, so its end is not learned"
                )
                raise bad_input(
                    "data.template", what, "use a named template, or mend the tokenizer's"
                )
            pieces += [(before[len(done) :], False), (answer, True)]
            done = after
        return pieces

    def _render_chat(self, turns: Sequence[Turn], tools: Tools, add_generation_prompt: bool) -> str:
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                [_message(turn) for turn in turns],
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except (jinja2.TemplateError, TypeError) as error:  # also what the template itself raises
            raise UnfitError("refused by the chat template", str(error)) from error
        return rendered


def _text(template: jinja2.Template, **given: Any) -> str:
    try:
        return template.render(**given)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise _faulty(error) from error


def _faulty(error: Exception) -> UserError:
    remedy = "the variables are instruction, input, system and is_first"
    return bad_input("data.template", f"{error}", remedy)


class PlainText:
    """No template: rows are texts, supervised from their first to their last token."""

    is_chat = False
    adds_special_tokens = True

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._end = tokenizer.eos_token

    def pieces(self, turns: Sequence[Turn], tools: Tools = ()) -> list[Piece]:
        """Return the text as it is, with its end of text."""
        return [(turn.text + self._end, True) for turn in turns]


def _message(turn: Turn) -> dict[str, Any]:
    """Return a turn as chat templates want it: an answer that only calls tools has no content."""
    content = "\n".join(filter(None, [turn.text, turn.context]))
    said = {} if turn.extra.get("tool_calls") and not content else {"content": content}
    return {"role": turn.role, **said, **turn.extra}


def _rounds(turns: Sequence[Turn]) -> Iterator[Round]:
    """Group turns as a named template writes them: the system, then user and answer in turn.

    Raises:
        UnfitError: If they come in another order.
    """
    has_system = bool(turns) and turns[0].role == "system"
    said = turns[has_system:]
    roles = [turn.role for turn in said]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))]:
        raise UnfitError("roles that do not alternate", ", ".join(turn.role for turn in turns))
    for start in range(0, len(said), 2):
        answer = said[start + 1].text if start + 1 < len(said) else None
        system = turns[0].text if has_system and start == 0 else ""
        yield Round(said[start], answer, system, start == 0)
