"""What every distribution, layout and dtype of the noise keeps: scale, key, padding, no loss."""

import math
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from neft_ray.noise import DISTRIBUTIONS, EmbeddingNoise, Segments
from tests.contract.noise_layouts import (
    ALPHA,
    LAYOUTS,
    LENGTHS,
    SEED,
    WIDTH,
    noised,
    normal,
    zeros,
)
from tests.unit.noise_runs import embed, tokens_of, unit_noise

DTYPES = [torch.float32, torch.bfloat16, torch.float16]

of_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS)
in_layout = pytest.mark.parametrize("layout", LAYOUTS)
in_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])


def correlation(one, other) -> float:
    return abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).double())[0, 1].item())


# 1. Scale.


@of_distribution
@in_layout
@in_dtype
def test_norm_of_a_sequences_noise_averages_alpha_over_root_three(distribution, layout, dtype):
    values = normal(dtype, 0.02)
    ratios = {sample: [] for sample in LENGTHS}
    for step in range(1, 41):
        samples, padding = noised(layout, values, step=step, distribution=distribution)
        assert padding.eq(0).all()
        for sample, after in samples.items():
            added = after.float() - values(sample, 0, len(after)).float()
            ratios[sample].append(added.norm().item() * math.sqrt(3) / ALPHA)
    means = {sample: sum(found) / len(found) for sample, found in ratios.items()}
    assert sum(means.values()) / len(means) == pytest.approx(1, abs=0.01)
    for sample, mean in means.items():  # forty noises of L · 96 entries each
        assert mean == pytest.approx(1, abs=4 / math.sqrt(80 * LENGTHS[sample] * WIDTH) + 0.003)


@of_distribution
@in_layout
def test_entries_are_zero_on_average_and_of_one_size_all_over_a_sequence(distribution, layout):
    noises = [
        noised(layout, zeros(torch.float32), step=s, distribution=distribution) for s in range(40)
    ]
    for sample, length in LENGTHS.items():
        stacked = torch.stack([samples[sample] for samples, _ in noises]).double()
        stacked *= math.sqrt(3 * length * WIDTH) / ALPHA  # variance 1
        spread = 1 / math.sqrt(stacked.numel())
        assert stacked.mean().item() == pytest.approx(0, abs=4 * spread)
        by_token, by_column = stacked.square().mean((0, 2)), stacked.square().mean((0, 1))
        assert by_token.sub(1).abs().max() < 0.15
        assert by_column.sub(1).abs().max() < 6 * math.sqrt(2 / (40 * length)) + 0.01


# 2. Key.


@of_distribution
@in_dtype
def test_a_samples_noise_is_bitwise_the_same_in_every_layout(distribution, dtype):
    values = normal(dtype, 1.0)
    first, *others = (noised(name, values, distribution=distribution)[0] for name in LAYOUTS)
    assert first.keys() == LENGTHS.keys()
    for other in others:
        assert other.keys() == first.keys()
        assert all(torch.equal(other[sample], first[sample]) for sample in first)


@of_distribution
def test_noise_neither_reads_nor_moves_any_global_random_state(distribution):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = noised("padded", zeros(torch.bfloat16), distribution=distribution)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    torch.randn(7)
    noise = EmbeddingNoise(ALPHA, SEED, distribution=distribution)
    noised("packed", zeros(torch.bfloat16), noise, step=3)  # an earlier call changes nothing
    again, _ = noised("padded", zeros(torch.bfloat16), noise)
    assert all(torch.equal(again[sample], first[sample]) for sample in first)


@of_distribution
def test_noises_of_unlike_keys_are_uncorrelated(distribution):
    keys = [(11, 1, 2), (12, 1, 2), (11, 2, 2), (11, 1, 3), (11, 1, 2, 1), (1, 11, 2), (2, 1, 11)]
    keys += [(11, 1, 2 + 2**32), (11 + 2**32, 1, 2)]
    noises = [unit_noise((200, 100), *key, distribution=distribution) for key in keys]
    assert max(correlation(*pair) for pair in combinations(noises, 2)) < 0.035


@of_distribution
def test_tokens_and_columns_of_one_noise_are_uncorrelated(distribution):
    noise = unit_noise((600, 96), SEED, 1, 2, distribution=distribution)
    for lag in (1, 2, 3, 4, 8, 16, 96):
        flat = noise.flatten()
        assert correlation(flat[lag:], flat[:-lag]) < 0.02
    assert (torch.corrcoef(noise.T) - torch.eye(96)).abs().max() < 0.25


