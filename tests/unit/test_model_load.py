"""Models load in float32 or are refused with the reason, before their weights are read."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError
from neft_ray.model import check_model, load_model, load_tokenizer, resolve_path


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
