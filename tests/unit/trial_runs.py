"""Builds and trains small trials for the tests, in this process or in processes of their own."""

import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from transformers import GPT2Config, GPT2LMHeadModel

from neft_ray.config.data import DataConfig
from neft_ray.config.trial import ModelConfig, TrialConfig
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData
from neft_ray.errors import UserError
from neft_ray.model import SupervisedLM, load_model
from neft_ray.noise import EmbeddingNoise
from neft_ray.optim import build_optimizer
from neft_ray.strategy.ddp import DataParallel
from neft_ray.train import checkpoint
from neft_ray.train.loop import train
from neft_ray.train.metrics import evaluate, row_losses

ROOT_FOLDER = Path(__file__).parents[2]
VOCABULARY = 1024
SHAPE = (2, 16)
"""Rows and tokens of a micro-batch."""
DEFAULTS = {
    "noise.alpha": 5.0,
    "optimizer.learning_rate": 1e-3,
    "batch.size_examples": 6,
    "batch.micro_tokens": 64,
    "training.epochs": 2,
    "training.train_loss_rows": 5,
}


def small_config(values=None, /) -> TrialConfig:
    """A trial of the built-in model, with dotted keys replaced."""
    model, data = ModelConfig(path="builtin:base"), DataConfig(train="builtin:tales")
    return TrialConfig(model=model, data=data).with_values(DEFAULTS | (values or {}))


def random_data(num_train=18, num_held_out=5) -> TokenizedData:
    """Rows of 3 to 30 random tokens, of which some at the end are targets."""
    draw = np.random.default_rng(7)
    splits = [Split.TRAIN] * num_train + [Split.SELECT, Split.REPORT] * num_held_out
    lengths = draw.integers(3, 31, len(splits))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = draw.integers(3, VOCABULARY, offsets[-1], dtype=np.int32)
    supervised = np.zeros(offsets[-1], dtype=np.bool_)
    for end, length in zip(offsets[1:], lengths, strict=True):
        supervised[end - draw.integers(1, length) : end] = True
    return TokenizedData(tokens, supervised, offsets, np.array(splits, np.int8), {})


def model_with_dropout() -> SupervisedLM:
    """A randomly initialised GPT-2 in which dropout acts in many places."""
    torch.manual_seed(3)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": VOCABULARY}
    return SupervisedLM(GPT2LMHeadModel(GPT2Config(n_positions=64, **sizes)))


MODELS = {"builtin": lambda: None, "dropout": model_with_dropout}


def build_engine(config: TrialConfig, model: SupervisedLM | None = None) -> DataParallel:
    """An engine over the given model, or the one that the config names."""
    packed = config.batch.kind == "packed"
    model = model or SupervisedLM(load_model(config.model), config.model.dtype, packed)
    optimizer = build_optimizer(model, config.optimizer)
    return DataParallel(model, optimizer, config.optimizer.clip_norm, torch.device("cpu"))


def run_steps(engine, data, config, done=0, until=None) -> list[dict[str, float]]:
    """Trains from the step after `done` to `until`, and returns the metrics of each step."""
    noise = EmbeddingNoise.of(config.noise, config.training.seed)
    with noise.attached(engine.plain.embedding):
        return list(islice(train(engine, data, noise, config, done), until and until - done))


def weights(engine) -> dict[str, torch.Tensor]:
    """A copy of the weights."""
    return {name: p.detach().clone() for name, p in engine.plain.model.named_parameters()}


# Run by test_checkpoint in a process of its own.


def resume_elsewhere(config: TrialConfig, folder: Path) -> dict[str, tuple[list, dict]]:
    """Goes on from checkpoints in a new process that used randomness before, model by model."""
    (folder / "config.json").write_text(config.canonical_json)
    command = [sys.executable, "-m", "tests.unit.trial_runs", folder]
    subprocess.run(command, cwd=ROOT_FOLDER, check=True)
    return {
        kind: (
            json.loads((folder / f"{kind}.json").read_text()),
            load_file(folder / f"{kind}.safetensors"),
        )
        for kind in MODELS
    }


def _resume(folder: Path) -> None:
    config = TrialConfig.model_validate_json((folder / "config.json").read_text())
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(987)
    for kind, build_model in MODELS.items():
        engine = build_engine(config, build_model())
        torch.randn(1000)
        state = checkpoint.load_latest(engine, folder / kind, config.config_hash)
        rest = run_steps(engine, random_data(), config, state.step)
        (folder / f"{kind}.json").write_text(json.dumps(rest))
        save_file(weights(engine), folder / f"{kind}.safetensors")


# Run by the fixture `two_ranks` in two processes that train together.

EVEN = {}
UNEVEN = {"batch.size_examples": 5, "batch.micro_tokens": 31}
FEWER_ROWS_THAN_RANKS = {"batch.size_examples": 1}


def as_rank(rank: int, folder: str) -> None:
    """Trains as one of two ranks and writes down what happened.

    DDP's reducer must be gone before the process group: if it is what lets go of the group last,
    torch joins gloo's thread while it holds the interpreter's lock, which that thread may wait for.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    found = _seen_by(rank, Path(folder))
    Path(folder, f"rank-{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def _seen_by(rank: int, folder: Path) -> dict:
    found = {}
    for name, values in (
        ("even", EVEN),
        ("uneven", UNEVEN),
        ("fewer_rows_than_ranks", FEWER_ROWS_THAN_RANKS),
    ):
        config = small_config(values)
        engine = build_engine(config)
        found[name] = run_steps(engine, random_data(), config, until=6)
    metrics, rows = evaluate(engine, random_data(), config, with_report=True)
    found["evaluation"] = metrics
    found["report_losses"] = rows.losses.tolist()
    found["one_row"] = row_losses(engine, random_data(), [0], config).losses.tolist()
    found["sum"] = engine.sum_over_ranks(torch.tensor([1.0, rank])).tolist()
    found["refused"] = _refused(engine, folder / "taken")
    checkpoints = folder / "checkpoints"
    found["checkpoints"] = str(checkpoints)
    checkpoint.save(engine, checkpoints, checkpoint.State(6, config.config_hash, metrics))
    again = build_engine(config)
    loaded = checkpoint.load_latest(again, checkpoints, config.config_hash)
    metrics, _ = evaluate(again, random_data(), config, with_report=False)
    found["loaded"] = [loaded.step, metrics["select_loss"]]
    return found


def _refused(engine, file: Path) -> str:
    """Saves below a file, which fails on rank 0, the one that makes folders."""
    if engine.rank == 0:
        file.touch()
    try:
        checkpoint.save(engine, file / "checkpoints", checkpoint.State(1, "", {}))
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    _resume(Path(sys.argv[1]))
