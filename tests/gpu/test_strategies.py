"""Strategies in a process group of one, NCCL where there is a GPU: one curve, and its speed."""

import math

import pytest
import torch
from torch.multiprocessing import start_processes

from tests.gpu.strategy_runs import AUTOCAST, HALF, LARGE, PEAK_FLOPS, STEPS, TINY, train_all

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
LOSS, NORM = 4.0e-3, 2.3e-3
"""The largest differences of autocast in docs/strategies.md, absolute and relative."""
HALF_LOSS, HALF_NORM = 1.7e-2, 5.6e-3
"""Those of parameters in bfloat16."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(TINY, id="tiny"), pytest.param(LARGE, id="1.1B", marks=NEEDS_GPU)],
)
def runs(request, tmp_path_factory):
    """What a process of its own saw, and the size of its model."""
    folder = tmp_path_factory.mktemp("strategies")
    start_processes(train_all, (str(folder), request.param), nprocs=1, start_method="spawn")
    return request.param, torch.load(folder / "found.pt", weights_only=False)


def curves(found, name):
    losses, norms = zip(*found[name]["curve"], strict=True)
    assert len(losses) == STEPS
    assert all(map(math.isfinite, losses + norms))
    return losses, norms


@pytest.mark.parametrize("name", [*list(AUTOCAST)[1:], *HALF])
def test_losses_are_those_of_one_whole_copy(runs, name):
    _, found = runs
    ours, theirs = curves(found, name), curves(found, "ddp")
    loss, norm = (LOSS, NORM) if name in AUTOCAST else (HALF_LOSS, HALF_NORM)
    assert ours[0] == pytest.approx(theirs[0], abs=loss, rel=0)
    assert ours[1] == pytest.approx(theirs[1], abs=0, rel=norm)
    there = found["ddp"]["select_loss"]
    assert found[name]["select_loss"] == pytest.approx(there, abs=loss, rel=0)


def test_the_model_learns(runs):
    _, found = runs
    losses, _ = curves(found, "ddp")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [*AUTOCAST, *HALF])
def test_the_noise_is_the_kernels_on_a_gpu(runs, name):
    size, found = runs
    assert found[name]["launches"] == (2 * STEPS if size.device == "cuda" else 0)


@pytest.mark.parametrize("name", [*AUTOCAST, *HALF])
def test_speed_is_told(runs, name, capsys):
    _, found = runs
    device, speed = found["device"], found[name]["tokens_per_second"]
    assert speed > 0
    used = "MFU unknown: no peak is known of this device"
    if peak := PEAK_FLOPS.get(device):
        used = f"MFU {speed * found['flops_per_token'] / peak:.1%}"
    with capsys.disabled():
        print(f"\n{device}, {name}: {speed:,.0f} tokens/s, {used}", end="")
