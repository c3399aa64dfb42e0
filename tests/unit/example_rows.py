"""The same talk as rows of every format, and what of an example is a target."""

from neft_ray.data.inspection import spans


def as_messages(talk):
    roles = ("user", "assistant")
    pairs = [zip(roles, pair, strict=True) for pair in talk]
    return [{"messages": [{"role": r, "content": t} for pair in pairs for r, t in pair]}]


def as_sharegpt(talk):
    pairs = [zip(("human", "gpt"), pair, strict=True) for pair in talk]
    return [{"conversations": [{"from": r, "value": t} for pair in pairs for r, t in pair]}]


def as_oasst(talk):
    said = [text for pair in talk for text in pair]
    return [
        {
            "message_id": f"m{i}",
            "parent_id": f"m{i - 1}" if i else None,
            "role": ("prompter", "assistant")[i % 2],
            "text": text,
        }
        for i, text in enumerate(said)
    ]


def single(*keys):
    return lambda talk: [dict(zip(keys, pair, strict=True)) for pair in talk[:1]]


ROWS = {
    "alpaca": single("instruction", "output"),
    "prompt_response": single("prompt", "response"),
    "dolly": single("instruction", "response"),
    "messages": as_messages,
    "sharegpt": as_sharegpt,
    "oasst": as_oasst,
}
ROWS_OF_TWO = as_sharegpt([("Why?", "So."), ("When?", "Now.")])


def answers(row, tokenizer) -> list[str]:
    return [text for text, is_supervised in spans(row, tokenizer) if is_supervised]
