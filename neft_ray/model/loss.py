"""A causal LM whose forward returns losses, computed where they are supervised and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neft_ray.model.compiled import compile_layers, uncompiled
from neft_ray.model.head import token_losses, total_loss
from neft_ray.model.packing import (
    ATTENTION,
    Lengths,
    arguments,
    check_packing,
    use_packed_attention,
)


class SupervisedLM(nn.Module):
    """A causal LM whose forward returns losses, with logits only where they are needed.

    Attributes:
        model: The Hugging Face model, its parameters in float32.
        dtype: What matrix multiplications are computed in: float32 as the parameters, or autocast.

    Where parameters are sharded, this module is the one to wrap as the root: its forward uses the
    output layer without the model around it.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: str = "float32",
        packed: bool = False,
        compiled: bool = False,
    ) -> None:
        """Wrap a model.

        Args:
            model: A causal language model.
            dtype: See above.
            packed: Whether its micro-batches are packed.
            compiled: Whether its layers are compiled where gradients are wanted.

        Raises:
            UserError: If they cannot be.
        """
        super().__init__()
        self.model = model
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.packed = packed
        self._direct_head: bool | None = None
        if packed:
            use_packed_attention(model, compiled)
        self._compiled = compiled
        if compiled:
            compile_layers(model)

    @property
    def embedding(self) -> nn.Module:
        """The module that turns token ids into embeddings."""
        return self.model.get_input_embeddings()  # type: ignore[no-any-return, operator]

    def forward(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        lengths: Lengths | None = None,
        per_row: bool = True,
    ) -> Tensor:
        """Return the sum of token losses of each row, or of all, in nats.

        Args:
            tokens_BT: Token ids, right-padded, or one row of sequences one after another.
            targets_BT: True where a token is a target. The first of a sequence never is.
            lengths: Of the sequences in a packed row; None where rows are padded.
            per_row: False: the sum over all rows, which is cheaper.

        Returns:
            float32 [B], one per sequence where they are packed; [] where `per_row` is false.
        """
        device = tokens_BT.device
        if self._direct_head is None:  # parameters may be in shards before the first forward
            with uncompiled(self._compiled):
                self._direct_head = _head_is_plain(self.model, device)
                if self.packed:
                    check_packing(self.model, device)
        plainly = self._compiled and not torch.is_grad_enabled()
        with self._autocast(device), uncompiled(plainly):
            return self._losses(tokens_BT, targets_BT, lengths, per_row)

    def generate(self, input_ids: Tensor, **options: Any) -> Tensor:
        """Return what the Hugging Face model's `generate` does with its options: [B, T + new].

        Where parameters are sharded, this method is to be wrapped as the forward is.
        """
        ordinary = self._ordinary_attention()
        with self._autocast(input_ids.device), ordinary, uncompiled(self._compiled):
            generated: Tensor = self.model.generate(  # type: ignore[operator]
                input_ids=input_ids, **options
            )
        return generated

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)

    @contextmanager
    def _ordinary_attention(self) -> Iterator[None]:
        """Attend with a cache and padding on the left, which packed attention does not know."""
        if not self.packed:
            yield
            return
        self.model.set_attn_implementation("sdpa")  # type: ignore[operator]
        try:
            yield
        finally:
            self.model.set_attn_implementation(ATTENTION)  # type: ignore[operator]

    def _losses(
        self, tokens_BT: Tensor, targets_BT: Tensor, lengths: Lengths | None, per_row: bool
    ) -> Tensor:
        rows_N, before_N = targets_BT[:, 1:].nonzero(as_tuple=True)
        labels_N = tokens_BT[rows_N, before_N + 1]
        given, head = arguments(tokens_BT, lengths), nn.Identity()
        if self._direct_head:
            found_BTX = self.model.get_decoder()(**given).last_hidden_state  # type: ignore[operator]
            head = self.model.get_output_embeddings()  # type: ignore[operator]
        else:
            found_BTX = self.model(**given).logits
        inputs_NX = found_BTX[rows_N, before_N]
        if not per_row:
            return total_loss(head, inputs_NX, labels_N)
        losses_N, num_rows = token_losses(head, inputs_NX, labels_N), len(tokens_BT)
        if lengths is not None:
            ends_R = torch.tensor(lengths, device=tokens_BT.device).cumsum(0)
            rows_N, num_rows = torch.searchsorted(ends_R, before_N, right=True), len(lengths)
        return losses_N.new_zeros(num_rows).index_add(0, rows_N, losses_N)


@torch.no_grad()
def _head_is_plain(model: Any, device: torch.device) -> bool:
    """Say whether logits are the output embedding of the last hidden state and nothing more.

    Some models scale or cap their logits; for these the full computation is kept.
    """
    body, head = getattr(model, "get_decoder", lambda: None)(), model.get_output_embeddings()
    if body is None or head is None:
        return False
    training = model.training
    model.eval()
    probe = torch.arange(1, 5).unsqueeze(0).to(device)
    hidden = body(input_ids=probe, use_cache=False).last_hidden_state
    # Bitwise: a cap is nearly no change for the small logits of an untrained model.
    same = torch.equal(head(hidden), model(input_ids=probe, use_cache=False).logits)
    model.train(training)
    return same
