"""When NoiseCallback is there: in one training at a time, gone after an error; what it refuses."""

import math

import pytest
from transformers import T5Config, T5ForConditionalGeneration, TrainerCallback, TrainingArguments

from neft_ray import NoiseCallback
from neft_ray.noise import NoiseError
from tests.contract.trainer_runs import ALPHA, LENGTHS, Ear, base, make, relative


class Interrupt(TrainerCallback):
    """Ends the first training as Ctrl-C does, at an event; later ones go on."""

    def __init__(self, event):
        setattr(self, event, self._interrupt)
        self.was = False

    def _interrupt(self, *args, **given):
        if not self.was:
            self.was = True
            raise KeyboardInterrupt


def hooks(model):
    return len(model._forward_hooks) + len(model._forward_pre_hooks)


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
