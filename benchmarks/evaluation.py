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
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

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
from neft_ray.cores import use_cores
from neft_ray.data.split import Split
from neft_ray.generate import REPETITION_PENALTY, answer_rows
from neft_ray.strategy.base import Engine
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train.metrics import row_losses

NUM_ANSWERS = 16


def trainer_of(folder: Path, rows: Rows, batch: int, output: Path) -> Any:
    """Return a `Trainer` whose `evaluate` finds the loss of rows."""
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    options = TrainingArguments(
        str(output),
        per_device_eval_batch_size=batch,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    return Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=options,
        eval_dataset=Dataset.from_list(labelled(rows)),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )


def evaluation(given: Task, engine: Engine, output: Path, repeats: int) -> list[Row]:
    """Compare the loss of the rows; models are loaded before."""
    rows, ids = given.rows, given.data.rows(Split.TRAIN).tolist()
    by_length = sorted(rows, key=lambda row: len(row[0]))
    players: dict[str, Callable[[], object]] = {
        "neft_ray": lambda: row_losses(engine, given.data, ids, given.config),
        "Trainer.evaluate, 8 rows": trainer_of(given.folder, rows, 8, output).evaluate,
        "Trainer.evaluate, 32 sorted rows": trainer_of(
            given.folder, by_length, 32, output
        ).evaluate,
    }
    times = dict(zip(players, interleaved(list(players.values()), repeats), strict=True))
    num_tokens = sum(len(tokens) for tokens, _ in rows)
    for name, found in times.items():
        print(spread(f"{given.name}: {name}", found))
    rates = {name: num_tokens / median(found) for name, found in times.items()}
    return [
        higher_is_better(f"{given.name}: loss, {name}", rates["neft_ray"], rate, "real tokens/s")
        for name, rate in rates.items()
        if name != "neft_ray"
    ]


def one_by_one(model: Any, prompts: list[list[int]], longest: int, cache: bool) -> None:
    """Answer prompts in a loop, as examples show it."""
    for prompt in prompts:
        tokens = torch.tensor([prompt])
        model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=longest,
            do_sample=False,
            use_cache=cache,
            repetition_penalty=REPETITION_PENALTY,
        )


def generation(given: Task, engine: Engine, repeats: int) -> list[Row]:
    """Compare answers to held-out rows."""
    config = given.config.with_values({"data.max_length_tokens": 128})
    prompts = []
    for row in islice(given.data.rows(Split.REPORT), NUM_ANSWERS):
        start, stop = given.data.offsets[row], given.data.offsets[row + 1]
        first = int(given.data.supervised[start:stop].argmax())
        prompts.append(given.data.tokens[start : start + first].tolist())
    model = engine.plain.model
    players: dict[str, Callable[[], object]] = {
        "neft_ray": lambda: answer_rows(engine, given.data, config, NUM_ANSWERS),
        "row by row": partial(one_by_one, model, prompts, 128, True),
        "row by row, no cache": partial(one_by_one, model, prompts, 128, False),
    }
    times = dict(zip(players, interleaved(list(players.values()), repeats), strict=True))
    for name, found in times.items():
        print(spread(f"{NUM_ANSWERS} answers: {name}", found))
    seconds = {name: median(found) for name, found in times.items()}
    return [
        lower_is_better(f"{NUM_ANSWERS} answers: {name}", seconds["neft_ray"], found, "s")
        for name, found in seconds.items()
        if name != "neft_ray"
    ]


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
        for task in both:
            engine = build_engine(task.config, BaseModels(), torch.device("cpu"))
            engine.module.eval()
            found += evaluation(task, engine, Path(folder), given.repeats)
        found += generation(task, engine, given.repeats)  # the pretrained one
    finish(found, Arguments(given.repeats, given.json))


if __name__ == "__main__":
    main()
