"""Cross-entropy at supervised positions, a chunk of logits at a time: never a [B, T, V] tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import LinearCrossEntropyOptions, functional

CHUNK_TOKENS = 256
"""So many rows of logits at a time; in float32 they should stay near the cores."""
Head = Callable[[Tensor], Tensor]


def token_losses(head: Head, inputs_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Return the loss of each token, in nats: float32 [N].

    Args:
        head: Turns inputs into logits.
        inputs_ND: Last hidden states, or logits where the head changes nothing.
        labels_N: The token that comes next.
    """
    if _is_hooked(head):  # ranks that call it unequally often would wait for each other
        inputs_ND, head = head(inputs_ND), nn.Identity()
    chunks = zip(
        torch.split(inputs_ND, CHUNK_TOKENS), torch.split(labels_N, CHUNK_TOKENS), strict=True
    )
    return torch.cat(
        [
            functional.cross_entropy(head(inputs).float(), labels, reduction="none")
            for inputs, labels in chunks
        ]
    )


def total_loss(head: Head, inputs_ND: Tensor, labels_N: Tensor) -> Tensor:
    """Return the sum of `token_losses`, and keep no logits for the backward pass where that goes.

    Args: As above.
    """
    if not (len(labels_N) and _is_plain_linear(head, inputs_ND)):
        return token_losses(head, inputs_ND, labels_N).sum()
    assert isinstance(head, nn.Linear)
    return functional.linear_cross_entropy(
        inputs_ND,
        head.weight,
        labels_N,
        linear_bias=head.bias,
        reduction="sum",
        options=LinearCrossEntropyOptions(batch_chunk_size=CHUNK_TOKENS, chunking_method=None),
    )


def _is_plain_linear(head: Head, inputs_ND: Tensor) -> bool:
    """Say whether a head is one matrix that is here as a whole, with nothing hung onto it.

    ZeRO-3 brings it here when the head is called, and by a collective if it is so much as looked at
    before; adapters do their work in a call.
    """
    if type(head) is not nn.Linear or _is_hooked(head):
        return False
    return type(head.weight) is nn.Parameter and head.weight.dtype == inputs_ND.dtype


def _is_hooked(head: Head) -> bool:
    """Say whether something is done around a call of a head, such as ZeRO-3's collectives."""
    if not isinstance(head, nn.Module):
        return False
    return any(part._forward_pre_hooks or part._forward_hooks for part in head.modules())
