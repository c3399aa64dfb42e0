"""What embedding dropout keeps: its share and scale, its key, evaluation, padding, gradients."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from neft_ray.noise import EmbeddingDropout, EmbeddingNoise, Segments
from tests.contract.noise_layouts import LAYOUTS, LENGTHS, SEED, WIDTH, Given
from tests.unit.noise_runs import embed, tokens_of

CHANCE = 0.25


def dropped(layout, step=1, seed=SEED, copy=0, chance=CHANCE, alpha=0.0):
    """What embeddings of 1 become of each sample, shards put together, and what padding does."""
    noise = EmbeddingNoise(alpha, seed)
    dropout = EmbeddingDropout(chance, seed, noise)
    samples, padding = {}, []
    for segments, (rows, columns) in LAYOUTS[layout](step, copy):
        embedding = Given(torch.ones(rows, columns, WIDTH).requires_grad_())
        with dropout.attached(embedding), noise.attached(embedding), noise.on(segments):
            output = embedding().detach()
        is_padding = torch.ones(rows, columns, dtype=torch.bool)
        for part in sorted(segments.parts, key=lambda part: part.offset):
            here = (part.row, slice(part.start, part.start + part.length))
            is_padding[here] = False
            before = samples.get(part.sample_id, output[here][:0])
            samples[part.sample_id] = torch.cat([before, output[here]])
        padding.append(output[is_padding])
    return samples, torch.cat(padding)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_share_of_the_entries_is_zero_and_the_others_make_up_for_it(layout):
    samples, padding = dropped(layout)
    entries = torch.cat([sample.flatten() for sample in samples.values()])
    assert sorted(set(entries.tolist())) == pytest.approx([0.0, 1 / (1 - CHANCE)])
    assert entries.eq(0).double().mean().item() == pytest.approx(CHANCE, abs=0.02)
    assert padding.eq(1).all()


def test_what_is_dropped_of_a_sample_is_the_same_in_every_layout():
    """Batches of one, padded batches, packed rows and shards: so on any worker as well."""
    first, *others = (dropped(layout)[0] for layout in LAYOUTS)
    assert first.keys() == LENGTHS.keys()
    for other in others:
        assert all(torch.equal(other[sample], first[sample]) for sample in first)


def test_seed_step_sample_and_copy_each_drop_others():
    whole = dropped("padded")[0]
    others = [dropped("padded", **key)[0] for key in ({"step": 2}, {"seed": 12}, {"copy": 1})]
    for other in others:
        assert other[9].eq(whole[9]).double().mean() < 0.75  # 0.625 by chance
    assert whole[9][:20].eq(whole[8]).double().mean() < 0.75


def test_dropout_is_not_the_noise_in_disguise():
    kept = dropped("padded")[0][9].ne(0).double().flatten()
    noise = EmbeddingNoise(1.0, SEED)
    segments, (rows, columns) = LAYOUTS["padded"](1)[0]
    embedding = Given(torch.zeros(rows, columns, WIDTH).requires_grad_())
    with noise.attached(embedding), noise.on(segments):
        noised = embedding().detach()[2, : LENGTHS[9]].double().flatten()
    assert torch.corrcoef(torch.stack([kept, noised]))[0, 1].abs() < 0.05


def test_the_noise_is_added_to_what_is_left_and_none_of_it_is_dropped():
    without, clean = dropped("padded", chance=0.0, alpha=5.0)[0], dropped("padded")[0]
    both = dropped("padded", alpha=5.0)[0]
    for sample, before in clean.items():
        assert both[sample] == pytest.approx(before + without[sample] - 1, abs=1e-6)


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = dropped("packed")[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert all(torch.equal(dropped("packed")[0][sample], first[sample]) for sample in first)


def attached(embedding, chance=0.5):
    noise = EmbeddingNoise(0.0, SEED)
    return noise, EmbeddingDropout(chance, SEED, noise)


def test_evaluation_and_forwards_that_are_not_announced_are_clean():
    embedding, tokens = embed(), tokens_of([4, 9])
    plain, segments = embedding(tokens), Segments.padded(1, [0, 1], [4, 9])
    noise, dropout = attached(embedding)
    with dropout.attached(embedding), noise.attached(embedding):
        assert torch.equal(embedding(tokens), plain)
        with noise.on(segments):
            assert not torch.equal(embedding(tokens), plain)
            with torch.no_grad():
                assert torch.equal(embedding(tokens), plain)
            embedding.eval()
            assert torch.equal(embedding(tokens), plain)
            embedding.train()
    assert torch.equal(embedding(tokens), plain)


def test_a_chance_of_zero_hooks_nothing():
    embedding = embed()
    _, dropout = attached(embedding, 0.0)
    with dropout.attached(embedding):
        assert not embedding._forward_hooks


def test_what_is_dropped_gets_no_gradient():
    embedding, tokens = embed(), tokens_of([4])
    noise, dropout = attached(embedding)
    with dropout.attached(embedding), noise.attached(embedding):
        with noise.on(Segments.padded(1, [0], [4])):
            output = embedding(tokens)
        output.sum().backward()
    gradient = embedding.weight.grad[tokens[0]]
    assert torch.equal(gradient.eq(0), output[0].eq(0))
    assert sorted(set(gradient.flatten().tolist())) == [0.0, 2.0]


def test_a_recomputed_forward_drops_the_same():
    embedding, tokens = embed(), tokens_of([4, 9])
    noise, dropout = attached(embedding)
    runs = []

    def squared(tokens):
        runs.append(embedding(tokens))
        return runs[-1].square().sum()

    with dropout.attached(embedding), noise.attached(embedding):
        with noise.on(Segments.padded(1, [0, 1], [4, 9])):
            loss = checkpoint(squared, tokens, use_reentrant=False)
        loss.backward()
    assert len(runs) == 2
    assert torch.equal(*runs)
