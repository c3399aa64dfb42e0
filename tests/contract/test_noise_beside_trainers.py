"""What is wrong with noise in others' trainers, run as installed, and what ours does instead."""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from neft_ray.config.trial import ModelConfig
from neft_ray.model import load_model
from neft_ray.noise import EmbeddingNoise, following
from tests.contract.others import ALPHA, WIDTH, added_to, llama, tokens
from tests.unit.trial_runs import build_engine, random_data, run_steps, small_config


class Probe(TrainerCallback):
    """Writes down the α that the embedding of the model in training has at every step."""

    def __init__(self, then=None):
        self.alphas, self._then = [], then

    def on_step_begin(self, args, state, control, model=None, **rest):
        embedding = model.get_input_embeddings()
        added = added_to(embedding, tokens(4, 99))
        self.alphas.append(added.square().mean().mul(3 * 99 * WIDTH).sqrt().item())
        if self._then:
            self._then()


def trainer(folder, alpha, callback, **options):
    """One step of transformers' Trainer."""
    rows = [{"input_ids": row, "labels": row} for row in tokens(4, 12)]
    arguments = TrainingArguments(
        folder,
        neftune_noise_alpha=alpha,
        max_steps=1,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    given = options or {"model": llama()}
    return Trainer(
        args=arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback], **given
    )


# 1.


@pytest.mark.parametrize("base", [5.0, None])
def test_a_search_over_alpha_varies_alpha(tmp_path, base):
    probe = Probe()
    searched = trainer(tmp_path, base, probe, model_init=llama)
    searched.hyperparameter_search(
        hp_space=lambda trial: {"neftune_noise_alpha": trial.suggest_categorical("a", [15.0])},
        backend="optuna",
        n_trials=1,
    )
    assert searched.args.neftune_noise_alpha == 15.0
    assert probe.alphas == [pytest.approx(base or 0.0, abs=0.1)]
    for alpha in (base or 0.0, 15.0):
        config = small_config({"noise.alpha": alpha})
        (metrics,) = run_steps(build_engine(config), random_data(), config, until=1)
        assert metrics.get("noise_alpha_measured", 0.0) == pytest.approx(alpha, rel=1e-4)


# 5.


def test_an_interrupted_training_leaves_no_hook_behind(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    probe = Probe(then=interrupt)
    interrupted = trainer(tmp_path, ALPHA, probe)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    embedding = interrupted.model.get_input_embeddings()
    assert len(embedding._forward_hooks) == 1
    probe._then = None
    interrupted.train()
    assert probe.alphas == pytest.approx([ALPHA, ALPHA * math.sqrt(2)], rel=0.05)  # added twice
    with pytest.raises(AttributeError, match="neftune_noise_alpha"):
        embedding(tokens(1, 4))
    model = llama()
    with pytest.raises(KeyboardInterrupt), following(EmbeddingNoise(ALPHA), model):
        model(tokens(1, 4))
        interrupt()
    assert added_to(model.get_input_embeddings(), tokens(1, 4)).eq(0).all()


# 7.


@pytest.mark.parametrize("whose", ["theirs", "ours"])
def test_the_reference_pass_of_preference_training_is_clean(tmp_path, tokenizer, whose):
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    row = {"prompt": "Who sold the lamp?", "chosen": " Ann.", "rejected": " Bob sold it."}
    arguments = DPOConfig(
        tmp_path,
        neftune_noise_alpha=ALPHA if whose == "theirs" else None,
        max_steps=1,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    trained = DPOTrainer(
        load_model(ModelConfig(path="builtin:base")),
        args=arguments,
        train_dataset=Dataset.from_list([row] * 2),
        processing_class=tokenizer,
        peft_config=LoraConfig(target_modules=["q_proj"]),
    )
    model, seen, ids = trained.model, {}, []
    embedding, layer = model.get_input_embeddings(), model.get_decoder().layers[0]
    embedding.register_forward_pre_hook(lambda module, args: ids.append(args[0]))

    def look(module, args):
        mean_norm = (args[0] - embedding.weight[ids[-1]]).norm().item() / math.sqrt(4)
        seen["training" if torch.is_grad_enabled() else "reference"] = mean_norm

    layer.register_forward_pre_hook(look)
    with following(EmbeddingNoise(ALPHA), model) if whose == "ours" else nullcontext():
        trained.train()
    norm = pytest.approx(ALPHA / math.sqrt(3), rel=0.05)
    assert seen == {"training": norm, "reference": norm if whose == "theirs" else 0.0}
