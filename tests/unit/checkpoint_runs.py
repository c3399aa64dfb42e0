"""Trials that save as they go, to be loaded again."""

import torch

from neft_ray.train import checkpoint
from neft_ray.train.checkpoint import State
from tests.unit.trial_runs import build_engine, random_data, run_steps, small_config, weights

CONFIG, DATA = small_config(), random_data()
HASH = CONFIG.config_hash


def saved(folder, *steps, config_hash=HASH):
    """Trains to each of the steps and saves there; returns the engine and weights by step."""
    engine, done, by_step = build_engine(CONFIG), 0, {}
    for step in steps:
        run_steps(engine, DATA, CONFIG, done, step)
        checkpoint.save(engine, folder, State(step, config_hash, {"select_loss": 1.5}))
        done, by_step[step] = step, weights(engine)
    return engine, by_step


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(p, theirs[name]) for name, p in ours.items())
