"""Judges whose verdicts are known, and what a comparison asks them."""

from neft_ray.judge import EndpointJudge, LocalJudge
from tests.unit.judge_server import PROMPT, SEPARATOR

QUESTION = ("do it", "short", "much longer")


def endpoint(server, prompt=PROMPT, **changes):
    options = {"timeout_seconds": 20, "first_wait_seconds": 0.001} | changes
    return EndpointJudge(server.url, "judge-1", "OUR_KEY", prompt, **options)


def local(logits, name="model"):
    return LocalJudge(name, lambda prompt: logits(*prompt.split(SEPARATOR)[1:3]), PROMPT)


def by_length(first, second):
    return float(len(first)), float(len(second))


def questions_of(pairs):
    both = ((p.reference, p.system) for p in pairs), ((p.system, p.reference) for p in pairs)
    orders = [order for orders in zip(*both, strict=True) for order in orders]
    prompts = [pair.instruction for pair in pairs for _ in range(2)]
    return [PROMPT.render(p, *order) for p, order in zip(prompts, orders, strict=True)]
