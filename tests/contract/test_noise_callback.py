"""What NoiseCallback adds under transformers' Trainer and TRL's, where the first layer reads it."""

import copy

import pytest
import torch
from transformers import DataCollatorWithFlattening, TrainerCallback

from neft_ray import NoiseCallback
from neft_ray.noise import EmbeddingNoise, following
from tests.contract.trainer_runs import ALPHA, LENGTHS, ROWS, Ear, base, make, padded, relative


@pytest.fixture
def announced(monkeypatch):
    """The sequences of every forward that was noised, as the noise was told them."""
    told, announce = [], EmbeddingNoise.announce

    def tell(self, segments):
        told.append(segments.parts)
        announce(self, segments)

    monkeypatch.setattr(EmbeddingNoise, "announce", tell)
    return told


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
