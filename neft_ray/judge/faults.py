"""What an endpoint's refusal means: ask again, mend something, or no verdict for this question."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from neft_ray.judge.judges import REFUSED, TOO_LONG


def error_of(response: requests.Response) -> dict[str, Any]:
    """Return the `error` object of an answer, empty where it has none."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}


def problem_of_question(response: requests.Response) -> str:
    """Return why this one question is refused; empty where all would be."""
    error = error_of(response)
    code, message = str(error.get("code")), str(error.get("message")).lower()
    if code == "content_filter":
        return REFUSED
    is_long = code == "context_length_exceeded" or "maximum context length" in message
    return TOO_LONG if is_long else ""


def is_passing(response: requests.Response) -> bool:
    """Return whether it is worth asking again."""
    if error_of(response).get("code") == "insufficient_quota":
        return False
    return response.status_code in (408, 409, 425, 429) or response.status_code >= 500


def asked_wait_seconds(response: requests.Response) -> float:
    """Return how long the server asks to wait (`Retry-After`, seconds or a date); 0 if not."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
