"""Holds predicted memory against measured: `python benchmarks/memory.py [--json FILE]`.

Predicted: `neft_ray.memory`, which sees no weights. Measured: the most bytes of live tensors in
any of three steps of the real loop on the real engines, counted operation by operation; on a GPU,
the most that its allocator gave out.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing

from neft_ray.config.data import DataConfig
from neft_ray.config.trial import ModelConfig, TrialConfig
from neft_ray.data.tokenized import TokenizedData
from neft_ray.memory.live import LiveBytes
from neft_ray.memory.predict import Predictor
from neft_ray.noise import EmbeddingNoise
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train.loop import train

STEPS = 3
MODELS: dict[str, dict[str, Any]] = {
    "vocabulary": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "intermediate_size": 688,
        "vocab_size": 32_000,
        "tokens": 128,
    },
    "layers": {
        "hidden_size": 128,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 344,
        "vocab_size": 512,
        "tokens": 512,
    },
}
ROWS = 2
"""Of a micro-batch."""
KINDS: dict[str, dict[str, Any]] = {
    "ddp, 1 worker": {"workers.num": 1},
    "ddp": {"workers.num": 2},
    "zero 2, 4 workers": {"workers.num": 4, "strategy.kind": "deepspeed"},
    "zero 3, 4 workers": {
        "workers.num": 4,
        "strategy.kind": "deepspeed",
        "strategy.zero_stage": 3,
    },
    "fsdp, 4 workers": {"workers.num": 4, "strategy.kind": "fsdp"},
    "zero 1": {"workers.num": 2, "strategy.kind": "deepspeed", "strategy.zero_stage": 1},
    "zero 2": {"workers.num": 2, "strategy.kind": "deepspeed", "strategy.zero_stage": 2},
    "zero 3": {"workers.num": 2, "strategy.kind": "deepspeed", "strategy.zero_stage": 3},
    "fsdp": {"workers.num": 2, "strategy.kind": "fsdp"},
}
CHECKPOINTING = {"model.activation_checkpointing": True}
LORA = {"model.lora.rank": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "checkpointing": CHECKPOINTING,
    "lora": LORA,
    "lora, checkpointing": LORA | CHECKPOINTING,
    "bfloat16": {"model.dtype": "bfloat16"},
    "1 micro-step": {"micro_steps": 1},
    "gathered once": {"strategy.reshard_after_forward": False},
    "half": {"model.dtype": "bfloat16", "strategy.params_dtype": "bfloat16"},
}
"""What differs from float32 with two micro-steps; `half`: bfloat16 parameters, not autocast."""
APPLIES = {"half": ("fsdp", "zero 1", "zero 2", "zero 3"), "gathered once": ("fsdp",)}


def cases(only: str = "") -> list[tuple[str, TrialConfig]]:
    """Return all trials whose names hold a text, by name."""
    found = []
    for model, sizes in MODELS.items():
        for kind, spread in KINDS.items():
            for variant, changes in VARIANTS.items():
                name = ", ".join(filter(None, (model, kind, variant)))
                values = spread | changes
                rows = ROWS * spread["workers.num"] * values.pop("micro_steps", 2)
                values |= {
                    "noise.alpha": 5.0,
                    "batch.size_examples": rows,
                    "batch.micro_tokens": ROWS * sizes["tokens"],
                    "data.max_length_tokens": sizes["tokens"],
                }
                few = "4 workers" in kind and variant not in ("", "1 micro-step")
                if only in name and kind in APPLIES.get(variant, KINDS) and not few:
                    found.append((name, _config(model).with_values(values)))
    return found


def _config(model: str) -> TrialConfig:
    folder = Path(tempfile.gettempdir()) / f"neft-ray-memory-{os.getuid()}" / model
    return TrialConfig(model=ModelConfig(path=str(folder)), data=DataConfig(train="random"))


def write_models() -> None:
    """Write the models with random weights, where a trial's `model.path` looks for them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    for name, sizes in MODELS.items():
        folder = Path(_config(name).model.path)
        if not folder.exists():
            torch.manual_seed(0)
            kinds = {key: value for key, value in sizes.items() if key != "tokens"}
            LlamaForCausalLM(LlamaConfig(**kinds)).save_pretrained(folder)


def random_rows(config: TrialConfig) -> TokenizedData:
    """Return rows of the greatest length, all tokens supervised, for the steps to measure."""
    length, count = config.data.max_length_tokens, config.batch.size_examples * STEPS
    tokens = np.random.default_rng(0).integers(3, 512, length * count).astype(np.int32)
    supervised = np.ones(len(tokens), np.bool_)
    supervised[::length] = False
    offsets = np.arange(0, len(tokens) + 1, length)
    return TokenizedData(tokens, supervised, offsets, np.zeros(count, np.int8), {})


def measured(config: TrialConfig, device: torch.device) -> int:
    """Return the peak bytes of this worker in any of some steps."""
    torch.manual_seed(0)
    data, models, counter = random_rows(config), BaseModels(), LiveBytes()
    noise = EmbeddingNoise(config.noise.alpha, config.training.seed, config.noise.length)
    with counter.counting():
        engine = build_engine(config, models, device)
        counter.reset_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with noise.attached(engine.plain.embedding):
            for metrics in train(engine, data, noise, config):
                if metrics["step"] == STEPS:
                    break
    engine.close()
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else counter.peak


def _as_worker(rank: int, names: list[str], folder: str, world: int) -> None:
    """Measure some cases one after another as one of the workers."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{folder}/meeting-{world}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=120),
    )
    known = dict(cases())
    for name in names:
        found = torch.tensor([measured(known[name], device)], device=device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        if rank == 0:
            with Path(folder, "found.jsonl").open("a") as file:
                file.write(json.dumps([name, int(found)]) + "\n")
    distributed.destroy_process_group()


def measure(named: list[tuple[str, TrialConfig]]) -> dict[str, int]:
    """Return measured bytes by case, the fullest worker of each."""
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2, 4):
            names = [name for name, config in named if config.workers.num == world]
            if names and (not torch.cuda.is_available() or torch.cuda.device_count() >= world):
                multiprocessing.start_processes(  # type: ignore[no-untyped-call, attr-defined]
                    _as_worker, (names, folder, world), nprocs=world, start_method="spawn"
                )
        lines = Path(folder, "found.jsonl").read_text().splitlines()
    return dict(map(json.loads, lines))


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write rows {name, ours, peer, unit, ratio}")
    parser.add_argument("--only", default="", help="cases whose names hold this text")
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_models()
    named = cases(given.only)
    found = measure(named)
    rows: list[dict[str, Any]] = []
    for name, config in named:
        if name in found:
            gpus = {"workers.gpus": 1.0 if torch.cuda.is_available() else 0.0}
            ours = Predictor(config).of(config.with_values(gpus)).device
            ratio = round(ours / found[name], 3)
            rows.append(
                {"name": name, "ours": ours, "peer": found[name], "unit": "bytes", "ratio": ratio}
            )
    print("| case | predicted MB | measured MB | ratio |\n| --- | ---: | ---: | ---: |")
    for row in rows:
        print(f"| {row['name']} | {row['ours'] / 1e6:.1f} | {row['peer'] / 1e6:.1f}", end=" | ")
        print(f"{row['ratio']:.3f} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