@of_distribution
@in_dtype
def test_a_recomputed_forward_gets_the_same_noise_and_counts_once(distribution, dtype):
    embedding, tokens = embed(dtype=dtype), tokens_of([4, 9])
    noise = EmbeddingNoise(ALPHA, SEED, distribution=distribution)
    grads, runs = [], []

    def squared(tokens):
        output = embedding(tokens)
        runs.append(output.detach().clone())
        return output.square().sum()  # its gradient is the recomputed output, doubled

    for recomputed in (False, True):
        embedding.zero_grad()
        with noise.attached(embedding), noise.on(Segments.padded(1, [0, 1], [4, 9])):
            if recomputed:
                checkpoint(squared, tokens, use_reentrant=False).backward()
            else:
                squared(tokens).backward()
        grads.append(embedding.weight.grad.clone())
    assert len(runs) == 3 and torch.equal(runs[1], runs[2])
    assert torch.equal(grads[0], grads[1])


# 3. Distributions.


@of_distribution
def test_unit_noise_has_mean_0_variance_a_third_and_no_odd_moment(distribution):
    values = unit_noise((2000, 1000), SEED, 1, 2, distribution=distribution).double().flatten()
    assert values.mean().item() == pytest.approx(0, abs=0.002)
    assert values.square().mean().item() == pytest.approx(1 / 3, rel=0.002)
    assert values.pow(3).mean().item() == pytest.approx(0, abs=0.002)
    assert values.max() == -values.min()


@of_distribution
@in_layout
def test_symmetric_copies_get_opposite_noises_and_pairs_differ(distribution, layout):
    plus, minus, other = (
        noised(layout, zeros(torch.float32), copy=copy, distribution=distribution, symmetric=True)[
            0
        ]
        for copy in (0, 1, 2)
    )
    for sample in plus:
        assert torch.equal(plus[sample], -minus[sample])
    assert correlation(plus[9], other[9]) < 0.05


# 6. Low precision.


@of_distribution
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("alpha", [0.3, 5.0])
def test_noise_far_smaller_than_the_embeddings_survives_rounding(distribution, dtype, alpha):
    length = 2000
    x = torch.randn(1, length, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    embedding = nn.Embedding.from_pretrained(x[0], freeze=False)
    noise = EmbeddingNoise(alpha, SEED, distribution=distribution)
    with noise.attached(embedding), noise.on(Segments.padded(1, [4], [length])):
        after = embedding(torch.arange(length)[None]).detach()
    added = (after.double() - x.double())[0]
    unit = unit_noise((length, WIDTH), SEED, 1, 4, distribution=distribution).double()
    wanted = unit * alpha / math.sqrt(length * WIDTH)
    slope = (added * wanted).sum() / wanted.square().sum()
    error = (added - slope * wanted).std() / wanted.std() / math.sqrt(added.numel())
    assert slope.item() == pytest.approx(1, abs=4 * error.item())
    assert error < 0.03
    for sign in (-1, 1):  # and no part of it is lost: the large and small, up and down
        half = wanted * sign > 0
        for part in (half & (x[0] > 1), half & (x[0] < -1), half & (x[0].abs() < 0.3)):
            spread = added[part].std() / math.sqrt(part.sum())
            assert abs(added[part].mean() - wanted[part].mean()) < 5 * spread
    plain = ((x[0].float() + wanted.float()).to(dtype).double() - x[0].double()) * wanted
    if dtype == torch.bfloat16 and alpha < 1:
        assert plain.sum() / wanted.square().sum() < 0.9  # the plain sum does lose it


@in_dtype
def test_noise_finer_than_the_grid_of_subnormal_numbers_survives(dtype):
    torch.set_flush_denormal(False)  # as it is unless something else here trained
    info = torch.finfo(dtype)
    scale = 1e-6 if dtype == torch.float32 else info.smallest_normal * info.eps / 4
    size = 0.0 if dtype == torch.float32 else info.smallest_normal / 3
    x = torch.full((4000, WIDTH), size, dtype=dtype)
    embedding = nn.Embedding.from_pretrained(x, freeze=False)
    noise = EmbeddingNoise(scale * math.sqrt(x.numel()), SEED)
    with noise.attached(embedding), noise.on(Segments.padded(1, [4], [4000])):
        after = embedding(torch.arange(4000)[None]).detach()
    added = (after.double() - x.double()).flatten() / scale
    unit = unit_noise((4000, WIDTH), SEED, 1, 4).double().flatten()
    assert (added.dot(unit) / unit.dot(unit)).item() == pytest.approx(1, abs=0.02)
    assert added.mean().item() == pytest.approx(0, abs=0.02)
