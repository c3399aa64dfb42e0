"""What is wrong with noise elsewhere, run with the versions installed, and what ours does instead.

Each test first documents their behaviour; if one fails there after an upgrade, they have mended it.
"""

import math

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)
from transformers.integrations.neftune import activate_neftune

from neft_ray.noise import EmbeddingNoise, NoiseError, Segments, following
from tests.contract.others import ALPHA, added_to, llama, tokens


def theirs(model, ids, alpha=ALPHA) -> torch.Tensor:
    handle = activate_neftune(model, alpha)
    try:
        return added_to(model.get_input_embeddings(), ids)
    finally:
        handle.remove()


def ours(model, ids, segments, alpha=ALPHA) -> torch.Tensor:
    noise, embedding = EmbeddingNoise(alpha, 1), model.get_input_embeddings()
    with noise.attached(embedding), noise.on(segments):
        output = embedding(ids)
    return (output - embedding.weight[ids]).detach()


def ratio(piece) -> float:
    """The norm of a sequence's noise over its expectation."""
    return piece.norm().item() * math.sqrt(3) / ALPHA


def correlation(one, other) -> float:
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


# 2.


def test_ranks_have_noises_of_their_own():
    model, ids = llama(), tokens(1, 200)
    noises = []
    for _rank in (0, 1):
        set_seed(42)  # as Trainer does on every rank
        noises.append(theirs(model, ids))
    assert correlation(*noises) == pytest.approx(1)
    of_ranks = [ours(model, ids, Segments.padded(1, [row], [200])) for row in (0, 1)]
    assert abs(correlation(*of_ranks)) < 0.05


# 3.


def test_a_short_document_in_a_long_pack_gets_its_own_scale():
    model, ids = llama(), tokens(1, 1024)
    positions = torch.cat([torch.arange(64), torch.arange(960)])[None]
    assert ratio(theirs(model, ids)[0, :64]) == pytest.approx(0.25, abs=0.02)
    noise = ours(model, ids, Segments.packed(1, positions, [0, 1]))
    assert ratio(noise[0, :64]) == pytest.approx(1, abs=0.05)
    assert ratio(noise[0, 64:]) == pytest.approx(1, abs=0.05)


# 4.


def test_a_short_row_gets_its_own_scale_and_padding_none():
    model, ids = llama(), tokens(2, 400)
    noise = theirs(model, ids)
    assert ratio(noise[1, :25]) == pytest.approx(0.25, abs=0.02)
    assert noise[1, 25:].abs().min() >= 0 and noise[1, 25:].norm() > 1
    noise = ours(model, ids, Segments.padded(1, [0, 1], [400, 25]))
    assert ratio(noise[1, :25]) == pytest.approx(1, abs=0.05)
    assert noise[1, 25:].eq(0).all()


# 6.

SEQ2SEQ = {
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(d_model=32, d_ff=32, num_layers=1, vocab_size=50, dropout_rate=0.0)
    ),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50, dropout=0.0)
    ),
}


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_noise_that_never_fires_on_an_encoder_decoder_is_an_error(name):
    model, ids = SEQ2SEQ[name]().train(), tokens(1, 6) % 50
    call = {"input_ids": ids, "decoder_input_ids": ids}
    clean = model(**call).logits
    handle = activate_neftune(model, 1000.0)
    assert torch.equal(model(**call).logits, clean)
    handle.remove()
    with pytest.raises(NoiseError, match="encoder-decoder"), following(EmbeddingNoise(5), model):
        pass
    noise = EmbeddingNoise(5)
    with (
        pytest.raises(NoiseError, match="fired 0 times"),
        noise.attached(model.get_input_embeddings()),
        noise.on(Segments.padded(1, [0], [6])),
    ):
        model(**call)
    with (  # the one that is really called
        noise.attached(model.get_encoder().embed_tokens),
        noise.on(Segments.padded(1, [0], [6])),
    ):
        assert not torch.equal(model(**call).logits, clean)


# 7.


