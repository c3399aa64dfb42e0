"""A chat endpoint that judges by length, and fails as it is told."""

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from neft_ray.judge import JudgePrompt, Output, Outputs, pair_outputs

SEPARATOR = "\n§\n"
PROMPT = JudgePrompt(
    SEPARATOR.join(["{{ instruction }}", "{{ output_1 }}", "{{ output_2 }}", "A or B?"])
)
KEY = "sk-this-must-appear-nowhere"


def pairing(num=3, name="ours"):
    """Pairs in which both systems are longer in turn."""
    ours = [Output(f"do {n}", "x" * (10 + n % 2 * 20)) for n in range(num)]
    theirs = [Output(f"do {n}", "y" * 20) for n in range(num)]
    return pair_outputs(Outputs(name, tuple(ours)), Outputs("theirs", tuple(theirs)))


def reply(text, top=None, **choice):
    """The body of an answer; `top` are alternatives of its only token with log-probabilities."""
    found = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if top is not None:
        alternatives = [{"token": token, "logprob": value} for token, value in top.items()]
        content = [{"token": text, "logprob": 0, "top_logprobs": alternatives}]
        found["logprobs"] = {"content": content}
    usage = {"prompt_tokens": 100, "completion_tokens": 1}
    return {"choices": [found | choice], "usage": usage}


def prefers_longer(body):
    _, first, second, _ = body["messages"][0]["content"].split(SEPARATOR)
    return reply("A" if len(first) > len(second) else "B")


class JudgeServer:
    """Answers with `answer(body)`, or with the next fault while there is one."""

    def __init__(self):
        self.answer = prefers_longer
        self.faults = deque()
        self.requests = []
        self.headers = []
        self.seconds = 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def questions(self):
        return [body["messages"][0]["content"] for body in self.requests]

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(outer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                self.asked = json.loads(raw)
                with outer.lock:
                    outer.requests.append(self.asked)
                    outer.headers.append((self.path, dict(self.headers)))
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    fault = outer.faults.popleft() if outer.faults else None
                try:
                    time.sleep(outer.seconds)
                    (fault or ok)(self)
                finally:
                    with outer.lock:
                        outer.at_once -= 1

        def ok(handler):
            send(handler, 200, outer.answer(handler.asked))

        return Handler


def send(handler, status, body, headers=()):
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def answers(status, body="oh no", **headers):
    """A fault: this status, with `Retry_After=…` as headers."""
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda handler: send(handler, status, body, given)


def cut(handler):
    """A fault: the connection ends within the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    handler.connection.close()
    handler.close_connection = True


def hang_up(handler):
    """A fault: no answer at all."""
    handler.connection.close()
    handler.close_connection = True


@contextmanager
def judge_server():
    server = JudgeServer()
    try:
        yield server
    finally:
        server.close()
