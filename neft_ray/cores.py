"""How a process that trains uses its CPU cores."""

from __future__ import annotations

import torch


def use_cores(num_threads: int) -> None:
    """Compute with so many threads, and take numbers below 1e-38 for 0, as GPUs do.

    The attention of a trained model is full of such numbers, and a CPU that keeps them takes a
    hundred times longer for each: a step of a small model twice as long. Call it first: threads
    inherit it from the one that starts them.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(num_threads)
