"""Attention over packed rows: several sequences one after another, each seeing only itself.

Nothing is computed for padding, for there is none, and no mask of [T, T] is written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neft_ray.errors import bad_input

ATTENTION = "neft_ray_packed"
"""The name by which transformers knows it; a model that has it runs padded rows as before."""
Lengths = tuple[int, ...]
PROBE_LENGTHS = (3, 2)


def use_packed_attention(model: Any, compiled: bool = False) -> None:
    """Let a model run packed rows.

    Args:
        model: A causal language model.
        compiled: Whether its layers are compiled, but for the attention: it looks at the lengths.

    Raises:
        UserError: If its attention cannot be replaced.
    """
    from transformers import AttentionInterface

    attention = torch.compiler.disable(_attention) if compiled else _attention  # type: ignore[no-untyped-call]
    AttentionInterface.register(ATTENTION, attention)
    try:
        model.set_attn_implementation(ATTENTION)
    except ValueError as error:
        raise _cannot_pack(model, str(error).splitlines()[0]) from error


def arguments(tokens_BT: Tensor, lengths: Lengths | None) -> dict[str, Any]:
    """Return what a model is called with.

    Args:
        tokens_BT: Token ids; one row where it is packed.
        lengths: Of the sequences in a packed row; None where rows are padded.
    """
    given = {"input_ids": tokens_BT, "use_cache": False}
    if lengths is None:
        return given
    whole = _whole(lengths, tokens_BT.shape[1])
    positions_T = torch.cat([torch.arange(length) for length in whole]).to(tokens_BT.device)
    # A tensor on the CPU, of two numbers at least: others would be compiled in.
    packed_lengths = torch.tensor([*whole, 0])
    return given | {"position_ids": positions_T.unsqueeze(0), "packed_lengths": packed_lengths}


@torch.no_grad()
def check_packing(model: Any, device: torch.device) -> None:
    """Run two sequences packed and apart; refuse a model that mixes them.

    Raises:
        UserError: If what it computes for one depends on the other.
    """
    training = model.training
    model.eval()
    tokens = torch.arange(1, 1 + sum(PROBE_LENGTHS), device=device).unsqueeze(0)
    packed = model(**arguments(tokens, PROBE_LENGTHS)).logits
    apart = [
        model(**arguments(part, None)).logits
        for part in torch.split(tokens, list(PROBE_LENGTHS), dim=1)
    ]
    model.train(training)
    if not torch.allclose(packed, torch.cat(apart, dim=1), rtol=1e-2, atol=1e-3):
        raise _cannot_pack(model, "sequences in one row see each other")


def _attention(
    module: nn.Module,
    query_BHTK: Tensor,
    key_BGTK: Tensor,
    value_BGTK: Tensor,
    attention_mask: Tensor | None,
    packed_lengths: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend causally within each sequence; [B, T, H, K] of H heads, G of them keys and values."""
    if attention_mask is not None or options.get("softcap") is not None:
        raise _cannot_pack(module, "its attention needs more than a causal mask")
    lengths = [query_BHTK.shape[2]] if packed_lengths is None else packed_lengths[:-1].tolist()
    window = options.get("sliding_window")
    if window is not None and max(lengths) > window:
        what = f"its attention sees {window} tokens, a sequence has {max(lengths)}"
        raise _cannot_pack(module, what)
    attended = [
        functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=options.get("dropout", 0.0),
            is_causal=True,
            scale=options.get("scaling"),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for query, key, value in zip(
            *(torch.split(part, lengths, dim=2) for part in (query_BHTK, key_BGTK, value_BGTK)),
            strict=True,
        )
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _whole(lengths: Sequence[int], num_tokens: int) -> Lengths:
    """Return lengths that add up to the row's: what is no sequence's is one of its own."""
    *_, covered = accumulate(lengths, initial=0)
    real = tuple(length for length in lengths if length)
    return real if covered == num_tokens else (*real, num_tokens - covered)


def _cannot_pack(model: Any, what: str) -> Exception:
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    remedy = "write batch.kind: bucketed"
    return bad_input(f"batch.kind: packed with {kind}", what, remedy)
