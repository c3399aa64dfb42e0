"""Whether this machine computes with weights of 4 bits: bitsandbytes, tried on its device."""

from __future__ import annotations

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit


def failure() -> str | None:
    """Return why nothing is quantised here, on the GPU if there is one; None where it is."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        packed, state = quantize_4bit(
            torch.eye(64, device=device), quant_type="nf4", compress_statistics=True
        )
        dequantize_4bit(packed, state)
    except RuntimeError as error:  # torch raises it, or a kind of it, where a device has no kernel
        return str(error).partition("\n")[0]
    return None
