"""One copy per worker: clipping, the norm it reports, and what a save holds."""

import pytest
import torch
from safetensors.torch import load_file

from neft_ray.errors import UserError
from neft_ray.strategy.base import writing
from neft_ray.strategy.ddp import OPTIMIZER_FILE, WEIGHTS_FILE
from tests.unit.trial_runs import build_engine, random_data, run_steps, small_config, weights

CONFIG = small_config({"optimizer.clip_norm": 0.5})


def set_gradients(engine, size) -> float:
    """Fills all gradients with a value and returns their norm."""
    for parameter in engine.plain.parameters():
        parameter.grad = torch.full_like(parameter, size)
    return size * sum(p.numel() for p in engine.plain.parameters()) ** 0.5


@pytest.mark.parametrize("size", [1e-5, 1.0])
def test_gradients_over_the_limit_are_scaled_to_it_and_the_norm_is_that_before(size):
    engine = build_engine(CONFIG)
    norm, before = set_gradients(engine, size), weights(engine)
    seen = []
    engine._optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in engine.plain.parameters()]))
    )
    assert engine.step(learning_rate=0.1) == pytest.approx(norm, rel=1e-4)
    assert seen[0].double().norm().item() == pytest.approx(min(norm, 0.5), rel=1e-4)
    assert (seen[0] == size).all() == (norm < 0.5)
    assert any(not torch.equal(p, before[name]) for name, p in weights(engine).items())


def test_no_limit_clips_nothing():
    engine = build_engine(small_config({"optimizer.clip_norm": None}))
    norm, seen = set_gradients(engine, 10.0), []
    engine._optimizer.register_step_pre_hook(
        lambda *_: seen.append(engine.plain.embedding.weight.grad.clone())
    )
    assert engine.step(learning_rate=0.1) == pytest.approx(norm, rel=1e-4)
    assert (seen[0] == 10.0).all()


def test_a_step_uses_its_own_learning_rate_and_leaves_no_gradient():
    engine = build_engine(CONFIG)
    before = weights(engine)
    set_gradients(engine, 1.0)
    engine.step(learning_rate=1e-12)
    largest = max((p - before[name]).abs().max() for name, p in weights(engine).items())
    assert largest < 1e-6
    assert all(p.grad is None for p in engine.plain.parameters())


def test_gradients_of_micro_steps_add_up():
    engine = build_engine(CONFIG)
    weight = engine.plain.embedding.weight
    for is_last in (False, True):
        with engine.micro_step(is_last):
            engine.backward(weight.sum())
    assert (weight.grad == 2).all()


def test_a_save_is_read_back_whole(tmp_path):
    engine = build_engine(CONFIG)
    run_steps(engine, random_data(), CONFIG, until=2)
    engine.save(tmp_path)
    assert set(load_file(tmp_path / WEIGHTS_FILE)) == set(weights(engine))
    other = build_engine(CONFIG)
    other.load(tmp_path)
    ours, theirs = engine._optimizer.state_dict(), other._optimizer.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys() != set()
    for mine, its in zip(ours["state"].values(), theirs["state"].values(), strict=True):
        assert all(torch.equal(mine[key], its[key]) for key in mine)
    assert all(torch.equal(p, weights(other)[name]) for name, p in weights(engine).items())


@pytest.mark.parametrize("name", [WEIGHTS_FILE, OPTIMIZER_FILE])
def test_a_file_that_cannot_be_read_is_an_error_and_changes_nothing(tmp_path, name):
    engine = build_engine(CONFIG)
    run_steps(engine, random_data(), CONFIG, until=1)
    engine.save(tmp_path)
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[:50] = b"x" * 50
    (tmp_path / name).write_bytes(damaged)
    other = build_engine(CONFIG)
    before = weights(other)
    with pytest.raises(UserError, match=str(tmp_path)):
        other.load(tmp_path)
    assert all(torch.equal(p, before[name]) for name, p in weights(other).items())


def test_a_sum_over_ranks_is_over_both_and_leaves_its_argument(two_ranks):
    assert [found["sum"] for found in two_ranks] == [[2.0, 1.0], [2.0, 1.0]]
    values = torch.tensor([3.0])
    assert build_engine(CONFIG).sum_over_ranks(values).tolist() == [3.0]


def test_a_lost_worker_is_no_full_disk(tmp_path):
    lost = RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    with pytest.raises(RuntimeError, match="gloo"), writing(tmp_path):
        raise lost
    with pytest.raises(OSError, match=f"{tmp_path} cannot be filled"), writing(tmp_path):
        raise RuntimeError("unexpected pos 64 vs 0")
