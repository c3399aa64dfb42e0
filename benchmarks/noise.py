"""The noise against the hook of the installed transformers: python -m benchmarks.noise."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.neftune import neftune_post_forward_hook

from benchmarks.common import (
    Row,
    arguments,
    finish,
    higher_is_better,
    interleaved,
    lower_is_better,
    spread,
)
from neft_ray.noise import DISTRIBUTIONS, EmbeddingNoise, Segments

SHAPE = (8, 1024, 2048)
LENGTHS = (64, 197, 330, 463, 561, 694, 827, 960)
"""Half of the tokens are real."""
ALPHA = 5.0
DTYPES = (torch.float32, torch.bfloat16)


class Given(nn.Module):
    """Stands for an embedding whose output is at hand, so that the noise alone is timed."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.output = torch.randn(SHAPE).to(dtype)

    def forward(self) -> Tensor:
        """Return the embeddings."""
        return self.output


def noisers(dtype: torch.dtype, distribution: str) -> tuple[Callable[[], object], ...]:
    """Return one call of our hook and one of theirs."""
    ours, theirs = Given(dtype), Given(dtype)
    noise = EmbeddingNoise(ALPHA, 1, distribution=distribution)
    noise.attach(ours)
    theirs.neftune_noise_alpha = ALPHA  # type: ignore[assignment]
    theirs.register_forward_hook(neftune_post_forward_hook)
    step = iter(range(1, sys.maxsize))

    def run_ours() -> None:
        with noise.on(Segments.padded(next(step), range(len(LENGTHS)), LENGTHS)):
            ours()
        noise.pop_metrics()

    return run_ours, theirs


def speed(repeats: int) -> list[Row]:
    """Time both at [8, 1024, 2048], telemetry included."""
    rows = []
    for dtype in DTYPES:
        for distribution in DISTRIBUTIONS:
            name = f"time, {distribution} {str(dtype)[6:]}"
            ours, theirs = interleaved(noisers(dtype, distribution), repeats)
            print(spread(f"{name}: ours", ours))
            print(spread(f"{name}: transformers, uniform", theirs))
            rows.append(lower_is_better(name, 1e3 * median(ours), 1e3 * median(theirs), "ms"))
    return rows


def memory() -> list[Row]:
    """Measure how far one call raises the process's memory, in units of the embeddings."""
    rows = []
    for dtype in DTYPES:
        ours, theirs = noisers(dtype, "uniform")
        size = Given(dtype).output.numel() * dtype.itemsize
        us, them = (peak_growth_bytes(run) / size for run in (ours, theirs))
        rows.append(lower_is_better(f"extra memory, uniform {str(dtype)[6:]}", us, them, "tensors"))
    return rows


def peak_growth_bytes(run: Callable[[], object]) -> int:
    """Return the peak of the resident memory in a call, less what was resident before (Linux)."""
    run()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what the first run left would be used again
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def fidelity() -> list[Row]:
    """Measure what is left of the noise after a bfloat16 sum with embeddings of size 1."""
    rows = []
    for length in (512, 8192):
        torch.manual_seed(0)
        before = torch.randn(1, length, 2048).bfloat16()
        module = nn.Module()
        module.neftune_noise_alpha = ALPHA  # type: ignore[assignment]
        bound = ALPHA / (length * 2048) ** 0.5
        torch.manual_seed(1)
        theirs = neftune_post_forward_hook(module, (), before.clone())
        torch.manual_seed(1)
        their_noise = torch.zeros_like(before).uniform_(-bound, bound)
        ours, noise = before.clone(), EmbeddingNoise(ALPHA, 1)
        zeros = torch.zeros(before.shape)
        noise.announce(Segments.padded(1, [0], [length]))
        noise.fire(ours)
        noise.fire(zeros)  # in float32: the noise itself
        us, them = _fidelity_of(ours, zeros, before), _fidelity_of(theirs, their_noise, before)
        for index, name in enumerate(("noise that survives", "entries changed")):
            label = f"bfloat16 {name}, L = {length}"
            rows.append(higher_is_better(label, us[index], them[index], "share"))
        sizes = f"{us[2]:.2f} and {them[2]:.2f}"
        print(f"bfloat16, L = {length}: std of what was added over the noise's, both: {sizes}")
    return rows


def _fidelity_of(after: Tensor, noise: Tensor, before: Tensor) -> tuple[float, float, float]:
    """Return the slope of what was added on the noise, the share changed, and relative std."""
    added, noise = (after.float() - before.float()).flatten(), noise.float().flatten()
    slope = added.dot(noise) / noise.dot(noise)
    changed = (after != before).float().mean()
    return float(slope), float(changed), float(added.std() / noise.std())


def share_of_step(repeats: int) -> list[Row]:
    """Time the noise of one step beside the step of a model of over 20M parameters."""
    sizes = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6}
    config = LlamaConfig(**sizes, num_attention_heads=8, vocab_size=8192, use_cache=False)
    model = LlamaForCausalLM(config).train()
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    tokens = torch.randint(8192, (4, 128))
    embedding = model.get_input_embeddings()
    noise, lengths = EmbeddingNoise(ALPHA, 1), (128, 96, 64, 32)
    ours_in = embedding(tokens).detach()
    module = nn.Module()
    module.neftune_noise_alpha = ALPHA  # type: ignore[assignment]

    def step() -> None:
        model.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()

    def ours() -> None:
        noise.announce(Segments.padded(1, range(4), lengths))
        noise.fire(ours_in)
        noise.pop_metrics()

    whole, us, them = interleaved(
        (step, ours, lambda: neftune_post_forward_hook(module, (), ours_in)), repeats
    )
    print(spread("forward and backward without noise", whole))
    print(spread("noise of a step: ours", us))
    print(spread("noise of a step: transformers", them))
    ours_share, peer_share = (100 * median(found) / median(whole) for found in (us, them))
    name = f"share of a training step, {millions:.0f}M parameters"
    return [lower_is_better(name, ours_share, peer_share, "%")]


def main() -> None:
    """Run everything on one thread."""
    given = arguments(__doc__ or "", repeats=15)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = memory() + speed(given.repeats) + fidelity() + share_of_step(max(3, given.repeats // 3))
    finish(rows, given)


if __name__ == "__main__":
    main()
