"""The hook acts where it is announced and nowhere else, exactly once, whatever happens."""

import math

import pytest
import torch
from torch import nn
from transformers.integrations.neftune import activate_neftune

from neft_ray.noise import EmbeddingNoise, NoiseError, Segments
from tests.unit.noise_runs import embed, tokens_of

ALPHA, SEED = 5.0, 11


def added(embedding, segments, noise=None, pad_to=None) -> torch.Tensor:
    """What a training forward adds to the embeddings of the announced rows, none of them empty."""
    tokens = tokens_of([part.length for part in segments.parts], pad_to)
    noise = noise or EmbeddingNoise(ALPHA, SEED)
    with noise.attached(embedding), noise.on(segments):
        noised = embedding(tokens)
    return (noised - embedding(tokens)).detach()


def test_rows_of_unlike_length_get_the_same_norm_and_padding_gets_nothing():
    lengths = [3, 20, 75]
    noise = added(embed(), Segments.padded(4, [0, 1, 2], lengths), pad_to=80)
    for row, length in zip(noise, lengths, strict=True):
        assert row[:length].norm().item() * math.sqrt(3) / ALPHA == pytest.approx(1, abs=0.1)
        assert row[:length].abs().min() > 0
        assert row[length:].eq(0).all()
        bound = ALPHA / math.sqrt(length * 96)
        assert 0.97 * bound < row.abs().max() <= bound * 1.00001


def test_a_samples_noise_depends_on_neither_company_order_padding_nor_earlier_calls():
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    alone = added(embedding, Segments.padded(9, [42], [12]))[0]
    torch.manual_seed(123)
    added(embedding, Segments.padded(8, [1, 42], [5, 12]), noise)
    crowd = added(embedding, Segments.padded(9, [7, 42, 3], [30, 12, 2]), noise, pad_to=40)
    assert torch.equal(crowd[1, :12], alone)


@pytest.mark.parametrize("kind", ["evaluation mode", "not announced", "alpha 0"])
def test_nothing_is_added(kind):
    embedding, noise = embed(), EmbeddingNoise(0.0 if kind == "alpha 0" else ALPHA, SEED)
    embedding.train(kind != "evaluation mode")
    tokens = tokens_of([6])
    clean = embedding(tokens)
    with noise.attached(embedding):
        if kind == "alpha 0":
            with noise.on(Segments.padded(1, [0], [6])):
                assert torch.equal(embedding(tokens), clean)
        else:
            assert torch.equal(embedding(tokens), clean)
    assert noise.pop_metrics() == {}


def test_a_second_forward_after_the_announced_one_is_clean():
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    tokens = tokens_of([6])
    with noise.attached(embedding):
        with noise.on(Segments.padded(1, [0], [6])):
            assert not torch.equal(embedding(tokens), embedding.weight[tokens])
        assert torch.equal(embedding(tokens), embedding.weight[tokens])


def test_alpha_may_change_between_steps():
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    once = added(embedding, Segments.padded(1, [0], [6]), noise)
    noise.alpha = 3 * ALPHA
    torch.testing.assert_close(
        added(embedding, Segments.padded(1, [0], [6]), noise), 3 * once, atol=1e-5, rtol=0
    )


def test_attaching_twice_adds_noise_once_and_detaching_twice_is_harmless():
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    once = added(embedding, Segments.padded(1, [0], [6]))
    noise.attach(embedding)
    noise.attach(embedding)
    with noise.on(Segments.padded(1, [0], [6])):
        noised = embedding(tokens_of([6]))
    noise.detach()
    noise.detach()
    assert torch.equal((noised - embedding(tokens_of([6]))).detach(), once)
    assert not embedding._forward_hooks


def test_attaching_to_another_embedding_leaves_the_first_clean():
    first, second, noise = embed(), embed(), EmbeddingNoise(ALPHA, SEED)
    noise.attach(first)
    noise.attach(second)
    assert not first._forward_hooks
    assert len(second._forward_hooks) == 1


