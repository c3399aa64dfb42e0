"""Losses from full logits, the way of the textbook, to which those of SupervisedLM are compared."""

import torch
from torch.nn import functional

from tests.unit.trial_runs import VOCABULARY, random_data

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "initializer_range": 0.2,
}
DATA = random_data()


def plain_losses(model, batch) -> torch.Tensor:
    """Row by row from full logits, the way of the textbook."""
    sums = []
    for tokens, targets, length in zip(
        batch.tokens_BT, batch.targets_BT, batch.lengths, strict=True
    ):
        logits = model(input_ids=tokens[None, :length]).logits[0, :-1].float()
        each = functional.cross_entropy(logits, tokens[1:length], reduction="none")
        sums.append(each[targets[1:length]].sum())
    return torch.stack(sums)


def loss_and_gradient(model, compute):
    model.zero_grad()
    losses = compute()
    losses.sum().backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])
