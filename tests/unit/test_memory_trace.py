"""A step that is traced without weights: parameters, gradients, activations, the loss head."""

import pytest

from neft_ray.errors import UserError
from neft_ray.memory.recorder import ROOT
from neft_ray.memory.trace import trace_step
from neft_ray.model import load_model
from neft_ray.strategy.models import for_training
from tests.unit.trial_runs import SHAPE, VOCABULARY, small_config

LORA = {"model.lora.rank": 4, "model.lora.modules_to_save": ["embed_tokens"]}


@pytest.mark.parametrize("values", [{}, LORA], ids=["whole", "lora"])
def test_parameters_are_those_of_the_real_model(values):
    config = small_config(values)
    model = for_training(load_model(config.model), config)
    total = trace_step(config, SHAPE).total
    assert total.all == sum(p.numel() for p in model.parameters())
    assert total.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_tied_weights_count_once(tmp_path):
    sizes = {}
    for tied in (True, False):
        config = load_model(small_config().model).config
        config.tie_word_embeddings = tied
        config.save_pretrained(tmp_path / str(tied))
        trial = small_config({"model.path": str(tmp_path / str(tied))})
        sizes[tied] = trace_step(trial, SHAPE).total.all
    assert sizes[False] - sizes[True] == config.vocab_size * config.hidden_size


@pytest.mark.parametrize(
    ("written", "told"),
    [('{"model_type": "t5"}', "t5 is no causal language model"), ("{", "cannot be loaded")],
)
def test_what_is_no_model_is_refused_as_before_a_sweep(tmp_path, written, told):
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(UserError, match=told):
        trace_step(small_config({"model.path": str(tmp_path)}), SHAPE)


def test_gradients_are_complete_in_the_end_and_each_in_its_group():
    trace = trace_step(small_config(), SHAPE)
    assert trace.moments[-1].made == {g: group.trained for g, group in trace.groups.items()}
    assert not trace.moments[0].made
    assert [m.group for m in trace.moments if not m.backward and m.group != ROOT] == sorted(
        g for g in trace.groups if g != ROOT
    )


def test_every_token_is_taken_as_a_target():
    rows, tokens = SHAPE
    logits = max(m.logits for m in trace_step(small_config(), SHAPE).moments)
    of_all = rows * (tokens - 1) * VOCABULARY * 4
    assert 4 * of_all <= logits < 5 * of_all  # logarithms, two gradients, that of the weight


def test_no_mask_or_scores_grow_with_the_square_of_the_length():
    once, twice = (
        max(m.activations for m in trace_step(small_config(), (1, tokens)).moments)
        for tokens in (1024, 2048)
    )
    assert 1.9 < twice / once < 2.02, "a chunk of logits stays as it is"


def test_the_loss_head_is_told_from_the_layers():
    moments = trace_step(small_config(), SHAPE).moments
    assert all(m.logits == 0 for m in moments if not m.backward and m.group != ROOT)
    assert all(m.logits <= m.activations for m in moments)


def test_checkpointing_keeps_less_and_adapters_leave_few_gradients():
    shape = (4, 64)
    most = {
        name: max(m.activations for m in trace_step(small_config(values), shape).moments)
        for name, values in {"": {}, "less": {"model.activation_checkpointing": True}}.items()
    }
    assert most["less"] < 0.8 * most[""]
    lora = trace_step(small_config({"model.lora.rank": 4}), SHAPE)
    assert sum(lora.moments[-1].made.values()) == lora.total.trained < 0.2 * lora.total.all