def test_reference_passes_and_generation_in_training_mode_are_clean():
    model, ids = llama(), tokens(1, 6)
    model.generation_config.pad_token_id = 0
    greedy = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
    with torch.no_grad():
        reference = model(ids).logits
    (generated,) = model.generate(ids, **greedy).logits
    handle = activate_neftune(model, 50.0)
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, reference, atol=0.01)
    assert not torch.allclose(model.generate(ids, **greedy).logits[0], generated, atol=0.01)
    handle.remove()
    with following(EmbeddingNoise(50.0), model):
        with torch.no_grad():
            assert torch.equal(model(ids).logits, reference)
        assert torch.equal(model.generate(ids, **greedy).logits[0], generated)


# 8.


@pytest.mark.parametrize(("length", "lost"), [(512, 0.43), (2048, 0.66)])
def test_bfloat16_embeddings_of_size_1_keep_their_noise(length, lost):
    torch.manual_seed(0)
    weight = torch.randn(100, 2048, dtype=torch.bfloat16)
    model = nn.Module()
    embedding = model.embedding = nn.Embedding.from_pretrained(weight, freeze=False)
    model.get_input_embeddings = lambda: embedding
    ids = tokens(1, length)
    before = embedding(ids).detach()
    noise = theirs(model, ids)
    assert noise.eq(0).float().mean().item() == pytest.approx(lost, abs=0.03)
    rounded = EmbeddingNoise(ALPHA, 1)
    with rounded.attached(embedding), rounded.on(Segments.padded(1, [0], [length])):
        after = embedding(ids).detach()
    metrics = rounded.pop_metrics()
    changed = (after != before).float().mean().item()
    assert changed > 1 - lost + 0.02
    assert metrics["noise_alpha_measured"] == pytest.approx(ALPHA, rel=0.02)


# 9.


def test_a_whole_graph_with_dynamic_shapes_compiles():
    torch._dynamo.reset()
    options = {"fullgraph": True, "dynamic": True, "backend": "aot_eager"}
    model, ids = llama(), tokens(2, 8)
    embedding = model.get_input_embeddings()
    handle = activate_neftune(model, ALPHA)
    with pytest.raises(torch._dynamo.exc.UserError, match="data-dependent"):
        torch.compile(embedding, **options)(ids)
    handle.remove()
    torch._dynamo.reset()
    noise = EmbeddingNoise(ALPHA)
    with noise.attached(embedding), noise.on(Segments.padded(1, [0, 1], [8, 8])):
        output = torch.compile(embedding, **options)(ids)
    assert ratio((output - embedding.weight[ids])[0]) == pytest.approx(1, abs=0.06)
    torch._dynamo.reset()


# 10.


def test_shards_of_a_sequence_get_the_pieces_of_one_noise():
    model, ids = llama(), tokens(1, 400)
    pieces = ids.split(100, dim=1)
    noises = []
    for piece in pieces:
        set_seed(42)
        noises.append(theirs(model, piece))
    assert ratio(torch.cat(noises, 1)) == pytest.approx(2, abs=0.05)  # √4
    assert correlation(noises[0], noises[1]) == pytest.approx(1)
    whole = Segments.padded(1, [7], [400])
    sharded = torch.cat(
        [
            ours(model, piece, whole.shard(start, start + 100))
            for start, piece in zip(range(0, 400, 100), pieces, strict=True)
        ],
        dim=1,
    )
    assert torch.equal(sharded, ours(model, ids, whole))
    assert ratio(sharded) == pytest.approx(1, abs=0.03)


# 11.


def test_embeddings_that_are_leaves_can_be_noised_in_place():
    model, ids = llama(), tokens(1, 8)
    embedding = model.get_input_embeddings()
    embedding.weight.requires_grad_(False)
    model.enable_input_require_grads()
    handle = embedding.register_forward_hook(lambda module, args, output: output.add_(1.0))
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        model(ids)
    handle.remove()
    with following(EmbeddingNoise(ALPHA), model) as noise:
        model(ids).logits.sum().backward()
        assert noise.pop_metrics()["noise_alpha_measured"] == pytest.approx(ALPHA, rel=1e-4)
