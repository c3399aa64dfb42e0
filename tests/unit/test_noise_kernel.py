"""The Triton kernel, interpreted on the CPU, gives bitwise what the plain computation gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neft_ray.noise.add import add_noise
from neft_ray.noise.draws import DISTRIBUTIONS, Key
from neft_ray.noise.stretch import Stretch

ROOT = Path(__file__).parents[2]
WORDS = [Key(1, 2, 3).words, Key(2**63 + 5, 2, 4).words]
STRETCHES = [
    Stretch(100, 2500, 0, WORDS[0], 1),  # more than one program
    Stretch(2601, 1999, 77, WORDS[1], 2),  # a shard that starts within a block
    Stretch(4600, 3, 16, WORDS[0], 1),
    Stretch(4990, 10, 2**35 + 5, WORDS[1], 1),  # beyond 32 bits
]
SCALES = torch.tensor([0.01, -0.003, 1e-5, 0.5])


def compare(device: str) -> None:
    """Noise the same embeddings with both, in every distribution and dtype."""
    from neft_ray.noise import kernel

    for distribution in DISTRIBUTIONS:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            generator = torch.Generator().manual_seed(0)
            before = torch.randn(5000, generator=generator).mul(0.02).to(dtype)
            before[:200] *= 1e-6  # subnormal in float16
            plain, fused = before.clone(), before.clone().to(device)
            add_noise(plain, STRETCHES, SCALES, distribution)
            kernel.add_noise(fused, STRETCHES, SCALES.to(device), distribution)
            fused = fused.cpu()
            assert torch.equal(fused, plain), (distribution, dtype)
            assert fused[:100].equal(before[:100]) and fused[4603:4990].equal(before[4603:4990])
            assert (fused != before)[100:2600].float().mean() > 0.8


def test_interpreted_kernel_is_bitwise_the_plain_computation():
    pytest.importorskip("triton", reason="triton is not installed: pip install triton")
    command = [sys.executable, "-c", "from tests.unit.test_noise_kernel import *; compare('cpu')"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


class Launches:
    """Stands for the kernel, and notes on which grid it is launched."""

    def __getitem__(self, grid):
        self.grid = grid
        return lambda *given, **options: None


def test_a_long_sequence_of_a_wide_model_fits_into_the_grid(monkeypatch):
    pytest.importorskip("triton", reason="triton is not installed: pip install triton")
    from neft_ray.noise import kernel

    monkeypatch.setattr(kernel, "_add_noise", launches := Launches())
    stretch = Stretch(0, 32_768 * 4096, 0, WORDS[0], 1)
    kernel.add_noise(torch.zeros(0), [stretch], SCALES[:1], "uniform")
    first, *others = launches.grid
    assert first < 2**31 and max(others) < 2**16, "what CUDA allows"
    assert first * 2048 > stretch.count
