"""The noise under transformers' Trainer and TRL's: measured where the first layer reads it."""

import copy
import math

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DataCollatorWithFlattening,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from neft_ray import NoiseCallback
from neft_ray.config.trial import ModelConfig
from neft_ray.model import load_model
from neft_ray.noise import EmbeddingNoise, NoiseError, following

ALPHA = 5.0
LENGTHS = (40, 9, 25, 33)
ROWS = [{"input_ids": torch.arange(5, 5 + n), "labels": torch.arange(5, 5 + n)} for n in LENGTHS]


def base():
    return load_model(ModelConfig(path="builtin:base"))


def padded(rows):
    """Right-padded, with a mask."""
    ids = pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones_like(row["input_ids"]) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


class Ear:
    """Hears what was added to the embeddings in every forward of a model: (training, [B, T, d])."""

    def __init__(self, model):
        self.heard, self._ids, self._embedding = [], None, model.get_input_embeddings()
        self._embedding.register_forward_pre_hook(self._remember)
        model.get_decoder().layers[0].register_forward_pre_hook(self._hear)

    def _remember(self, module, args):
        self._ids, self._training = args[0], module.training

    def _hear(self, module, args):
        added = args[0].detach() - self._embedding.weight[self._ids].detach()
        self.heard.append((self._training, added))

    @property
    def in_training(self):
        return [added for training, added in self.heard if training]


class Interrupt(TrainerCallback):
    """Ends the first training as Ctrl-C does, at an event; later ones go on."""

    def __init__(self, event):
        setattr(self, event, self._interrupt)
        self.was = False

    def _interrupt(self, *args, **given):
        if not self.was:
            self.was = True
            raise KeyboardInterrupt


def make(folder, callbacks, model, **options):
    """Return a Trainer of one step on all rows, which does not change the model's weights."""
    given = {"per_device_train_batch_size": 4, "max_steps": 1, "save_strategy": "no", **options}
    arguments = TrainingArguments(
        folder, report_to=[], use_cpu=True, disable_tqdm=True, learning_rate=0.0, **given
    )
    return Trainer(
        **{"model" if isinstance(model, torch.nn.Module) else "model_init": model},
        args=arguments,
        train_dataset=ROWS,
        eval_dataset=ROWS,
        data_collator=padded,
        callbacks=callbacks,
    )


def relative(piece, alpha=ALPHA):
    """The norm of one sequence's noise over the paper's expectation."""
    return piece.norm().item() * math.sqrt(3) / alpha


@pytest.fixture
def announced(monkeypatch):
    """The sequences of every forward that was noised, as the noise was told them."""
    told, announce = [], EmbeddingNoise.announce

    def tell(self, segments):
        told.append(segments.parts)
        announce(self, segments)

    monkeypatch.setattr(EmbeddingNoise, "announce", tell)
    return told


def hooks(model):
    return len(model._forward_hooks) + len(model._forward_pre_hooks)


# What is added


def test_each_padded_row_gets_the_papers_norm_and_its_padding_nothing(tmp_path):
    model = base()
    ear = Ear(model)
    make(tmp_path, [NoiseCallback(ALPHA)], model).train()
    (added,) = ear.in_training
    lengths = [int(row.abs().sum(-1).count_nonzero()) for row in added]
    assert sorted(lengths) == sorted(LENGTHS)
    for row, length in zip(added, lengths, strict=True):
        assert relative(row[:length]) == pytest.approx(1, abs=0.06)
        assert row[length:].eq(0).all()


def test_each_document_of_a_flattened_batch_gets_the_papers_norm(tmp_path, announced):
    model = base()
    ear = Ear(model)
    trainer = make(tmp_path, [NoiseCallback(ALPHA)], model)
    trainer.data_collator = DataCollatorWithFlattening()
    trainer.train()
    (added,), (parts,) = ear.in_training, announced
    assert added.shape[:2] == (1, sum(LENGTHS))
    assert sorted(part.length for part in parts) == sorted(LENGTHS)
    for part in parts:
        piece = added[0, part.start : part.start + part.length]
        assert relative(piece) == pytest.approx(1, abs=0.1)


def test_micro_batches_of_a_step_and_steps_have_noise_of_their_own(tmp_path):
    model = base()
    ear = Ear(model)
    options = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 2}
    trainer = make(tmp_path, [NoiseCallback(ALPHA)], model, **options)
    trainer.train_dataset = [ROWS[0]] * 4
    trainer.train()
    seen = torch.stack([added.flatten() for added in ear.in_training])
    assert len(seen) == 4
    correlations = torch.corrcoef(seen) - torch.eye(4)
    assert correlations.abs().max() < 0.06
    assert [relative(row) for row in seen] == pytest.approx([1] * 4, abs=0.06)


def test_a_resumed_training_goes_on_with_the_noise_of_the_uninterrupted_one(tmp_path):
    options = {"max_steps": 3, "per_device_train_batch_size": 1, "save_strategy": "steps",
               "save_steps": 1, "gradient_accumulation_steps": 2}  # fmt: skip
    ears = []
    for resume in (None, str(tmp_path / "checkpoint-2")):
        model = base()
        ears.append(Ear(model))
        trainer = make(tmp_path, [NoiseCallback(ALPHA)], model, **options)
        trainer.train(resume_from_checkpoint=resume)
    whole, resumed = (ear.in_training for ear in ears)
    assert (len(whole), len(resumed)) == (6, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], resumed, strict=True))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_activations_are_recomputed_with_the_same_noise(tmp_path, reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = base()
        options = {"gradient_checkpointing": checkpointing}
        if checkpointing:
            options["gradient_checkpointing_kwargs"] = {"use_reentrant": reentrant}
        trainer = make(tmp_path, [NoiseCallback(ALPHA)], model, max_grad_norm=0, **options)
        seen = {}

        class Look(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, model=None, seen=seen, **given):
                seen["gradient"] = model.get_input_embeddings().weight.grad.clone()

        trainer.add_callback(Look())
        trainer.train()
        gradients.append(seen["gradient"])
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-7)


