"""Rows of instructions in files, and the text of what they became."""

import json

from neft_ray.data.split import Split


def row(instruction, output="It is so.", context="") -> dict:
    return {"instruction": instruction, "input": context, "output": output}


def some_rows(num, prefix="Question", **fields) -> list[dict]:
    return [row(f"{prefix} {i}?", **fields) for i in range(num)]


def write(file, rows) -> str:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(file)


def texts(data, tokenizer, split=Split.TRAIN) -> list[tuple[str, str]]:
    """The text before the first target, and that of the targets, of every row."""
    found = []
    for sample in data.rows(split):
        span = slice(data.offsets[sample], data.offsets[sample + 1])
        tokens, mask = data.tokens[span], data.supervised[span]
        found.append((tokenizer.decode(tokens[~mask]), tokenizer.decode(tokens[mask])))
    return found
