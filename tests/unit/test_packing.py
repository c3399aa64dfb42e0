"""Packed rows: the losses and gradients of each sequence alone, for every attention that can."""

import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from neft_ray.data.batches import collate, filler, pack
from neft_ray.errors import UserError
from neft_ray.model import SupervisedLM
from tests.unit.plain_losses import DATA, SIZES, loss_and_gradient, plain_losses
from tests.unit.trial_runs import VOCABULARY

ROWS = [3, 0, 7, 5]
LONGEST = max(DATA.length(row) for row in ROWS)
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "biased_head": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2),
    "own_logits": GraniteConfig(**SIZES, logits_scaling=7.0),
    "query_norm": Qwen3Config(**SIZES),
    "wide_window": MistralConfig(**SIZES, sliding_window=LONGEST),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=LONGEST),
}


def build(config, packed=True) -> SupervisedLM:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    return SupervisedLM(model, packed=packed)


def call(model, batch, **options):
    return model(batch.tokens_BT, batch.targets_BT, batch.packed_lengths, **options)


@pytest.mark.parametrize("kind", CONFIGS)
def test_losses_and_gradients_are_those_of_each_sequence_alone(kind):
    model, batch, rows = build(CONFIGS[kind]), pack(DATA, ROWS), collate(DATA, ROWS)
    losses, gradient = loss_and_gradient(model, lambda: call(model, batch))
    total, cheap_gradient = loss_and_gradient(model, lambda: call(model, batch, per_row=False))
    apart = build(CONFIGS[kind], packed=False).model
    expected, expected_gradient = loss_and_gradient(apart, lambda: plain_losses(apart, rows))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(total, expected.sum(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cheap_gradient, expected_gradient, rtol=1e-4, atol=1e-4)


def test_recomputed_activations_know_the_sequences_too():
    batch = pack(DATA, ROWS)
    gradients = []
    for recomputes in (False, True):
        model = build(CONFIGS["llama"]).train()
        if recomputes:
            model.model.activation_checkpointing_enable({"use_reentrant": False})
        gradients.append(loss_and_gradient(model, lambda m=model: call(m, batch))[1])
    torch.testing.assert_close(*gradients)


def test_a_filler_among_packed_rows_loses_nothing_and_has_a_gradient():
    model = build(CONFIGS["llama"])
    for per_row in (True, False):
        loss = call(model, filler(3, is_packed=True), per_row=per_row)
        loss.sum().backward()
        assert loss.sum() == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_padded_rows_run_as_before():
    rows, plain = collate(DATA, ROWS), build(CONFIGS["llama"], packed=False)
    torch.testing.assert_close(call(build(CONFIGS["llama"]), rows), call(plain, rows))


def test_answers_are_those_of_the_ordinary_attention():
    prompts = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]])
    options = {"attention_mask": (prompts > 0).long(), "max_new_tokens": 8, "do_sample": False}
    packed, plain = build(CONFIGS["llama"]), build(CONFIGS["llama"], packed=False)
    expected = plain.generate(prompts, pad_token_id=0, **options)
    assert torch.equal(packed.generate(prompts, pad_token_id=0, **options), expected)
    batch = pack(DATA, ROWS)
    assert torch.isfinite(call(packed, batch)).all(), "and packed rows go on afterwards"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Gemma2Config(**SIZES, attn_logit_softcapping=5.0), "more than a causal mask"),
        (MistralConfig(**SIZES, sliding_window=LONGEST - 1), "sees"),
    ],
    ids=["capped_attention", "narrow_window"],
)
def test_what_cannot_be_packed_is_refused_with_the_remedy(config, reason):
    with pytest.raises(UserError, match=rf"{reason}.*write batch.kind: bucketed"):
        call(build(config), pack(DATA, ROWS))


def test_a_model_that_mixes_sequences_is_found_out(monkeypatch):
    import neft_ray.model.packing as packing

    whole = packing._attention
    monkeypatch.setattr(
        packing, "_attention", lambda *given, packed_lengths=None, **more: whole(*given, **more)
    )
    with pytest.raises(UserError, match="sequences in one row see each other"):
        call(build(CONFIGS["llama"]), pack(DATA, ROWS))
