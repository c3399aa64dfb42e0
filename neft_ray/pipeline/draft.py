"""A sweep file for somebody's own model and data: every choice with the reason for it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from neft_ray.config.data import DataConfig
from neft_ray.config.load import yaml_text
from neft_ray.config.trial import ModelConfig
from neft_ray.data.conversation import Conversation
from neft_ray.data.examples import encoded
from neft_ray.data.formats import read_conversations
from neft_ray.data.read import read_rows
from neft_ray.errors import bad_input
from neft_ray.model import context_of, load_description, load_tokenizer, resolve_path

SCHEMA_FILE = "sweep.schema.json"
"""Written beside a new sweep file, for editors."""
BY_KEYS = (
    ({"parent_id", "role", "text"}, "oasst"),
    ({"messages"}, "messages"),
    ({"conversations"}, "sharegpt"),
    ({"instruction", "response"}, "dolly"),
    ({"instruction", "output"}, "alpaca"),
    ({"prompt", "response"}, "prompt_response"),
    ({"text"}, "text"),
)
"""The format of rows that have such keys, the first that fits."""
SAMPLE = 1000
"""Rows whose length is measured."""
SMALL_BYTES = 50_000_000
"""A model whose weights are smaller learns with larger steps."""
EVALUATIONS = 8
"""Of a trial."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants to tune."""

    model: str
    data: str
    template: str | None
    gpus: int


def _sweep_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or "sweep"


def draft(wish: Wish, name: str) -> str:
    """Return the text of a sweep file, which loads and runs.

    Args:
        wish: Model, data, and so on.
        name: Of the sweep; what a sweep's name cannot have becomes dashes.

    Raises:
        UserError: If the model's tokenizer or configuration, or the data, cannot be used.
    """
    rows = read_rows(wish.data)
    keys = rows[0].row.keys()
    format_name = next((kind for wanted, kind in BY_KEYS if wanted <= keys), None)
    if format_name is None:
        known = "; ".join(f"{kind}: {', '.join(sorted(wanted))}" for wanted, kind in BY_KEYS)
        what = f"rows have the keys {', '.join(sorted(keys))}"
        raise bad_input(wish.data, what, f"rename them to those of a format ({known})")
    model = ModelConfig(path=wish.model)
    tokenizer = load_tokenizer(model)
    template, why = _template(wish, tokenizer)
    conversations = read_conversations(wish.data, format_name)
    given = {"train": wish.data, "format": format_name, "template": template}
    data = DataConfig.model_validate(given | {"max_length_tokens": sys.maxsize})
    lengths = _lengths(data, tokenizer, conversations[:SAMPLE])
    values = {
        "name": yaml_text(_sweep_name(name)),
        "model": yaml_text(wish.model),
        "dtype": "bfloat16" if wish.gpus else "float32",
        "data": yaml_text(wish.data),
        "format": format_name,
        "template": yaml_text(template),
        "why_template": why,
        "gpus": wish.gpus,
    }
    sizes = _sizes(lengths, len(conversations), context_of(load_description(model)))
    return TEXT.format(**values, **sizes, **_rates(wish.model))


def _template(wish: Wish, tokenizer: Any) -> tuple[str, str]:
    if wish.template is not None:
        return wish.template, "as you said"
    if tokenizer.chat_template:
        return "chat", "the tokenizer brings one"
    if wish.model.startswith("builtin:"):
        return "question", "what the built-in model knows"
    return "alpaca", "the paper's; the tokenizer has no chat template"


def _lengths(data: DataConfig, tokenizer: Any, conversations: Sequence[Conversation]) -> list[int]:
    """Return the tokens of every row that can be used."""
    rows = list(encoded(data, tokenizer, conversations))
    lengths = [len(row.tokens) for row in rows if not row.dropped]
    if not lengths:
        what = f"no row can be used: {rows[0].dropped}"
        raise bad_input(data.train, what, "mend the rows, or name a --template that fits them")
    return lengths


def _sizes(lengths: Sequence[int], num_rows: int, context: int) -> dict[str, object]:
    """Return lengths and counts that suit so many rows of such lengths, in such a context."""
    ordered = sorted(lengths)
    most = ordered[math.ceil(0.99 * len(ordered)) - 1]
    max_length = min(max(64, 64 * math.ceil(most / 64)), context)
    size = 128 if num_rows >= 20_000 else 32 if num_rows >= 2_000 else 16
    epochs = 3 if num_rows >= 500 else 8
    num_steps = max(1, math.ceil(0.9 * num_rows / size)) * epochs
    every = max(1, num_steps // EVALUATIONS)
    return {
        "num_rows": f"{num_rows:,}",
        "max_length": max_length,
        "num_fit": 100 * sum(length <= max_length for length in lengths) // len(lengths),
        "why_length": " into the model's context" if max_length == context else "",
        "median": int(median(ordered)),
        "longest": ordered[-1],
        "batch": size,
        "epochs": epochs,
        "num_steps": num_steps,
        "every": every,
        "num_evaluations": math.ceil(num_steps / every),
        "grace": 2 * every,
        "held_out": 0.05 if num_rows >= 2_000 else 0.1,
    }


def _rates(model: str) -> dict[str, str]:
    folder = Path(resolve_path(model))
    num_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    is_small = folder.is_dir() and 0 < num_bytes < SMALL_BYTES
    return {
        "rate": "1e-3" if is_small else "5e-5",
        "low": "1e-4" if is_small else "1e-5",
        "high": "3e-3" if is_small else "2e-4",
        "why_rates": "a small model" if is_small else "around the paper's 5e-5",
    }


TEXT = """\
# yaml-language-server: $schema=sweep.schema.json
# Written by `neft-ray init`. Check it: neft-ray validate, neft-ray plan, neft-ray data inspect.
name: {name}
storage: runs  # a folder, or s3://…; everything of a run lies there
model:
  path: {model}
  dtype: {dtype}  # bfloat16 on GPUs, float32 elsewhere
data:
  train: {data}  # {num_rows} rows
  format: {format}  # by the keys of the first row
  template: {template}  # {why_template}
  # {num_fit} of 100 rows fit{why_length}; half have {median} tokens or fewer, the longest {longest}
  max_length_tokens: {max_length}
  split: {{select_fraction: {held_out}, report_fraction: {held_out}}}  # for decisions; for the lift
noise: {{alpha: 5}}  # for `neft-ray train`; a sweep searches it below
optimizer: {{learning_rate: {rate}, warmup_fraction: 0.03, schedule: cosine, clip_norm: 1}}
batch: {{size_examples: {batch}, micro_tokens: 4096}}  # micro_tokens: raise it while memory lasts
# About {num_steps} steps, evaluated {num_evaluations} times.
training: {{epochs: {epochs}, eval_every_steps: {every}}}
workers: {{num: 1, cpus: 1, gpus: {gpus}}}  # of one trial; as many trials as fit run at once
sweep:
  space:
    noise.alpha: {{choice: [5, 10, 15]}}  # the paper's
    optimizer.learning_rate: {{loguniform: [{low}, {high}]}}  # {why_rates}
  control: {{noise.alpha: 0}}  # an arm without noise, with the same budget
  objective: {{metric: select_loss, mode: min, at: best}}
  searcher: {{kind: optuna, seed: 0}}
  scheduler: {{kind: asha, grace_steps: {grace}, eta: 2}}  # none is cut before two evaluations
  num_trials: 8  # of each arm
  finalists: {{num: 1, seeds: [1, 2, 3, 4, 5]}}  # the best of each arm again: the lift
"""
