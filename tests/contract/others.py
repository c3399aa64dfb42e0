"""Small models and batches for the tests that set our noise beside others'."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

ALPHA, WIDTH = 5.0, 64


def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "vocab_size": 100, "max_position_embeddings": 1100}
    return LlamaForCausalLM(LlamaConfig(**sizes, use_cache=False)).train()


def tokens(rows, columns):
    return torch.arange(rows * columns).reshape(rows, columns) % 99 + 1


def added_to(embedding, ids) -> torch.Tensor:
    """What the hooks of an embedding add in a training forward."""
    return (embedding(ids) - embedding.weight[ids]).detach()
