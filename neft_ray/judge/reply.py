"""A chat endpoint's answer to a verdict: from token probabilities, or from what is written."""

from __future__ import annotations

import math
import re
from typing import Any

from neft_ray.judge.judges import (
    CUT_OFF,
    PROBABILITIES,
    REFUSED,
    UNPARSABLE,
    WRITTEN,
    Verdict,
    preference_of,
)
from neft_ray.judge.prompt import LABELS

_VERDICT_LINE = re.compile(
    r"\W*(?:(?i:the |my |final |better |best |verdict|answer|choice|output|is)\W*)*"
    rf"\b({'|'.join(LABELS)})\b\W*"
)
"""The whole of a line that says nothing but a label. A label has its own case: "a" is a word."""


class NotAnAnswer(ValueError):
    """A body that is not what a chat endpoint sends."""


def verdict_of(body: Any) -> Verdict:
    """Read the body of a chat endpoint's answer.

    Raises:
        NotAnAnswer: If it has no message.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        refusal = message.get("refusal") or ""
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NotAnAnswer(f"the answer has no choices[0].message ({error!r})") from None
    if not isinstance(text, str):
        raise NotAnAnswer("the message's content is no text")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
    label = _written_label(text)
    if label is not None and not refusal:
        preference = _from_probabilities(choice, label)
        if preference is not None:
            return Verdict(preference, PROBABILITIES, "", text, *tokens)
        return Verdict(float(LABELS.index(label)), WRITTEN, "", text, *tokens)
    reason = choice.get("finish_reason")
    if refusal or reason == "content_filter":
        problem = REFUSED
    else:
        problem = CUT_OFF if reason == "length" else UNPARSABLE
    return Verdict(None, "", problem, text or str(refusal), *tokens)


def _written_label(text: str) -> str | None:
    """Return the label that a reply ends with; None unless its last line is a verdict alone."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = _VERDICT_LINE.fullmatch(lines[-1]) if lines else None
    return found[1] if found else None


def _from_probabilities(choice: Any, label: str) -> float | None:
    """Return the preference from the alternatives of the token that is the verdict.

    A label that is not among the alternatives has probability 0. None without probabilities.
    """
    try:
        tokens = choice["logprobs"]["content"]
        at = [token for token in tokens if token["token"].strip() == label][-1]
        alternatives = [(it["token"].strip(), float(it["logprob"])) for it in at["top_logprobs"]]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return None
    found = [[value for name, value in alternatives if name == each] for each in LABELS]
    first, second = (_log_sum(values) for values in found)
    if math.isnan(first) or math.isnan(second) or max(first, second) == -math.inf:
        return None
    return preference_of(first, second)


def _log_sum(values: list[float]) -> float:
    """Return the logarithm of the summed probabilities: " A" and "A" are one label."""
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
