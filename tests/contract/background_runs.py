"""Two workers under a strategy, on disks that are slow, full for one of them, or damaged."""

from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from neft_ray.errors import StorageError
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint, stored
from neft_ray.train.contents import State
from tests.contract.strategy_runs import CPU, DATA, KINDS
from tests.unit.trial_runs import run_steps
from tests.unit.worker_runs import ASYNC, SlowDisk, curve, run_trial, small_files, trial_config

SMALL = 200_000
"""Bytes; less than a shard."""


def in_background(folder, kind):
    """Whole trials whose checkpoints are written while they train, and one that waits for them."""
    config, models = trial_config(KINDS[kind] | ASYNC), BaseModels()

    def act(step, engine):
        if step in (4, 7):
            disk.let_all_be_written()
        if step == 5:
            disk.gate.clear()

    def stop(step, engine):
        if step == 4:
            disk.let_later()
        return step == 4

    def trial(name, config=config, **how):
        place = Path(folder) / kind / name
        status, _, events = run_trial(place, config, models=models, **how)
        return status, events, curve(place)

    found = {}
    with SlowDisk() as disk:
        found["goes on"] = trial("goes on", act=act)
    with SlowDisk() as disk:
        found["stopped"] = trial("stopped", act=stop)
    found["resumed"] = trial("stopped")
    found["waits"] = trial("waits", trial_config(KINDS[kind]))
    writer = 0 if kind == "ddp" else 1
    found["full"] = refusal(writer, lambda: trial("full"))
    return found


def on_bad_disks(folder, kind):
    """Saves where one worker's disk is full, and reads where a byte of one file is another."""
    config, there = trial_config(KINDS[kind]), Path(folder) / kind
    engine = build_engine(config, BaseModels(), CPU)

    def save(step):
        checkpoint.save(engine, there, State(step, config.config_hash, {}))

    def load():
        return checkpoint.load_latest(engine, there, config.config_hash).step

    found = {"curve": run_steps(engine, DATA, config, until=1)}
    save(1)
    run_steps(engine, DATA, config, 1, 2)
    found["full"] = [refusal(rank, lambda: save(2)) for rank in range(2)]
    save(2)
    found["loaded"] = {"": load()}
    for name in checkpoint.read_state(stored.folder_of(there, 2)).file_bytes:
        with flipped(engine, stored.folder_of(there, 2) / name):
            found["loaded"][name] = load()
    found["again"] = run_steps(engine, DATA, config, load(), 3)
    engine.close()
    return found


def refusal(rank, save):
    """What a rank that saves says while one of them cannot write large files."""
    with small_files(SMALL if distributed.get_rank() == rank else -1):
        try:
            save()
        except StorageError as error:
            return str(error)
    return "saved"


@contextmanager
def flipped(engine, file):
    """Another byte in the middle of a file, whose size stays."""
    flip(engine, file)
    yield
    flip(engine, file)


def flip(engine, file):
    """Changes a byte, or changes it back; rank 0 does so while the others wait."""
    if engine.rank == 0:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    distributed.barrier()
