"""Every trial starts from the same base weights, kept in memory or mapped from the file."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from neft_ray.errors import UserError
from neft_ray.model import decoder_layers, resolve_path
from neft_ray.strategy.models import BaseModels
from tests.unit.trial_runs import small_config

LORA = {"model.lora.rank": 4}


@pytest.fixture
def half(tmp_path):
    """A copy of the built-in model whose file holds bfloat16."""
    folder = tmp_path / "half"
    shutil.copytree(resolve_path("builtin:base"), folder)
    AutoModelForCausalLM.from_pretrained(folder).bfloat16().save_pretrained(folder)
    return str(folder)


def values(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().float().clone() for name, p in model.named_parameters()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert not [name for name, p in ours.items() if not torch.equal(p, theirs[name])]


@pytest.mark.parametrize("way", ["copied", "mapped"])
def test_a_trial_leaves_nothing_to_the_next(way):
    models, config = BaseModels(), small_config(LORA)
    first = getattr(models, way)(config)
    before = values(first)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    torch.randn(10)
    assert_same(values(getattr(models, way)(config)), before)


@pytest.mark.parametrize("lora", [{}, LORA])
def test_copied_and_mapped_models_are_equal_whatever_the_dtype_of_the_file(half, lora):
    config = small_config({"model.path": half} | lora)
    assert_same(values(BaseModels().mapped(config)), values(BaseModels().copied(config)))


def test_adapters_change_no_output_before_they_are_trained_and_differ_by_seed():
    models = BaseModels()
    tokens, targets = torch.arange(1, 9).view(1, 8), torch.ones(1, 8, dtype=torch.bool)
    plain = models.copied(small_config()).eval()(tokens, targets)
    drawn = []
    for seed in (0, 1):
        model = models.copied(small_config(LORA | {"training.seed": seed})).eval()
        assert torch.equal(model(tokens, targets), plain)
        drawn.append(next(p for name, p in model.named_parameters() if "lora_A" in name))
    assert not torch.equal(*drawn)


def test_adapters_alone_are_trained_and_modules_to_save_with_them():
    config = small_config(
        LORA
        | {"model.lora.target_modules": ("q_proj",), "model.lora.modules_to_save": ("model.norm",)}
    )
    trained = {n for n, p in BaseModels().copied(config).named_parameters() if p.requires_grad}
    adapters = {name for name in trained if ".q_proj.lora_" in name}
    assert len(adapters) == 2 * len(decoder_layers(BaseModels().copied(small_config()).model))
    assert [name for name in trained - adapters if ".norm.modules_to_save." not in name] == []
    assert len(trained - adapters) == 1


def test_modules_that_are_not_there_are_an_error():
    config = small_config({"model.lora.target_modules": ("zz_proj",)})
    with pytest.raises(UserError, match=r"takes no such adapters .*zz_proj.*all-linear"):
        BaseModels().copied(config)


def test_a_file_is_not_written_to_when_a_mapped_model_changes(half):
    file = Path(half) / "model.safetensors"
    before = file.read_bytes()
    model = BaseModels().mapped(small_config({"model.path": half}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert file.read_bytes() == before


@pytest.mark.parametrize("lora", [{}, LORA])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointed_layers_run_again_in_backward_and_in_training_alone(checkpointing, lora):
    config = small_config({"model.activation_checkpointing": checkpointing} | lora)
    model, calls = BaseModels().copied(config), []
    for layer in decoder_layers(model.model):
        layer.self_attn.register_forward_pre_hook(lambda *_: calls.append(1))
    tokens, targets = torch.arange(1, 9).view(1, 8), torch.ones(1, 8, dtype=torch.bool)
    model.eval()(tokens, targets)
    num_layers = len(decoder_layers(model.model))
    calls.clear()
    model.train()(tokens, targets).sum().backward()
    assert len(calls) == (2 if checkpointing else 1) * num_layers
    calls.clear()
    model.eval()(tokens, targets).sum().backward()
    assert len(calls) == num_layers
