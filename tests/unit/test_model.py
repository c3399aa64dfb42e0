"""The loss equals the plain computation for every model; unusable models are refused."""

import copy
import json
import shutil
from pathlib import Path

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
from neft_ray.errors import UserError
from neft_ray.model import SupervisedLM, check_model, load_model, load_tokenizer, resolve_path
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
DATA = random_data()


def build(config) -> SupervisedLM:
    torch.manual_seed(0)
    return SupervisedLM(AutoModelForCausalLM.from_config(config).eval())


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


@pytest.fixture
def folder(tmp_path):
    """A copy of the built-in model to damage."""
    return Path(shutil.copytree(resolve_path("builtin:base"), tmp_path / "model"))


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def split_weights(folder) -> list[Path]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="500KB")
    return sorted(folder.glob("*.safetensors"))


def index_of(folder) -> Path:
    split_weights(folder)
    return folder / "model.safetensors.index.json"


def use_pickle(folder):
    state = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def own_code(folder):
    """A model whose code comes with it, and leaves a trace when it runs."""
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    edit_json(folder / "config.json", auto_map=auto, model_type="own")
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


def refusal(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


def test_the_builtin_model_passes_and_loads_in_float32_without_a_cache(tokenizer):
    config = ModelConfig(path="builtin:base")
    check_model(config, tokenizer)
    model = load_model(config)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert not model.config.use_cache


def test_weights_in_half_precision_or_in_parts_load_as_float32(folder, tokenizer):
    AutoModelForCausalLM.from_pretrained(folder).bfloat16().save_pretrained(folder)
    config = ModelConfig(path=str(folder))
    half = load_model(config)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert len(split_weights(folder)) == 2
    check_model(config, tokenizer)
    for ours, theirs in zip(load_model(config).parameters(), half.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda f: (f / "config.json").unlink(), "the model cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{"), "the model cannot be loaded"),
        (lambda f: (f / "model.safetensors").unlink(), "no safetensors weights"),
        (use_pickle, "no safetensors weights; .*allow_pickle"),
        (lambda f: truncate(f / "model.safetensors"), "truncated or damaged"),
        (lambda f: truncate(split_weights(f)[1]), "model-00002.*: is missing, truncated"),
        (lambda f: split_weights(f)[1].unlink(), "model-00002.*: is missing, truncated"),
        (lambda f: truncate(index_of(f)), "safetensors.index.json: is truncated or damaged"),
        (lambda f: edit_json(index_of(f), weight_map=[]), "index.json: is truncated or damaged"),
        (lambda f: edit_json(f / "config.json", vocab_size=1000), "tokenizer has 1024 tokens"),
        (lambda f: edit_json(f / "config.json", model_type="t5"), "t5 is no causal language"),
        (own_code, "custom code"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_before_it_is_loaded(
    folder, tokenizer, damage, message
):
    damage(folder)
    config = ModelConfig(path=str(folder))
    with pytest.raises(UserError, match=message):
        check_model(config, tokenizer)
    assert str(folder) in refusal(load_model, config)
    assert not (folder / "ran").exists()


def test_weights_of_fewer_layers_are_refused_with_what_they_lack(folder):
    edit_json(folder / "config.json", num_hidden_layers=4)
    message = refusal(load_model, ModelConfig(path=str(folder)))
    assert "lack 9 tensors, such as model.layers.3.input_layernorm.weight" in message


def test_pickle_loads_only_when_asked_for(folder, tokenizer):
    use_pickle(folder)
    config = ModelConfig(path=str(folder), allow_pickle=True)
    check_model(config, tokenizer)
    whole = load_model(ModelConfig(path="builtin:base")).state_dict()
    assert all(torch.equal(p, whole[name]) for name, p in load_model(config).state_dict().items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), "the tokenizer cannot be loaded"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "the tokenizer cannot be loaded"),
        (lambda f: (f / "tokenizer_config.json").unlink(), "no end-of-text token"),
        (lambda f: edit_json(f / "tokenizer_config.json", eos_token=None), "no end-of-text token"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(folder, damage, message):
    damage(folder)
    assert message in refusal(load_tokenizer, ModelConfig(path=str(folder)))


def test_a_tokenizer_larger_than_the_embedding_is_refused(tokenizer):
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["one more"])
    message = refusal(check_model, ModelConfig(path="builtin:base"), larger)
    assert "tokenizer has 1025 tokens" in message


@pytest.mark.parametrize("path", ["./missing", "/missing", "~/missing", "builtin:other"])
def test_a_path_that_leads_nowhere_is_named(path, tokenizer):
    assert refusal(load_model, ModelConfig(path=path)).startswith(f"{path}: no such ")
    assert refusal(load_tokenizer, ModelConfig(path=path)).startswith(f"{path}: no such ")


def test_a_hub_name_that_cannot_be_reached_is_named(tokenizer):
    config = ModelConfig(path="nobody/nothing")
    messages = [refusal(load_model, config), refusal(load_tokenizer, config)]
    messages.append(refusal(check_model, config, tokenizer))
    assert all(message.startswith("nobody/nothing: the ") for message in messages)


def test_a_real_model_loads(real_data, tokenizer):
    config = ModelConfig(path=str(real_data / "stories260k"))
    check_model(config, load_tokenizer(config))
    assert sum(p.numel() for p in load_model(config).parameters()) == 260_032
