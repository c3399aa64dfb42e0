"""The `data` section: what is trained on, how it is written as text, what is held out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neft_ray.config.base import Count, ListedOnce, Name, Section, Seed


class SplitConfig(Section):
    """How training rows are held out: by a hash of the prompt, near-copies together."""

    select_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Early stopping and selection see these rows."""
    report_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The lift is measured on these rows; no decision sees them."""
    seed: Seed = 0


class DataConfig(Section):
    """What is trained on and what is held out."""

    train: Name
    """A hub name, a JSON/JSONL/CSV/Parquet file, a folder of them, or `builtin:tales`."""
    held_out: Name | None = None
    """Rows to hold out instead of a split of `train`; halved by hash into select and report."""
    exclude: Annotated[tuple[Name, ...], ListedOnce] = ()
    """Evaluation sets: `alpaca_eval`, `ifeval`, `mt_bench`, or a file or hub name of such rows or
    of any of the formats. Rows of `train` that ask what they ask, or nearly so, are dropped and
    counted."""
    format: Literal[
        "alpaca", "prompt_response", "messages", "sharegpt", "dolly", "oasst", "text"
    ] = "alpaca"
    """How the rows are written. `text`: plain texts, all of them targets, in no template."""
    turns: Literal["all", "first", "each"] = "all"
    """Of a conversation of several questions: `all` of it is a row, or its `first` question with
    the answer, or `each` question with its answer is a row of its own, without those before it."""
    template: Name = "alpaca"
    """`alpaca`, `question`, `vicuna`, `llama2-chat`, `chatml`, `chat` (the tokenizer's own), or
    Jinja text over instruction, input, system, is_first; repeated for every question of a row."""
    max_length_tokens: Annotated[int, Field(ge=8)] = 512
    """Of a row with prompt and response. A row longer than the model's context is refused."""
    too_long: Literal["truncate", "drop"] = "truncate"
    """What happens to rows over `max_length_tokens`; either way they are counted."""
    max_prompt_tokens: Count | None = None
    """Rows with a longer prompt are dropped and counted."""
    min_response_tokens: Count = 1
    """Rows with a shorter response (without the end-of-text token) are dropped and counted."""
    max_response_tokens: Count | None = None
    """Rows with a longer response are dropped and counted."""
    max_rows: Count | None = None
    """Keep the first rows of `train` that pass the rules above."""
    split: SplitConfig = SplitConfig()
