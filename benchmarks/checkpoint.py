"""Checkpoints while training goes on, against waiting for them: python -m benchmarks.checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.common import Row, arguments, finish, lower_is_better, spread
from neft_ray.config.trial import DataConfig, ModelConfig, TrialConfig
from neft_ray.data.prepare import TokenizedData
from neft_ray.data.split import Split
from neft_ray.noise import EmbeddingNoise
from neft_ray.strategy.base import BackgroundEngine
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint
from neft_ray.train.contents import State
from neft_ray.train.loop import train

WORKERS = 2
KINDS = ("ddp", "fsdp")
VOCABULARY, LENGTH, ROWS = 1024, 64, 4096
SIZES = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12}
"""39.6 million parameters: 475 MB with Adam's moments."""
MEASURES = ("step", "step meanwhile", "stall, waits", "stall, goes on", "on disk, goes on")
Times = dict[str, list[float]]


def write_model(folder: Path) -> None:
    """Write a Llama with random weights, tied embeddings."""
    torch.manual_seed(0)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": True}
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **SIZES, **heads)
    LlamaForCausalLM(config).save_pretrained(folder)


def trial_of(model: Path, kind: str) -> TrialConfig:
    """Return a trial of eight short rows per step."""
    trial = TrialConfig(model=ModelConfig(path=str(model)), data=DataConfig(train="builtin:tales"))
    sizes = {"batch.size_examples": 8, "training.epochs": 1000}
    return trial.with_values({"strategy.kind": kind, "noise.alpha": 5.0, **sizes})


def random_data() -> TokenizedData:
    """Return rows of random tokens, all of them targets."""
    tokens = np.random.default_rng(0).integers(3, VOCABULARY, ROWS * LENGTH, dtype=np.int32)
    splits = np.full(ROWS, Split.TRAIN, np.int8)
    offsets = np.arange(ROWS + 1) * LENGTH
    return TokenizedData(tokens, np.ones(ROWS * LENGTH, np.bool_), offsets, splits, {})


def work(rank: int, folder: str, kind: str, repeats: int) -> None:
    """Train as one of the workers; rank 0 writes down what it measured."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting-{kind}",
        rank=rank,
        world_size=WORKERS,
        timeout=timedelta(seconds=600),
    )
    config = trial_of(Path(folder) / "model", kind)
    engine = build_engine(config, BaseModels(), torch.device("cpu"))
    assert isinstance(engine, BackgroundEngine)
    noise = EmbeddingNoise.of(config.noise, 0)
    with noise.attached(engine.plain.embedding):
        steps = train(engine, random_data(), noise, config)
        times = measure(engine, steps, Path(folder) / kind, repeats)
    if rank == 0:
        Path(folder, f"{kind}.json").write_text(json.dumps(times))
    engine.close()
    distributed.destroy_process_group()


def measure(
    engine: BackgroundEngine, steps: Iterator[dict[str, float]], there: Path, repeats: int
) -> Times:
    """Save in turns waiting and going on; one run of each before them is not counted."""
    times: Times = {name: [] for name in MEASURES}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        distributed.barrier()
        start = time.perf_counter()
        result = function()
        times[name].append(time.perf_counter() - start)
        return result

    for number in range(repeats + 1):
        state = State(number, "", {})
        timed("step", partial(next, steps))
        timed("stall, waits", partial(checkpoint.save, engine, there / "waits", state))
        start = time.perf_counter()
        pending = timed("stall, goes on", partial(checkpoint.Pending, engine, there, state))
        while not pending.is_written():
            timed("step meanwhile", partial(next, steps))
        timed("stall, goes on", pending.complete)
        times["on disk, goes on"].append(time.perf_counter() - start)
        begun, ended = times["stall, goes on"][-2:]
        times["stall, goes on"][-2:] = [begun + ended]
        if number == 0:
            times = {name: [] for name in MEASURES}
    return times


def compare(folder: Path, kind: str, repeats: int) -> list[Row]:
    """Measure one strategy."""
    given = (str(folder), kind, repeats)
    start_processes(work, given, nprocs=WORKERS, start_method="spawn")  # type: ignore[no-untyped-call]
    times: Times = json.loads((folder / f"{kind}.json").read_text())
    for name in MEASURES:
        print(spread(f"{kind}, {WORKERS} workers: {name}", times[name]))
    middle = {name: 1e3 * median(seconds) for name, seconds in times.items()}
    waits = middle["stall, waits"]
    return [
        lower_is_better(f"{kind}: stall", middle["stall, goes on"], waits, "ms"),
        lower_is_better(f"{kind}: until on disk", middle["on disk, goes on"], waits, "ms"),
    ]


def main() -> None:
    """Compare both strategies that can."""
    given = arguments(__doc__ or "", repeats=5)
    with TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        rows = [row for kind in KINDS for row in compare(Path(folder), kind, given.repeats)]
    finish(rows, given)


if __name__ == "__main__":
    main()