def test_an_error_in_training_leaves_no_hook_and_the_next_run_is_right():
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    once = added(embedding, Segments.padded(1, [0], [6]))
    with (
        pytest.raises(ZeroDivisionError),
        noise.attached(embedding),
        noise.on(Segments.padded(1, [0], [6])),
    ):
        _ = 1 / 0
    assert not embedding._forward_hooks
    assert torch.equal(embedding(tokens_of([6])), embedding.weight[tokens_of([6])])
    assert torch.equal(added(embedding, Segments.padded(1, [0], [6]), noise), once)


@pytest.mark.parametrize("times", [0, 2])
def test_noise_that_does_not_fire_exactly_once_is_an_error(times):
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    with (
        pytest.raises(NoiseError, match=f"fired {times} times"),
        noise.attached(embedding),
        noise.on(Segments.padded(1, [0], [6])),
    ):
        for _ in range(times):
            embedding(tokens_of([6]))


def test_noise_on_an_embedding_in_evaluation_mode_is_an_error_when_announced():
    embedding, noise = embed().eval(), EmbeddingNoise(ALPHA, SEED)
    with (
        pytest.raises(NoiseError),
        noise.attached(embedding),
        noise.on(Segments.padded(1, [0], [6])),
    ):
        embedding(tokens_of([6]))


def test_alpha_0_needs_no_hook():
    with EmbeddingNoise(0.0, SEED).on(Segments.padded(1, [0], [6])):
        pass


@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_of_other_rows_than_announced_is_an_error(rows):
    embedding, noise = embed(), EmbeddingNoise(ALPHA, SEED)
    with (
        pytest.raises(NoiseError, match=f"2 rows of up to 6 tokens .* gave {rows} of 6"),
        noise.attached(embedding),
        noise.on(Segments.padded(1, [0, 1], [6, 6])),
    ):
        embedding(tokens_of([6] * rows))


def test_gradients_are_those_of_noise_added_outside_the_graph():
    embedding, tokens, segments = embed(), tokens_of([4, 9]), Segments.padded(2, [5, 6], [4, 9])
    noise = added(embedding, segments)
    torch.manual_seed(2)
    head = nn.Linear(96, 50)
    inside = EmbeddingNoise(ALPHA, SEED)
    grads = []
    for explicit in (False, True):
        embedding.zero_grad()
        if explicit:
            hidden = embedding(tokens) + noise
        else:
            with inside.attached(embedding), inside.on(segments):
                hidden = embedding(tokens)
        head(hidden.tanh()).logsumexp(-1).sum().backward()
        grads.append(embedding.weight.grad.clone())
    assert grads[0].abs().max() > 0
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-5)


def test_it_works_on_a_frozen_embedding_whose_output_was_made_to_need_gradients():
    embedding = embed()
    embedding.weight.requires_grad_(False)
    # What enable_input_require_grads does: the output becomes a leaf that needs a gradient.
    embedding.register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    noise = EmbeddingNoise(ALPHA, SEED)
    with noise.attached(embedding), noise.on(Segments.padded(1, [0], [6])):
        output = embedding(tokens_of([6]))
    output.square().sum().backward()
    assert torch.equal(output.grad, 2 * output.detach())
    assert not torch.equal(output.detach(), embedding.weight[tokens_of([6])])


def test_padded_option_scales_by_the_longest_row_and_noises_padding_as_transformers_does():
    embedding, lengths = embed(), [5, 80]
    ours = added(
        embedding, Segments.padded(1, [0, 1], lengths), EmbeddingNoise(ALPHA, SEED, "padded")
    )

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = embedding

        def get_input_embeddings(self):
            return self.embedding

    tokens = tokens_of(lengths)
    clean = embedding(tokens)
    handle = activate_neftune(Model(), ALPHA)
    theirs = (embedding(tokens) - clean).detach()
    handle.remove()
    bound = ALPHA / math.sqrt(80 * 96)
    for noise in (ours, theirs):
        assert noise[0, 5:].abs().min() > 0
        assert 0.97 * bound < noise[0, :5].abs().max() <= bound * 1.0001
        assert 0.99 * bound < noise[0].abs().max() <= bound * 1.0001
        assert noise[0, :5].norm() * math.sqrt(3) / ALPHA < 0.3
