"""A frozen embedding stays as it is, bit by bit, while noise acts on what it returns."""

import pytest
import torch

from neft_ray.config.load import parse_sweep
from neft_ray.errors import UserError
from neft_ray.export import _tuned_model
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint, stored
from tests.unit.config_files import EXAMPLE
from tests.unit.trial_runs import random_data, run_steps, small_config

CONFIG = small_config({"model.freeze_embedding": True, "noise.alpha": 10.0})


def run(config, models=None):
    engine = build_engine(config, models or BaseModels(), torch.device("cpu"))
    before = {name: p.detach().clone() for name, p in engine.plain.model.named_parameters()}
    metrics = run_steps(engine, random_data(), config)
    after = dict(engine.plain.model.named_parameters())
    return engine, metrics, {name for name in before if not torch.equal(before[name], after[name])}


def test_the_embedding_is_unchanged_bitwise_and_the_rest_is_trained():
    engine, _, changed = run(CONFIG)
    embedding = {n for n, p in engine.plain.model.named_parameters() if "embed_tokens" in n}
    assert embedding and changed == set(dict(engine.plain.model.named_parameters())) - embedding
    assert run(small_config())[2] >= embedding, "it is trained where it is not frozen"


def test_noise_acts_all_the_same():
    noisy, plain = run(CONFIG)[1], run(CONFIG.with_values({"noise.alpha": 0.0}))[1]
    assert all(it["noise_alpha"] == pytest.approx(10, rel=0.2) for it in noisy)
    assert noisy[0]["train_loss"] != plain[0]["train_loss"]


def test_the_next_trial_of_a_slot_trains_it_again():
    models = BaseModels()
    run(CONFIG, models)
    assert any("embed_tokens" in name for name in run(small_config(), models)[2])


def test_it_is_exported_as_it_was_trained(tmp_path):
    engine, _, _ = run(CONFIG)
    state = checkpoint.State(6, CONFIG.config_hash, {"select_loss": 1.0})
    checkpoint.save(engine, tmp_path, state)
    model = _tuned_model(stored.folder_of(tmp_path, 6), CONFIG, adapter=False)
    for (name, ours), (_, theirs) in zip(
        model.named_parameters(), engine.plain.model.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


FROZEN = "model.freeze_embedding=true"


@pytest.mark.parametrize(
    "options",
    [
        ["model.lora={rank: 4}", FROZEN],
        ["sweep.space={model.lora.rank: {choice: [4, 8]}}", FROZEN],
        [
            "sweep.control={model.freeze_embedding: true}",
            "sweep.space={noise.alpha: {choice: [5]}, model.lora.rank: {choice: [4, 8]}}",
        ],
    ],
)
def test_with_adapters_it_is_refused(options):
    with pytest.raises(UserError, match="with adapters the embedding is not trained anyway"):
        parse_sweep(EXAMPLE, "x.yaml", options)


def test_an_arm_of_adapters_beside_one_of_a_frozen_embedding_is_taken():
    changes = {
        "sweep.space": "{noise.alpha: {choice: [5]}}",
        "sweep.control": "{noise.alpha: 0, model.freeze_embedding: true}",
        "sweep.controls": "{adapters: {model.lora.rank: 4}}",
    }
    parse_sweep(EXAMPLE, "x.yaml", [f"{key}={value}" for key, value in changes.items()])
