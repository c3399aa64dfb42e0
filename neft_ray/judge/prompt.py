"""What a judge is asked: a template over an instruction and two outputs."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from neft_ray.errors import bad_input

LABELS = ("A", "B")
"""What the first and the second output are called, and so the two possible verdicts."""
REMINDER = f"Reply with the single letter {LABELS[0]} or {LABELS[1]} and nothing else."
"""Said when a reply held no verdict, before it is asked for once more."""

_VARIABLES = ("instruction", "output_1", "output_2")


class JudgePrompt:
    """A template that becomes a question to a judge."""

    def __init__(self, text: str, where: str = "the judge's prompt") -> None:
        """Compile and try the template.

        Args:
            text: Jinja over instruction, output_1, output_2, label_1 and label_2.
            where: Named in errors.

        Raises:
            UserError: If the template is wrong or leaves something out.
        """
        self.text = text
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        remedy = f"the variables are {', '.join(_VARIABLES)}, label_1 and label_2"
        try:
            self._template = environment.from_string(text)
            rendered = self.render(*(f"\x02{name}" for name in _VARIABLES))
        except jinja2.TemplateError as error:
            raise bad_input(where, f"is no template: {error}", remedy) from None
        for name in _VARIABLES:
            if f"\x02{name}" not in rendered:
                raise bad_input(where, f"leaves out {name}", f"add {{{{ {name} }}}}")

    def render(self, instruction: str, output_1: str, output_2: str) -> str:
        """Return the question."""
        return self._template.render(
            instruction=instruction,
            output_1=output_1,
            output_2=output_2,
            label_1=LABELS[0],
            label_2=LABELS[1],
        )


def load_prompt(path: Path | None = None) -> JudgePrompt:
    """Read a template file, or the one that comes with the package.

    Raises:
        UserError: If the file cannot be read or is no such template.
    """
    if path is None:
        shipped = resources.files("neft_ray.judge").joinpath("prompt.jinja")
        return JudgePrompt(shipped.read_text("utf-8"))
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_input(path, f"cannot be read: {error}", "give a template file") from None
    return JudgePrompt(text, str(path))
