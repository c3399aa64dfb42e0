"""What a judge is: it says how much it prefers the second of two outputs, and what that cost."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from neft_ray.judge.prompt import JudgePrompt, load_prompt

PROBABILITIES = "token probabilities"
"""The preference is the probability of the second label beside that of the first."""
WRITTEN = "written letters"
"""The preference is 0 or 1, as the reply says."""

UNPARSABLE, REFUSED = "unparsable", "refused"
CUT_OFF, TOO_LONG = "cut off", "too long"
"""Why there is no verdict: no letter, the judge declined, its tokens ran out, the prompt is longer
than the judge reads."""


@dataclass(frozen=True)
class Verdict:
    """A judge's reply to one question."""

    preference: float | None
    """For the second output, 0 to 1; None where the reply holds no verdict."""
    source: str = ""
    """`PROBABILITIES` or `WRITTEN`; empty without a preference."""
    problem: str = ""
    """Why there is no preference."""
    reply: str = ""
    """As written by the judge, the last one if it was asked again."""
    input_tokens: int | None = None
    """Of everything that was asked for it, as the judge counts; None where it does not say."""
    output_tokens: int | None = None


class Judge(Protocol):
    """Whoever compares two outputs."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def identity(self) -> str:
        """All that its verdicts depend on besides the prompt; never a secret."""

    @property
    def prompt(self) -> JudgePrompt:
        """How it is asked."""

    @property
    def max_output_tokens(self) -> int:
        """That a reply has, at most."""

    def ask(self, instruction: str, output_1: str, output_2: str) -> Verdict:
        """Return the preference for the second output. Called from several threads at once.

        Raises:
            UserError: If the judge cannot be asked at all; a reply without a verdict is none.
        """


@dataclass(frozen=True)
class LocalJudge:
    """A causal LM here, judged by how likely it holds either label to come next."""

    model: str
    """A name that tells these weights from others; part of the identity."""
    label_logits: Callable[[str], tuple[float, float]]
    """Takes the prompt and returns the next token's logits (or log-probabilities) of the labels."""
    prompt: JudgePrompt = field(default_factory=load_prompt)
    max_output_tokens: int = field(default=1, init=False)
    _one_at_a_time: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False, compare=False
    )

    @property
    def name(self) -> str:
        """The model."""
        return self.model

    @property
    def identity(self) -> str:
        """The model, as JSON."""
        return json.dumps({"kind": "local", "model": self.model})

    def ask(self, instruction: str, output_1: str, output_2: str) -> Verdict:
        """Return the probability of the second label, given that one of the two comes."""
        with self._one_at_a_time:
            first, second = self.label_logits(self.prompt.render(instruction, output_1, output_2))
        if not math.isfinite(second - first):
            return Verdict(None, problem=UNPARSABLE, reply=f"logits {first}, {second}")
        return Verdict(preference_of(first, second), PROBABILITIES)


def preference_of(first: float, second: float) -> float:
    """Return e^second / (e^first + e^second): the second label's share.

    Args:
        first: Logit or log-probability of the first label; −inf where it does not come.
        second: The same of the second; not both are −inf.
    """
    difference = second - first
    if difference < 0:
        return math.exp(difference) / (1 + math.exp(difference))
    return 1 / (1 + math.exp(-difference))
