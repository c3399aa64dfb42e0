"""Trains under every strategy in groups of one and two processes, which write down what they saw.

The processes are forked from one server that has imported torch and DeepSpeed already: importing
them anew is most of what a process costs.
"""

import multiprocessing
import os
import shutil
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing import start_processes

from neft_ray.data.batches import batches_of_rank, collate
from neft_ray.generate import answer_rows
from neft_ray.model import head
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint, stored
from neft_ray.train.loop import step_order
from neft_ray.train.metrics import evaluate
from neft_ray.working_copy import MARKER
from tests.unit.trial_runs import random_data, run_steps, small_config

CPU = torch.device("cpu")
SLOW_TO_IMPORT = (
    *("deepspeed.checkpoint.ds_to_universal", "peft", "transformers.models.auto.modeling_auto"),
    *("transformers.models.llama.modeling_llama", "deepspeed.runtime.zero.muon.original_muon"),
)
KINDS = {
    "ddp": {"strategy.kind": "ddp"},
    "fsdp": {"strategy.kind": "fsdp"},
    "zero-1": {"strategy.kind": "deepspeed", "strategy.zero_stage": 1},
    "zero-2": {"strategy.kind": "deepspeed", "strategy.zero_stage": 2},
    "zero-3": {"strategy.kind": "deepspeed", "strategy.zero_stage": 3},
}
LORA = {"model.lora.rank": 4, "model.lora.dropout": 0.0}
UNEVEN = {"batch.size_examples": 5, "batch.micro_tokens": 31, "optimizer.weight_decay": 3.0}
"""Five rows for two workers, cut small: the workers need different numbers of micro-batches."""
CASES = {
    "whole": UNEVEN,
    "checkpointing": UNEVEN | {"model.activation_checkpointing": True},
    "lora": UNEVEN | LORA | {"model.activation_checkpointing": True},
    "packed": UNEVEN | {"batch.kind": "packed", "model.activation_checkpointing": True},
    "fewer rows than workers": {"batch.size_examples": 1},
}
RESUMED = ("whole", "lora")
STEPS, HALF, PART = 7, 3, 5
NUM_ANSWERS = 5
DATA = random_data()
PROBE = collate(DATA, [0, 5, 9])


def configured(kind, case):
    return small_config(KINDS[kind] | CASES[case])


def run_group(task, world, *arguments):
    """Runs a task in `world` processes that train together; returns what each wrote down."""
    folder = arguments[0]
    multiprocessing.set_forkserver_preload([__name__, *SLOW_TO_IMPORT])
    path = Path(folder) / f"{task.__name__}-{world}"
    start_processes(
        _as_rank, (task, world, str(path), *arguments), nprocs=world, start_method="forkserver"
    )
    return [torch.load(f"{path}-{rank}.pt", weights_only=False) for rank in range(world)]


def _as_rank(rank, task, world, path, *arguments):
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "PATH": "",  # no compiler, and nothing that was compiled before
        "TORCH_EXTENSIONS_DIR": f"{path}-extensions",
    }
    torch.set_num_threads(1)
    head.CHUNK_TOKENS = 5  # ranks have different numbers of chunks
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{path}-meeting",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    torch.save(task(*arguments), f"{path}-{rank}.pt")
    distributed.destroy_process_group()


def from_the_beginning(folder, kind):
    """All cases, with checkpoints at half the steps."""
    found = {}
    for case in CASES:
        config = configured(kind, case)
        engine = build_engine(config, BaseModels(), CPU)
        seen = found[case] = {}
        with noised_embeddings(engine, config) as seen["noised"]:
            seen["curve"] = run_steps(engine, DATA, config, until=HALF)
        if case in RESUMED:
            save(engine, folder, kind, case, HALF)
            seen["probe"] = probe(engine)
        seen["curve"] += run_steps(engine, DATA, config, HALF, STEPS)
        seen["evaluation"] = evaluated(engine, config)
        if case in RESUMED:
            short = config.with_values({"data.max_length_tokens": 12})
            seen["answers"] = answer_rows(engine, DATA, short, NUM_ANSWERS)
            seen["probe after answers"] = probe(engine)
        engine.close()
    return found


def one_worker(folder, kind):
    """Goes on alone from the checkpoints of two."""
    return {case: resumed(folder, kind, case, 2, PART) for case in RESUMED}


def two_workers_again(folder, kind):
    """Goes on from the checkpoints of two, and from those of one; by number and case."""
    found = {
        (world, case): resumed(folder, kind, case, world, STEPS)
        for case in RESUMED
        for world in (1, 2)
    }
    return found | {"apart": apart(folder, kind, "whole", 1, PART)}


def apart(folder, kind, case, world, step):
    """Goes on where each worker is a machine's first, with a copy of its own of a bucket."""
    copy = Path(folder) / f"machine {distributed.get_rank()}"
    source = stored.folder_of(checkpoints(folder, kind, case, world), step)
    there = Path(shutil.copytree(source, copy / source.name))
    (copy / MARKER).write_text("s3://of-no-matter")
    os.environ["LOCAL_RANK"] = "0"
    config = configured(kind, case)
    engine = build_engine(config, BaseModels(), CPU)
    engine.load(there)
    curve = run_steps(engine, DATA, config, step, STEPS)
    engine.close()
    return curve, sorted(os.listdir(copy))


def resumed(folder, kind, case, world, until):
    """Goes on in a new process, whose random state is another, from a checkpoint of `world`."""
    config = configured(kind, case)
    engine = build_engine(config, BaseModels(), CPU)
    torch.randn(100)
    there = checkpoints(folder, kind, case, world)
    state = checkpoint.load_latest(engine, there, config.config_hash)
    seen = {"step": state.step, "curve": run_steps(engine, DATA, config, state.step, until)}
    if until < STEPS:
        save(engine, folder, kind, case, until)
    seen["evaluation"] = evaluated(engine, config)
    engine.close()
    return seen


def checkpoints(folder, kind, case, world):
    return Path(folder) / f"{kind} {case} {world}"


def save(engine, folder, kind, case, step):
    state = checkpoint.State(step, configured(kind, case).config_hash, {})
    checkpoint.save(engine, checkpoints(folder, kind, case, engine.world), state)


def evaluated(engine, config):
    metrics, rows = evaluate(engine, DATA, config, with_report=True)
    return metrics, rows.losses.tolist()


@torch.no_grad()
def probe(engine):
    """The losses of some rows that are the same on all ranks."""
    engine.module.eval()
    return engine.module(PROBE.tokens_BT, PROBE.targets_BT).tolist()


@contextmanager
def noised_embeddings(engine, config):
    """Yields what each row's embeddings become in step 1, noise added, by sample id."""
    outputs, found = [], {}

    def keep(module, inputs, output):
        if module.training:
            outputs.append(output.detach())  # the noise is added to it in place, afterwards

    with engine.plain.embedding.register_forward_hook(keep):
        yield found
    rows = step_order(DATA, config).rows(1)
    batches = batches_of_rank(DATA, rows, config.batch, engine.rank, engine.world)
    for batch, output in zip(batches, outputs, strict=False):
        if batch.is_packed and any(batch.lengths):
            output = output[0].split(batch.lengths)
        for row, sample_id, length in zip(output, batch.sample_ids, batch.lengths, strict=True):
            if length:  # no filler
                found[sample_id] = row[:length].tolist()