def test_evaluation_is_clean_and_what_was_measured_is_logged(tmp_path):
    model = base()
    ear = Ear(model)
    options = {"eval_strategy": "steps", "eval_steps": 1, "logging_steps": 1, "max_steps": 2}
    trainer = make(tmp_path, [NoiseCallback(ALPHA)], model, **options)
    trainer.train()
    evaluated = [added for training, added in ear.heard if not training]
    assert evaluated and all(added.eq(0).all() for added in evaluated)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["noise_alpha_measured"] for entry in logged] == pytest.approx(
        [ALPHA] * 2, rel=1e-3
    )


# When it is there


@pytest.mark.parametrize(
    "event", ["on_step_begin", "on_pre_optimizer_step", "on_step_end", "on_evaluate"]
)
def test_an_interrupted_training_leaves_nothing_behind_and_the_next_is_noised_once(tmp_path, event):
    model = base()
    ear = Ear(model)
    before = hooks(model)
    options = {"eval_strategy": "steps", "eval_steps": 1}
    trainer = make(tmp_path, [NoiseCallback(ALPHA), Interrupt(event)], model, **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert hooks(model) == before
    ear.heard.clear()
    trainer.train()
    (added,) = ear.in_training
    assert relative(added) == pytest.approx(math.sqrt(len(LENGTHS)), rel=0.05)
    assert hooks(model) == before
    assert "training_step" not in vars(trainer)


def test_an_error_inside_a_step_leaves_no_hook(tmp_path):
    model = base()
    before = hooks(model)
    trainer = make(tmp_path, [NoiseCallback(ALPHA)], model)
    trainer.compute_loss = lambda *args, **given: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert hooks(model) == before


def test_after_an_interruption_a_training_without_the_callback_is_clean(tmp_path):
    model = base()
    ear = Ear(model)
    noise = NoiseCallback(ALPHA)
    trainer = make(tmp_path, [noise, Interrupt("on_step_end")], model)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.remove_callback(noise)
    ear.heard.clear()
    trainer.train()
    assert ear.in_training and all(added.eq(0).all() for added in ear.in_training)


def test_a_search_over_alpha_varies_alpha(tmp_path):
    ears, alphas = [], iter([(15.0, 15.0), (10.0, 10.0)])

    def model_init():
        model = base()
        ears.append(Ear(model))
        return model

    trainer = make(tmp_path, [NoiseCallback(ALPHA)], model_init)
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"neftune_noise_alpha": trial.suggest_float("a", *next(alphas))},
        backend="optuna",
        n_trials=2,
    )
    measured = [
        relative(added, 1) / math.sqrt(len(LENGTHS)) for ear in ears for added in ear.in_training
    ]
    assert measured == pytest.approx([15, 10], rel=0.05)


# What is refused


def test_a_model_that_is_noised_already_is_refused(tmp_path):
    trainer = make(tmp_path, [NoiseCallback(ALPHA)], base(), neftune_noise_alpha=5.0)
    with pytest.raises(NoiseError, match="leave neftune_noise_alpha unset"):
        trainer.train()


def test_an_encoder_decoder_is_refused_before_a_step(tmp_path):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=100, **sizes))
    with pytest.raises(NoiseError, match="encoder-decoder"):
        make(tmp_path, [NoiseCallback(ALPHA)], model).train()


def test_it_says_so_where_no_trainer_calls_it(tmp_path):
    arguments = TrainingArguments(tmp_path, use_cpu=True, report_to=[])
    with pytest.raises(NoiseError, match="noisy_embeddings"):
        NoiseCallback(ALPHA).on_train_begin(arguments, None, None)


# TRL


@pytest.mark.parametrize("packing", [False, True])
def test_under_sfttrainer_every_sequence_gets_the_papers_norm(
    tmp_path, tokenizer, announced, packing
):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    texts = ["Who sold the lamp?" * n for n in (1, 3, 2, 1)]
    arguments = SFTConfig(
        tmp_path, packing=packing, max_length=64, max_steps=1, per_device_train_batch_size=4,
        learning_rate=0.0, report_to=[], use_cpu=True, bf16=False, save_strategy="no",
        disable_tqdm=True, padding_free=packing,
    )  # fmt: skip
    model = base()
    ear = Ear(model)
    trainer = SFTTrainer(
        model, args=arguments, train_dataset=Dataset.from_list([{"text": t} for t in texts]),
        processing_class=tokenizer, callbacks=[NoiseCallback(ALPHA)],
    )  # fmt: skip
    trainer.train()
    (added,), (parts,) = ear.in_training, announced
    lengths = sorted(len(tokenizer(text + tokenizer.eos_token)["input_ids"]) for text in texts)
    assert sorted(part.length for part in parts) == lengths
    for part in parts:
        piece = added[part.row, part.start : part.start + part.length]
        assert relative(piece) == pytest.approx(1, abs=0.1)


def test_alone_it_is_the_same_noise_as_following(tmp_path):
    from neft_ray import noisy_embeddings

    model, inputs = base().train(), padded(ROWS)
    ear = Ear(model)
    with noisy_embeddings(model, alpha=ALPHA, seed=3):
        model(**inputs)
    with following(EmbeddingNoise(ALPHA, seed=3), model):
        model(**inputs)
    model(**inputs)
    ours, theirs, after = ear.in_training
    assert torch.equal(ours, theirs) and ours.any() and not after.any()
