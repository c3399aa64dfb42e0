"""Trains one Llama under several strategies in a process group of one, on a GPU if there is one."""

import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from transformers import LlamaConfig, LlamaForCausalLM

from neft_ray.config.data import DataConfig
from neft_ray.config.trial import ModelConfig, TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train.metrics import evaluate
from tests.unit.trial_runs import run_steps

AUTOCAST = {
    "ddp": {"strategy.kind": "ddp"},
    "fsdp": {"strategy.kind": "fsdp"},
    "zero-3": {"strategy.kind": "deepspeed", "strategy.zero_stage": 3},
}
HALF = {
    f"{kind}, bfloat16 parameters": AUTOCAST[kind] | {"strategy.params_dtype": "bfloat16"}
    for kind in ("fsdp", "zero-3")
}
STEPS, TIMED = 5, 3
"""The first steps compile and fill caches; the last `TIMED` are timed."""
PEAK_FLOPS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
}
"""Dense bfloat16, from the vendor's data sheets; other devices are unknown."""


@dataclass(frozen=True)
class Size:
    """A model, and the rows of a step."""

    device: str
    model: dict[str, int] = field(hash=False)
    rows: int
    length: int


TINY = Size(
    "cpu",
    {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 500,
    },
    rows=4,
    length=32,
)
LARGE = Size(
    "cuda",
    {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32000,
    },
    rows=16,
    length=512,
)
"""1.10 billion parameters."""


def train_all(rank: int, folder: str, size: Size) -> None:
    """Trains under each strategy and writes down curves, speed and how often the kernel ran."""
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    on_gpu = size.device == "cuda"
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=size.length, **size.model))
    num_matmul = (
        sum(p.numel() for p in model.parameters()) - model.model.embed_tokens.weight.numel()
    )
    model.to(torch.bfloat16).save_pretrained(Path(folder) / "model")
    del model
    models, launches = BaseModels(), counted_kernel() if on_gpu else []
    found = {
        name: trained(trial_of(folder, size, values), size, models, launches)
        for name, values in (AUTOCAST | HALF).items()
    }
    found["flops_per_token"] = flops_per_token(size, num_matmul)
    found["device"] = torch.cuda.get_device_name() if on_gpu else "cpu"
    torch.save(found, Path(folder) / "found.pt")
    distributed.destroy_process_group()


def trained(config, size, models, launches):
    """Trains a few steps, saves nothing; returns the curve, an evaluation and the tokens/s."""
    before = len(launches)
    engine = build_engine(config, models, torch.device(size.device))
    data = rows_of(size)
    curve = run_steps(engine, data, config, until=STEPS - TIMED)
    synchronize(size)
    start = time.perf_counter()
    curve += run_steps(engine, data, config, STEPS - TIMED, STEPS)
    synchronize(size)
    seconds = time.perf_counter() - start
    select_loss = evaluate(engine, data, config, with_report=False)[0]["select_loss"]
    engine.close()
    del engine
    gc.collect()
    torch.cuda.empty_cache()
    return {
        "curve": [(m["train_loss"], m["grad_norm"]) for m in curve],
        "select_loss": select_loss,
        "tokens_per_second": sum(m["tokens"] for m in curve[-TIMED:]) / seconds,
        "launches": len(launches) - before,
    }


def trial_of(folder, size, values):
    """A trial in bfloat16 autocast unless the values say otherwise."""
    model = ModelConfig(path=f"{folder}/model", dtype="bfloat16")
    trial = TrialConfig(model=model, data=DataConfig(train="builtin:tales"))
    rows = {"batch.size_examples": size.rows, "batch.micro_tokens": size.rows * size.length // 2}
    gpus = {"workers.gpus": float(size.device == "cuda")}
    noise = {"noise.alpha": 5.0, "training.epochs": STEPS, "training.train_loss_rows": 0}
    return trial.with_values(rows | gpus | noise | values)


def rows_of(size):
    """Rows of random tokens, all of them targets; one step's rows are an epoch."""
    splits = [Split.TRAIN] * size.rows + [Split.SELECT] * 2
    draw = np.random.default_rng(0)
    tokens = draw.integers(3, size.model["vocab_size"], len(splits) * size.length, dtype=np.int32)
    offsets = np.arange(len(splits) + 1) * size.length
    supervised = np.ones(tokens.size, np.bool_)
    return TokenizedData(tokens, supervised, offsets, np.array(splits, np.int8), {})


def flops_per_token(size, num_matmul):
    """What forward and backward need: 6 per parameter that is multiplied with, and attention's two
    products over half of the square (causal), 6·T·d per layer (Chowdhery et al., arXiv 2204.02311,
    appendix B, where the whole square is counted). Nothing for what is computed twice."""
    attention = 6 * size.length * size.model["hidden_size"] * size.model["num_hidden_layers"]
    return 6 * num_matmul + attention


def counted_kernel():
    """A list that grows with every launch of the noise's Triton kernel."""
    from neft_ray.noise import kernel

    launches, launch = [], kernel.add_noise

    def noted(*arguments, **options):
        launches.append(1)
        return launch(*arguments, **options)

    kernel.add_noise = noted
    return launches


def synchronize(size):
    """Waits for what is queued on the GPU."""
    if size.device == "cuda":
        torch.cuda.synchronize()
