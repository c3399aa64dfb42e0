"""The loss equals the plain computation from full logits, for every model."""

import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
)

import neft_ray.model.head
from neft_ray.config.trial import ModelConfig
from neft_ray.data.batches import collate
from neft_ray.model import SupervisedLM, load_model
from tests.unit.plain_losses import DATA, SIZES, loss_and_gradient, plain_losses
from tests.unit.trial_runs import VOCABULARY

PLAIN = {
    "llama": LlamaConfig(**SIZES),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2),
}
CHANGED = {
    "capped": Gemma2Config(**SIZES, final_logit_softcapping=2.0),
    "divided": GraniteConfig(**SIZES, logits_scaling=7.0),
    "multiplied": Cohere2Config(**SIZES, logit_scale=0.3),
}
UNTRAINED = {**SIZES, "initializer_range": 0.002}


def build(config) -> SupervisedLM:
    torch.manual_seed(0)
    return SupervisedLM(AutoModelForCausalLM.from_config(config).eval())


@pytest.mark.parametrize("kind", [*PLAIN, *CHANGED])
def test_losses_and_gradients_are_those_of_full_logits(kind):
    model, batch = build({**PLAIN, **CHANGED}[kind]), collate(DATA, [3, 0, 7, 5])
    loss, gradient = loss_and_gradient(model, lambda: model(batch.tokens_BT, batch.targets_BT))
    expected, expected_gradient = loss_and_gradient(model, lambda: plain_losses(model.model, batch))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    scale = expected_gradient.abs().max()
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * scale.item())


@pytest.mark.parametrize("kind", [*PLAIN, *CHANGED])
def test_logits_are_computed_where_supervised_unless_the_model_changes_them(kind):
    model, batch = build({**PLAIN, **CHANGED}[kind]), collate(DATA, [3, 0, 7])
    model(batch.tokens_BT, batch.targets_BT)  # the first forward finds out which way to go
    sizes = []
    head = model.model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[:-1]))
    model(batch.tokens_BT, batch.targets_BT)
    num_targets = int(batch.targets_BT.sum())
    assert sum(size.numel() for size in sizes) == (
        num_targets if kind in PLAIN else batch.tokens_BT.numel()
    )


def test_a_cap_is_noticed_though_it_hardly_changes_the_logits_of_an_untrained_model():
    model = build(Gemma2Config(**UNTRAINED, final_logit_softcapping=30.0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=1.0)
    batch = collate(DATA, [3, 0])
    expected = plain_losses(model.model, batch)
    torch.testing.assert_close(model(batch.tokens_BT, batch.targets_BT), expected)


def test_many_targets_are_computed_in_chunks_with_the_same_result(monkeypatch):
    model, batch = build(PLAIN["llama"]), collate(DATA, list(range(8)))
    whole = model(batch.tokens_BT, batch.targets_BT)
    monkeypatch.setattr(neft_ray.model.head, "CHUNK_TOKENS", 3)
    torch.testing.assert_close(model(batch.tokens_BT, batch.targets_BT), whole)


@pytest.mark.parametrize("kind", [*PLAIN, *CHANGED])
def test_the_sum_over_all_rows_is_theirs_with_the_same_gradient(kind):
    model, batch = build({**PLAIN, **CHANGED}[kind]), collate(DATA, [3, 0, 7, 5])
    given = batch.inputs(torch.device("cpu"))
    rows, gradient = loss_and_gradient(model, lambda: model(*given))
    total, total_gradient = loss_and_gradient(model, lambda: model(*given, per_row=False))
    assert total.shape == ()
    torch.testing.assert_close(total, rows.sum())
    torch.testing.assert_close(total_gradient, gradient, rtol=1e-4, atol=1e-5)


def test_a_head_with_something_hung_onto_it_is_called_once(monkeypatch):
    """As by ZeRO-3, which brings the matrix then, and by adapters."""
    model, batch = build(PLAIN["llama"]), collate(DATA, [3, 0])
    given, calls = batch.inputs(torch.device("cpu")), []
    model(*given, per_row=False)  # the first forward finds out which way to go
    head = model.model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(neft_ray.model.head, "CHUNK_TOKENS", 3)
    called = model(*given, per_row=False)
    model(*given)
    hook.remove()
    assert len(calls) == 2, "once each, as on every other rank, however many tokens there are"
    torch.testing.assert_close(model(*given, per_row=False), called)
    assert len(calls) == 2, "the plain one is not called"


def test_rows_without_targets_lose_nothing():
    model, batch = build(PLAIN["llama"]), collate(DATA, [1, 2])
    batch.targets_BT[0] = False
    losses = model(batch.tokens_BT, batch.targets_BT)
    assert losses[0] == 0 < losses[1]
    batch.targets_BT[1] = False
    losses = model(batch.tokens_BT, batch.targets_BT)
    losses.sum().backward()
    assert losses.tolist() == [0, 0]
    total = model(batch.tokens_BT, batch.targets_BT, per_row=False)
    total.backward()
    assert total == 0


def test_padding_changes_no_loss():
    model, batch = build(PLAIN["llama"]), collate(DATA, [1, 2])
    losses = model(batch.tokens_BT, batch.targets_BT)
    wide = [functional.pad(part, (0, 20)) for part in (batch.tokens_BT, batch.targets_BT)]
    torch.testing.assert_close(model(*wide), losses)


def test_bfloat16_is_for_computing_alone():
    config = ModelConfig(path="builtin:base", dtype="bfloat16")
    model, batch = SupervisedLM(load_model(config), config.dtype), collate(DATA, [1, 2, 3])
    losses = model(batch.tokens_BT, batch.targets_BT)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses.dtype == torch.float32
    exact = plain_losses(model.model, batch)
    assert not torch.equal(losses, exact)
    torch.testing.assert_close(losses, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("training", [True, False])
def test_wrapping_a_model_leaves_its_mode(training):
    model = AutoModelForCausalLM.from_config(PLAIN["llama"]).train(training)
    assert SupervisedLM(model).model.training is training
