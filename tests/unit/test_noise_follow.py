"""The noise in somebody else's loop: on its training forwards, read from what they are given."""

import copy
import functools
import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from neft_ray.noise import EmbeddingNoise, NoiseError, following

ALPHA, WIDTH = 5.0, 64


def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "vocab_size": 100, "max_position_embeddings": 256}
    return LlamaForCausalLM(LlamaConfig(**sizes, use_cache=False)).train()


def embeddings_in(model, noise, inputs) -> torch.Tensor:
    """What the model's decoder is given in one forward, minus the embeddings of its tokens."""
    seen = []
    layer = model.model.layers[0]
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    try:
        model(**inputs)
    finally:
        handle.remove()
    return seen[0] - model.get_input_embeddings().weight[inputs["input_ids"]].detach()


def tokens(rows, columns):
    return torch.arange(rows * columns).reshape(rows, columns) % 99 + 1


@pytest.fixture
def model():
    return llama()


def norm(piece) -> float:
    return piece.norm().item() * math.sqrt(3) / ALPHA


def test_rows_without_a_mask_are_one_sequence_each(model):
    noise = EmbeddingNoise(ALPHA)
    with following(noise, model):
        added = embeddings_in(model, noise, {"input_ids": tokens(3, 40)})
    assert [norm(row) for row in added] == pytest.approx([1, 1, 1], abs=0.05)
    assert abs(torch.corrcoef(added.flatten(1))[0, 1]) < 0.06


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_is_untouched_and_short_rows_get_their_own_scale(model, side):
    mask = torch.ones(2, 40, dtype=torch.long)
    pad = slice(0, 28) if side == "left" else slice(12, 40)
    mask[1, pad] = 0
    with following(EmbeddingNoise(ALPHA), model) as noise:
        added = embeddings_in(model, noise, {"input_ids": tokens(2, 40), "attention_mask": mask})
    assert added[1, pad].eq(0).all()
    assert [norm(row) for row in added] == pytest.approx([1, 1], abs=0.06)


def test_packed_documents_are_told_by_their_position_ids(model):
    lengths = [10, 50, 1, 39]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    with following(EmbeddingNoise(ALPHA), model) as noise:
        added = embeddings_in(
            model, noise, {"input_ids": tokens(1, 100), "position_ids": positions}
        )
    found = [norm(piece) for piece in added[0].split(lengths)]
    assert found == pytest.approx([1, 1, 1, 1], abs=0.15)


def test_each_forward_has_other_noise_and_the_same_calls_the_same(model):
    inputs = {"input_ids": tokens(2, 30)}

    def two(seed):
        with following(EmbeddingNoise(ALPHA, seed), model) as noise:
            return [embeddings_in(model, noise, inputs) for _ in range(2)]

    first, again, other = two(1), two(1), two(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for unlike in (first[1], other[0]):
        pair = torch.stack([first[0].flatten(), unlike.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 0.06


def test_ranks_differ(model, monkeypatch):
    def at(rank):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        with following(EmbeddingNoise(ALPHA), model) as noise:
            return embeddings_in(model, noise, {"input_ids": tokens(2, 30)}).flatten()

    assert abs(torch.corrcoef(torch.stack([at(0), at(1)]))[0, 1]) < 0.06


def test_generate_and_reference_passes_are_clean_in_training_mode(model):
    ids = tokens(1, 10)
    greedy = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    clean, logits = model.generate(ids, **greedy), model(ids).logits.detach()
    with following(EmbeddingNoise(50.0), model) as noise:
        assert model.training
        assert torch.equal(model.generate(ids, **greedy), clean)
        with torch.no_grad():
            assert torch.equal(model(ids).logits, logits)
        assert noise.pop_metrics() == {}
        assert not torch.equal(model(ids).logits, logits)
        model.eval()
        assert torch.equal(model(ids).logits, logits)


def test_it_ends_with_the_block_whatever_happens(model):
    ids = tokens(1, 10)
    clean = model(ids).logits
    with pytest.raises(KeyboardInterrupt), following(EmbeddingNoise(50.0), model):
        model(ids)
        raise KeyboardInterrupt
    assert torch.equal(model(ids).logits, clean)
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    assert not any(getattr(module, name) for module in model.modules() for name in hooks)


def test_an_error_inside_a_forward_is_the_one_that_is_raised_and_the_next_forward_is_noised(model):
    with following(EmbeddingNoise(50.0), model) as noise:
        with pytest.raises(IndexError):
            model(torch.full((1, 4), 1000))
        assert norm(embeddings_in(model, noise, {"input_ids": tokens(1, 40)})) > 9


def test_a_checkpointed_model_is_recomputed_with_the_same_noise(model):
    ids, grads = tokens(2, 9), []
    for recomputed in (False, True):
        model.zero_grad()
        with following(EmbeddingNoise(50.0), model):
            if recomputed:
                run = functools.partial(checkpoint, use_reentrant=False)
                loss = run(lambda ids: model(ids, labels=ids).loss, ids)
            else:
                loss = model(ids, labels=ids).loss
            loss.backward()
        grads.append(model.lm_head.weight.grad.clone())
    assert torch.equal(*grads)


def test_telemetry_says_what_was_added(model):
    with following(EmbeddingNoise(ALPHA), model) as noise:
        model(tokens(2, 30))
        metrics = noise.pop_metrics()
    assert metrics["noise_alpha_measured"] == pytest.approx(ALPHA, rel=1e-4)


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (T5ForConditionalGeneration, T5Config(d_model=32, d_ff=32, num_layers=1, vocab_size=50)),
        (
            BartForConditionalGeneration,
            BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50),
        ),
    ],
    ids=["t5", "bart"],
)
def test_an_encoder_decoder_is_refused(build, config):
    model = build(config)
    with (
        pytest.raises(NoiseError, match="is an encoder-decoder"),
        following(EmbeddingNoise(5), model),
    ):
        pass


def test_a_wrapper_without_an_embedding_is_refused(model):
    wrapped = torch.nn.ModuleList([model])
    with (
        pytest.raises(NoiseError, match="no get_input_embeddings"),
        following(EmbeddingNoise(5), wrapped),
    ):
        pass


def test_a_forward_that_does_not_read_the_hooked_embedding_is_an_error(model):
    embedding = copy.deepcopy(model.get_input_embeddings())
    model.get_input_embeddings = lambda: embedding
    with (
        pytest.raises(NoiseError, match="fired 0 times"),
        following(EmbeddingNoise(5), model),
    ):
        model(tokens(1, 5))


def test_embeddings_in_place_of_tokens_are_an_error(model):
    given = torch.zeros(1, 5, WIDTH)
    with pytest.raises(NoiseError, match="without input_ids"), following(EmbeddingNoise(5), model):
        model(inputs_embeds=given)


def test_a_mask_that_does_not_say_where_sequences_lie_is_an_error(model):
    mask = torch.zeros(1, 1, 5, 5)
    with (
        pytest.raises(NoiseError, match=r"shape \(1, 1, 5, 5\)"),
        following(EmbeddingNoise(5), model),
    ):
        model(tokens(1, 5), attention_mask=mask)


def test_two_noises_on_one_model_are_an_error_and_the_same_one_again_is_one(model):
    with (
        following(EmbeddingNoise(5), model),
        pytest.raises(NoiseError, match="already has a noise hook"),
        following(EmbeddingNoise(5), model),
    ):
        pass
    noise = EmbeddingNoise(ALPHA)
    with following(noise, model), noise.attached(model.get_input_embeddings()):
        assert len(model.get_input_embeddings()._forward_hooks) == 1
