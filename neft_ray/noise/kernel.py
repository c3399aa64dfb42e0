"""The noise as one fused Triton kernel: draws, scale, sum and rounding in one pass over memory.

It computes the very draws that `draws.draw` computes on the CPU. This module needs triton, which
comes with torch's CUDA builds; `TRITON_INTERPRET=1` runs the kernel on the CPU for the tests.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from neft_ray.noise.draws import DRAWS_PER_BLOCK, NOISE, NUM_VALUES, table
from neft_ray.noise.stretch import STOCHASTIC, Stretch

BLOCKS = tl.constexpr(128)
"""Each makes 16 draws, so a program noises 2,048 entries."""
BLOCK_DRAWS = tl.constexpr(DRAWS_PER_BLOCK)
COLUMNS = tl.constexpr(6)
NOISE_STREAM = tl.constexpr(NOISE)
MIDDLE = tl.constexpr(NUM_VALUES // 2)


def add_noise(
    x_E: Tensor, stretches: Sequence[Stretch], scale_S: Tensor, distribution: str
) -> None:
    """Do what `add.add_noise` does, in one launch; x_E is not float64."""
    columns = [
        (s.begin, s.count, s.first, _signed(s.words[0]), _signed(s.words[1]), s.rounding_stream)
        for s in stretches
    ]
    stretches_SC = torch.tensor(columns, dtype=torch.int64).to(x_E.device, non_blocking=True)
    # A stretch need not start at a multiple of 16 draws: it may touch one block more.
    most_blocks = max(-(-s.count // DRAWS_PER_BLOCK) for s in stretches) + 1
    # The first dimension of a grid has room for any sequence, the others for 65,535 programs.
    _add_noise[(triton.cdiv(most_blocks, BLOCKS.value), len(stretches))](
        x_E,
        stretches_SC,
        scale_S,
        table(distribution, str(x_E.device)),
        IS_UNIFORM=distribution == "uniform",
        DROPPED_BITS=STOCHASTIC[x_E.dtype][0] if x_E.dtype in STOCHASTIC else 0,
        enable_fp_fusion=False,  # product and sum are rounded one by one, as on the CPU
    )


def _signed(word: int) -> int:
    """Return a 64-bit word as the signed number with the same bits."""
    return word - 2**64 if word >= 2**63 else word


@triton.jit  # type: ignore[untyped-decorator]
def _add_noise(
    x: tl.tensor,
    stretches: tl.tensor,
    scales: tl.tensor,
    values: tl.tensor,
    IS_UNIFORM: tl.constexpr,
    DROPPED_BITS: tl.constexpr,
) -> None:
    """Noise 16 · BLOCKS entries of one stretch; the grid is (group of blocks, stretch)."""
    row = stretches + tl.program_id(1) * COLUMNS
    begin, count, first = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    key_0, key_1, rounding = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
    block = first // BLOCK_DRAWS + tl.program_id(0) * BLOCKS
    blocks = block + tl.arange(0, BLOCKS)
    entry = block * BLOCK_DRAWS - first + tl.arange(0, BLOCKS * BLOCK_DRAWS)
    here = (entry >= 0) & (entry < count)
    draws = _draws(key_0, key_1, blocks, rounding * 0 + NOISE_STREAM)
    if IS_UNIFORM:
        unit = (draws.to(tl.float32) + 0.5) * 0.000030517578125
    else:
        unit = tl.load(values + draws + MIDDLE)
    old = tl.load(x + begin + entry, mask=here, other=0.0)
    exact = unit * tl.load(scales + tl.program_id(1)) + old.to(tl.float32)
    if DROPPED_BITS > 0:
        if DROPPED_BITS == 13:  # float16: see STOCHASTIC
            exact = exact * 1.925929944387236e-34
        chance = _draws(key_0, key_1, blocks, rounding) & ((1 << DROPPED_BITS) - 1)
        word = (exact.to(tl.int32, bitcast=True) + chance) & -(1 << DROPPED_BITS)
        exact = word.to(tl.float32, bitcast=True)
        if DROPPED_BITS == 13:
            exact = exact * 5.192296858534828e33
    tl.store(x + begin + entry, exact.to(old.dtype), mask=here)


@triton.jit  # type: ignore[untyped-decorator]
def _draws(key_0: tl.tensor, key_1: tl.tensor, blocks: tl.tensor, stream: tl.tensor) -> tl.tensor:
    """Return the draws of BLOCKS blocks of a stream: int32 [16 · BLOCKS] in −32768 … 32767."""
    zero = (blocks * 0).to(tl.uint64)
    # numpy raises the counter before it computes a block: its first block has counter 1.
    w0, w1, w2, w3 = tl.philox_impl(
        (blocks + 1).to(tl.uint64),
        zero + stream.to(tl.uint64),
        zero,
        zero,
        zero + key_0.to(tl.uint64, bitcast=True),
        zero + key_1.to(tl.uint64, bitcast=True),
    )
    # Each join adds a last dimension of two: even and odd words first, so that 0 1 2 3 comes out.
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3)).reshape(4 * BLOCKS)
    shifts = (tl.arange(0, 4) * 16).to(tl.uint64)
    draws = ((words[:, None] >> shifts[None, :]) & 0xFFFF).to(tl.int32).reshape(16 * BLOCKS)
    return tl.where(draws >= MIDDLE, draws - 2 * MIDDLE, draws)
