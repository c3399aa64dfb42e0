"""A judge behind any OpenAI-compatible chat endpoint (`…/v1/chat/completions`)."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import requests

from neft_ray.errors import UserError, bad_input
from neft_ray.judge.faults import asked_wait_seconds, error_of, is_passing, problem_of_question
from neft_ray.judge.judges import TOO_LONG, Verdict
from neft_ray.judge.prompt import REMINDER, JudgePrompt, load_prompt
from neft_ray.judge.reply import NotAnAnswer, verdict_of

MAX_TRIES = 7
"""Of one request. With doubling waits from 1 s the last try comes after about a minute."""
MAX_WAIT_SECONDS = 600.0
"""A server that asks for a longer pause is asked again by the user, not by a waiting process."""
TOP_LOGPROBS = 5
"""Alternatives per token: as AlpacaEval 2 asks, and all that OpenAI gave for long."""

Message = dict[str, str]


@dataclass(frozen=True)
class EndpointJudge:
    """Asks a model over HTTP, at temperature 0."""

    base_url: str
    """Such as https://api.openai.com/v1; without a path, /v1 is added."""
    model: str
    key_variable: str | None = "OPENAI_API_KEY"
    """The environment variable that holds the key; None for a server without one. The key itself
    is read where a request is made, and stored nowhere."""
    prompt: JudgePrompt = field(default_factory=load_prompt)
    max_output_tokens: int = 8
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request; null takes one of ours out."""
    timeout_seconds: float = 120.0
    first_wait_seconds: float = 1.0
    _local: threading.local = field(
        default_factory=threading.local, init=False, repr=False, compare=False
    )
    _without_logprobs: threading.Event = field(
        default_factory=threading.Event, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the address, and that there is a key that a request can carry.

        Raises:
            UserError: If either cannot work; the key is never shown.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            remedy = "give one such as https://api.openai.com/v1"
            raise bad_input("the judge's address", f"'{parts.scheme}://…' is none", remedy)
        if parts.username or parts.password or parts.query:
            remedy = "take it out; a key belongs into an environment variable"
            raise bad_input("the judge's address", "holds a user, a password or a query", remedy)
        if self.key_variable is None:
            return
        key = os.environ.get(self.key_variable)
        if not key:
            remedy = "set it to the judge's key, or say that the judge has none"
            raise bad_input(f"${self.key_variable}", "is not set", remedy)
        if not re.fullmatch("[!-~]+", key):
            what = "holds a blank, a line's end or a letter that no key has"
            raise bad_input(f"${self.key_variable}", what, "set it to the key alone")
        if parts.scheme == "http" and not _is_near(parts.hostname):
            remedy = "use https, or a server without a key"
            raise bad_input(self.base_url, "would get the key unencrypted", remedy)

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {urlsplit(self.base_url).netloc}"

    @property
    def url(self) -> str:
        """That requests go to."""
        base = self.base_url.rstrip("/")
        return f"{base}{'' if urlsplit(base).path else '/v1'}/chat/completions"

    @property
    def identity(self) -> str:
        """Address, model and fields of the request, as JSON; never the key."""
        content = {
            "kind": "endpoint",
            "url": self.url,
            "model": self.model,
            "max_output_tokens": self.max_output_tokens,
            "extra": dict(self.extra),
        }
        return json.dumps(content, sort_keys=True)

    def ask(self, instruction: str, output_1: str, output_2: str) -> Verdict:
        """Return the judge's verdict; one without a letter is asked for once more.

        Raises:
            UserError: If the endpoint cannot be reached or refuses such requests.
        """
        question = self.prompt.render(instruction, output_1, output_2)
        messages: list[Message] = [{"role": "user", "content": question}]
        verdict = self._verdict(messages)
        if verdict.preference is not None or verdict.problem == TOO_LONG:
            return verdict
        if verdict.reply:
            messages.append({"role": "assistant", "content": verdict.reply})
            messages.append({"role": "user", "content": REMINDER})
        again = self._verdict(messages)
        return replace(
            again,
            input_tokens=_sum(verdict.input_tokens, again.input_tokens),
            output_tokens=_sum(verdict.output_tokens, again.output_tokens),
        )

    def _verdict(self, messages: list[Message]) -> Verdict:
        """Ask, again where the server or the network fails, and read the answer."""
        failure, wait = "", 0.0
        for attempt in range(MAX_TRIES):
            time.sleep(wait)
            wait = self.first_wait_seconds * 2**attempt * random.uniform(0.75, 1.25)
            with_logprobs = not self._without_logprobs.is_set()
            try:
                response = self._post(messages, with_logprobs)
                if response.status_code == requests.codes.ok:
                    return verdict_of(response.json())
            except (requests.RequestException, NotAnAnswer) as error:
                failure = self._without_key(f"{type(error).__name__}: {error}"[:300])
                continue
            if response.status_code == requests.codes.bad_request:
                if with_logprobs and "logprobs" in response.text:
                    self._without_logprobs.set()  # nobody asks for them any more
                    return self._verdict(messages)
                problem = problem_of_question(response)
                if problem:
                    return Verdict(None, problem=problem, reply=self._said(response))
            if not is_passing(response):
                raise self._refused(response)
            failure = f"{response.status_code} {self._said(response)}"
            asked = asked_wait_seconds(response)
            if asked > MAX_WAIT_SECONDS:
                what = f"asks to wait {asked:.0f} s: {failure}"
                raise bad_input(self.url, what, "run the same again then: it goes on where it was")
            wait = max(wait, asked)
        remedy = "see that the server is well, then run the same again: it goes on where it was"
        raise bad_input(self.url, f"gave no answer in {MAX_TRIES} tries: {failure}", remedy)

    def _post(self, messages: list[Message], with_logprobs: bool) -> requests.Response:
        """Make one request. Redirects are not followed, so that the key goes nowhere else."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self.max_output_tokens,
        }
        if with_logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        body |= self.extra
        response: requests.Response = self._local.session.post(
            self.url,
            json={key: value for key, value in body.items() if value is not None},
            auth=self._authorize,
            timeout=self.timeout_seconds,
            allow_redirects=False,
        )
        return response

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the key, in place of any that a .netrc file has for this host."""
        if self.key_variable is not None:
            request.headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        return request

    def _refused(self, response: requests.Response) -> UserError:
        """Return what a person has to mend."""
        remedies = {
            401: f"see that ${self.key_variable} holds a valid key",
            403: f"see that the key in ${self.key_variable} may use {self.model}",
            404: "see that the address and the model's name are right",
            429: "see the account's quota and payment",
        }
        what = f"refuses: {response.status_code} {self._said(response)}"
        remedy = remedies.get(response.status_code, "see the judge's model, address and settings")
        return bad_input(self.url, what, remedy)

    def _said(self, response: requests.Response) -> str:
        """Return the server's own words, on one line, without the key."""
        error = error_of(response)
        text = str(error.get("message") or "") or response.text or str(response.reason)
        return self._without_key(" ".join(text.split())[:300])

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.key_variable or "")
        return text.replace(key, "[key]") if key else text


def _is_near(host: str) -> bool:
    """Return whether a host is this machine or one of a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second
