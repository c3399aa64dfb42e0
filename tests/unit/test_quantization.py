"""Base weights in 4 bits under adapters: what is held, trained, written, exported and refused."""

import sys

import pytest
import torch

from neft_ray.config.load import parse_sweep
from neft_ray.errors import UserError
from neft_ray.export import _tuned_model
from neft_ray.memory.predict import Predictor
from neft_ray.model import four_bits, load_model
from neft_ray.strategy import checks
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint, stored
from tests.unit.config_files import EXAMPLE
from tests.unit.trial_runs import random_data, run_steps, small_config

CONFIG = small_config({"model.quantization": "nf4", "model.lora.rank": 4})
TOKENS = torch.arange(1, 41).view(2, 20)


@torch.no_grad()
def logits_of(model):
    return model(input_ids=TOKENS).logits


@pytest.fixture(scope="module")
def trained():
    """An engine after a few steps, with what it was before them, and their metrics."""
    engine = build_engine(CONFIG, BaseModels(), torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in engine.plain.model.named_parameters()}
    return engine, before, run_steps(engine, random_data(), CONFIG)


def test_the_layers_are_in_four_bits_and_the_rest_is_not(trained):
    sizes = {name: (p.dtype, p.numel()) for name, p in trained[0].plain.model.named_parameters()}
    whole = dict(load_model(small_config().model).named_parameters())
    layers = {name: size for name, size in sizes.items() if "base_layer" in name}
    assert layers and all(dtype is torch.uint8 for dtype, _ in layers.values())
    for name, (_, numel) in layers.items():
        plain = name.removeprefix("base_model.model.").replace("base_layer.", "")
        assert numel == whole[plain].numel() / 2, "two weights in a byte"
    rest = {dtype for name, (dtype, _) in sizes.items() if name not in layers}
    assert rest == {torch.float32}


def test_weights_are_those_of_the_file_to_within_four_bits():
    whole, packed = load_model(small_config().model), load_model(CONFIG.model)
    difference = (logits_of(whole) - logits_of(packed)).abs().mean()
    assert 0 < difference < 0.5 * logits_of(whole).std()


def test_adapters_alone_are_trained_with_noise(trained):
    engine, before, metrics = trained
    changed = {
        name
        for name, p in engine.plain.model.named_parameters()
        if not torch.equal(before[name], p)
    }
    assert changed == {name for name in before if "lora_" in name}
    assert all(it["noise_alpha"] == pytest.approx(5, rel=0.2) for it in metrics)


def test_an_evaluation_on_the_way_changes_nothing(trained):
    """On some CPUs bitsandbytes packs weights anew in evaluation."""
    engine = build_engine(CONFIG, BaseModels(), torch.device("cpu"))
    engine.plain.eval()
    logits_of(engine.plain.model)
    engine.plain.train()
    losses = [it["train_loss"] for it in run_steps(engine, random_data(), CONFIG)]
    assert losses == [it["train_loss"] for it in trained[2]]


def test_a_checkpoint_has_the_adapters_alone_and_exports_what_was_trained(trained, tmp_path):
    engine = trained[0]
    state = checkpoint.State(6, CONFIG.config_hash, {"select_loss": 1.0})
    checkpoint.save(engine, tmp_path / "checkpoints", state)
    model = _tuned_model(stored.folder_of(tmp_path / "checkpoints", 6), CONFIG, adapter=False)
    expected = logits_of(engine.plain.model.eval())
    torch.testing.assert_close(logits_of(model), expected, rtol=1e-3, atol=1e-3)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path / "model")
    assert "quantization" not in (tmp_path / "model" / "config.json").read_text()


def test_memory_is_said_to_be_unknown():
    with pytest.raises(UserError, match="not predicted"):
        Predictor(CONFIG).of(CONFIG)


def machine_problems():
    return [str(problem) for problem in checks.machine_problems(CONFIG)]


def test_this_machine_computes_in_four_bits():
    assert machine_problems() == []


def test_a_machine_without_bitsandbytes_is_refused(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    (problem,) = machine_problems()
    assert problem.startswith("model.quantization: bitsandbytes is missing; pip install neft-ray[")


def test_a_device_without_kernels_is_refused(monkeypatch):
    def quantize(*arguments, **options):
        raise RuntimeError("no kernel for this\nand more")

    monkeypatch.setattr(four_bits, "quantize_4bit", quantize)
    (problem,) = machine_problems()
    assert "bitsandbytes has no 4-bit kernels for this machine (no kernel for this)" in problem


def test_bitsandbytes_is_not_loaded_where_it_is_not_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "neft_ray.model.four_bits", None)
    assert list(checks.machine_problems(small_config())) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model.quantization=nf4"], "weights of 4 bits cannot be trained"),
        (
            ["model.quantization=nf4", "sweep.controls={small: {model.lora.rank: 4}}"],
            "weights of 4 bits cannot be trained",
        ),
        (
            ["model.quantization=nf4", "model.lora={rank: 4}", "strategy={kind: fsdp}"],
            "fsdp does not take shards of 4-bit weights",
        ),
        (["model.quantization=int3"], "model.quantization"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        parse_sweep(EXAMPLE, "x.yaml", options)


def test_with_adapters_it_is_taken():
    options = ["model.quantization=nf4", "model.lora={rank: 4}", "strategy={kind: ddp}"]
    assert parse_sweep(EXAMPLE, "x.yaml", options).model.quantization == "nf4"
