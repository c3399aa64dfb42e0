"""Evaluation and generation, against what a user would do instead: python -m benchmarks.evaluation.

The loss of Alpaca rows, on the models of `benchmarks/throughput.py`: ours in batches of
similar length with logits where there are targets, against transformers' `Trainer.evaluate` at its
default of 8 rows and at 32 sorted rows. Answers to held-out rows by the 260K model, greedy with the
paper's repetition penalty: ours in batches with a cache of keys and values, against a loop over the
rows, with the cache and without it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from benchmarks.common import (
    Arguments,
    Row,
    finish,
    higher_is_better,
    interleaved,
    lower_is_better,
    parser,
    spread,
)
from benchmarks.rows import Rows, labelled
from benchmarks.throughput import THREADS, Task, tasks
from benchmarks.trainers import load
from neft_ray.config.evaluation import REPETITION_PENALTY
from neft_ray.cores import use_cores
from neft_ray.data.split import Split
from neft_ray.generate import answer_rows
from neft_ray.generate.answers import prompt_tokens
from neft_ray.strategy.base import Engine
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train.metrics import row_losses

OURS = "neft_ray"
Peers = dict[str, Callable[[], object]]
NUM_ANSWERS, MAX_NEW_TOKENS = 16, 128


def trainer_of(folder: Path, rows: Rows, batch: int, output: Path) -> Any:
    """Return a `Trainer` whose `evaluate` finds the loss of rows."""
    model, tokenizer = load(folder)
    options = TrainingArguments(
        str(output),
        per_device_eval_batch_size=batch,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    data, collator = Dataset.from_list(labelled(rows)), DataCollatorForSeq2Seq(tokenizer)
    return Trainer(model=model, args=options, eval_dataset=data, data_collator=collator)


def race(what: str, ours: Callable[[], object], peers: Peers, repeats: int) -> dict[str, float]:
    """Let all take turns, print their times, and return the median seconds of each."""
    players = {OURS: ours, **peers}
    times = interleaved(list(players.values()), repeats)
    for name, found in zip(players, times, strict=True):
        print(spread(f"{what}: {name}", found))
    return dict(zip(players, map(median, times), strict=True))


def evaluation(given: Task, engine: Engine, output: Path, repeats: int) -> list[Row]:
    """Compare the loss of the rows; models are loaded before."""
    rows, ids = given.rows, given.data.rows(Split.TRAIN).tolist()
    by_length = sorted(rows, key=lambda row: len(row[0]))
    peers: Peers = {
        "Trainer.evaluate, 8 rows": trainer_of(given.folder, rows, 8, output).evaluate,
        "Trainer.evaluate, 32 sorted rows": trainer_of(
            given.folder, by_length, 32, output
        ).evaluate,
    }
    seconds = race(
        given.name, lambda: row_losses(engine, given.data, ids, given.config), peers, repeats
    )
    num_tokens = sum(len(tokens) for tokens, _ in rows)
    rate = {name: num_tokens / found for name, found in seconds.items()}
    return [
        higher_is_better(f"{given.name}: loss, {name}", rate[OURS], rate[name], "real tokens/s")
        for name in peers
    ]


def one_by_one(model: Any, prompts: list[list[int]], cache: bool) -> None:
    """Answer prompts in a loop, as examples show it."""
    for prompt in prompts:
        tokens = torch.tensor([prompt])
        model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            use_cache=cache,
            repetition_penalty=REPETITION_PENALTY,
        )


def generation(given: Task, engine: Engine, repeats: int) -> list[Row]:
    """Compare answers to held-out rows."""
    config = given.config.with_values({"data.max_length_tokens": MAX_NEW_TOKENS})
    rows = given.data.rows(Split.REPORT)[:NUM_ANSWERS]
    prompts = [prompt_tokens(given.data, row).tolist() for row in rows]
    model, what = engine.plain.model, f"{NUM_ANSWERS} answers"
    peers: Peers = {
        "row by row": partial(one_by_one, model, prompts, True),
        "row by row, no cache": partial(one_by_one, model, prompts, False),
    }
    seconds = race(
        what, lambda: answer_rows(engine, given.data, config, NUM_ANSWERS), peers, repeats
    )
    return [lower_is_better(f"{what}: {name}", seconds[OURS], seconds[name], "s") for name in peers]


@torch.no_grad()
def main() -> None:
    """Print the ratios."""
    options = parser(__doc__ or "", repeats=2, data=True)
    options.add_argument("--rows", type=int, default=48, help="rows whose loss is taken")
    given = options.parse_args()
    use_cores(THREADS)
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        both = tasks(given.data.resolve(), Path(folder), given.rows, "bucketed")
        engines = [build_engine(task.config, BaseModels(), torch.device("cpu")) for task in both]
        for task, engine in zip(both, engines, strict=True):
            engine.module.eval()
            found += evaluation(task, engine, Path(folder), given.repeats)
        found += generation(both[-1], engines[-1], given.repeats)
    finish(found, Arguments(given.repeats, given.json))


if __name__ == "__main__":
    main()
