"""Real tokens per second in training, against what a user would pick instead.

    python -m benchmarks.throughput [--rows 48] [--repeats 2] [--data FOLDER] [--json FILE]

Same model, rows, tokens, precision, threads; 8 rows per step, α = 5, the loss on responses only.
The peers are TRL's `SFTTrainer` (padded as by default, packing, grouped by length) and
transformers' `Trainer`, all without gradient checkpointing, which costs them time. A run trains on
all rows once; loading, tokenizing and compiling is not timed. Runs take turns, so that what else
the machine does hits all alike.

Utilisation: the floating-point operations that the work needs, on real tokens and supervised
positions alone, over the machine's rate for a product of matrices in float32, in the same run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.common import Arguments, Row, finish, higher_is_better, parser
from benchmarks.rows import Rows, rows_of
from benchmarks.trainers import PEERS
from neft_ray.config.load import parse_sweep
from neft_ray.config.trial import TrialConfig
from neft_ray.cores import use_cores
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.noise import EmbeddingNoise
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.sweep.driver import DataCache
from neft_ray.train.loop import train

THREADS = 2
ROWS_PER_STEP, MAX_TOKENS = 8, 512
OURS: dict[str, dict[str, Any]] = {
    "neft_ray": {},
    "neft_ray, compiled": {"model.compile": True},
    "neft_ray, compiled, bfloat16": {"model.compile": True, "model.dtype": "bfloat16"},
}
APART = "neft_ray, compiled, bfloat16"
"""Another precision than the peers': shown, and compared with none."""
WIDE = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 688,
    "vocab_size": 32_000,
    "max_position_embeddings": MAX_TOKENS,
}
SWEEP = """
name: throughput
model: {{path: {model}}}
data: {{train: {train}, held_out: {held_out}, template: alpaca, max_length_tokens: {tokens},
  max_rows: {num}}}
noise: {{alpha: 5}}
optimizer: {{learning_rate: 1e-4, schedule: constant}}
batch: {{size_examples: {size}, micro_tokens: 8192, kind: {kind}}}
training: {{epochs: 1}}
workers: {{cpus: {threads}}}
sweep: {{space: {{noise.alpha: {{choice: [5]}}}}, searcher: {{kind: grid}}}}
"""


@dataclass(frozen=True)
class Task:
    """A model and rows to train it on.

    Attributes:
        name: For the table.
        folder: Of the model.
        data: The tokenized rows.
        config: Ours.
    """

    name: str
    folder: Path
    data: TokenizedData
    config: TrialConfig

    @property
    def rows(self) -> Rows:
        """The training rows as the peers take them."""
        return rows_of(self.data, Split.TRAIN)


def wide_model(folder: Path, tokenizer: Path) -> None:
    """Write a model of 19M parameters, most of them in the vocabulary, with random weights."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**WIDE)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


def tasks(data: Path, folder: Path, num_rows: int, kind: str) -> list[Task]:
    """Return both models with their rows tokenized.

    Args:
        data: The folder with the small model and the rows.
        folder: Where the large model and the tokenized rows go.
        num_rows: To train on.
        kind: Our `batch.kind`.
    """
    wide, real = folder / "wide", data / "stories260k"
    wide_model(wide, real)
    found = []
    for name, model in (("19M, vocabulary 32,000", wide), ("260K, pretrained", real)):
        text = SWEEP.format(
            model=model,
            train=data / "alpaca_train_4000.jsonl",
            held_out=data / "alpaca_heldout_1200.jsonl",
            num=num_rows,
            kind=kind,
            threads=THREADS,
            tokens=MAX_TOKENS,
            size=ROWS_PER_STEP,
        )
        config = parse_sweep(text, "throughput.yaml", []).trial
        found.append(Task(name, model, DataCache(folder / "cache").data(config), config))
    return found


def run_ours(given: Task, models: BaseModels, changes: dict[str, Any]) -> float:
    """Train on all rows once, as a worker does; return the seconds."""
    config = given.config.with_values(changes)
    engine = build_engine(config, models, torch.device("cpu"))
    noise = EmbeddingNoise.of(config.noise, 0)
    with noise.attached(engine.plain.embedding):
        start = time.perf_counter()
        for _ in train(engine, given.data, noise, config):
            pass
        return time.perf_counter() - start


def needed_operations(given: Task, model: Any) -> float:
    """Return the floating-point operations of a run: forward and backward, nothing twice."""
    described = model.config
    layers, width = described.num_hidden_layers, described.hidden_size
    head = described.vocab_size * width
    body = sum(p.numel() for p in model.model.parameters() if p.ndim > 1)
    body -= described.vocab_size * width  # the embedding is looked up
    lengths = np.array([len(tokens) for tokens, _ in given.rows], dtype=float)
    targets = sum(sum(supervised) for _, supervised in given.rows)
    attention = 2 * layers * width * (lengths**2).sum()  # scores and values, the lower half of each
    return float(6 * body * lengths.sum() + 3 * attention + 6 * head * targets)


def multiply_rate(size: int = 2048, repeats: int = 5) -> float:
    """Return the floating-point operations per second of a product of matrices in float32."""
    one, other = torch.randn(size, size), torch.randn(size, size)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(one, other)
        times.append(time.perf_counter() - start)
    return float(2 * size**3 / median(times[1:]))


def measure(given: Task, repeats: int) -> list[Row]:
    """Run ours and every peer in turns; print what each came to."""
    models = BaseModels()
    players: dict[str, Callable[[], float]] = {
        name: partial(run_ours, given, models, changes) for name, changes in OURS.items()
    }
    for play in players.values():
        play()  # compiles
    for name, run in PEERS.items():
        players[name] = partial(run, given.folder, given.rows, ROWS_PER_STEP, MAX_TOKENS)
    num_tokens = sum(len(tokens) for tokens, _ in given.rows)
    rates: dict[str, list[float]] = {name: [] for name in players}
    peak: list[float] = []
    for _ in range(repeats):
        peak.append(multiply_rate())
        for name, play in players.items():
            rates[name].append(num_tokens / play())
    print(f"\n{given.name}: {len(given.rows)} rows, {num_tokens:,} real tokens")
    for name, found in rates.items():
        low, middle, high = min(found), median(found), max(found)
        print(f"  {name:<40} {low:9.0f} {middle:9.0f} {high:9.0f}  tokens/s (min, median, max)")
    operations = needed_operations(given, models.copied(given.config).model)
    for name in OURS:
        shares = [
            operations * rate / num_tokens / top
            for rate, top in zip(rates[name], peak, strict=True)
        ]
        print(f"  utilisation, {name}: {median(shares):.0%} of {median(peak) / 1e9:.0f} GFLOP/s")
    middles = {name: median(found) for name, found in rates.items()}
    ours = max(middles[name] for name in OURS if name != APART)
    rows = [
        higher_is_better(f"{given.name}: {name}", ours, middles[name], "real tokens/s")
        for name in PEERS
    ]
    best = max(rows, key=lambda row: row.peer)
    return [*rows, Row(f"{given.name}: the best peer", ours, best.peer, best.unit, best.ratio)]


def main() -> None:
    """Print the tables and ratios."""
    options = parser(__doc__ or "", repeats=2, data=True)
    options.add_argument("--rows", type=int, default=48, help="rows of a run")
    options.add_argument("--kind", default="packed", help="our batch.kind")
    given = options.parse_args()
    use_cores(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        both = tasks(given.data.resolve(), Path(folder), given.rows, given.kind)
        found = [row for task in both for row in measure(task, given.repeats)]
    finish(found, Arguments(given.repeats, given.json))


if __name__ == "__main__":
    main()
