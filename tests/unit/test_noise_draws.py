"""The generator is Philox-4×64 as published, and any part of a stream is had without the rest."""

import pytest
import torch

from neft_ray.noise.draws import DISTRIBUTIONS, NOISE, Key, draw, table

MASK = 2**64 - 1


def philox(counter, key) -> list[int]:
    """Ten rounds of Philox-4×64 (Salmon et al., SC 2011), in plain integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2E7470EE14C6C93 * c0, 2**64)
        high_1, low_1 = divmod(0xCA5A826395121157 * c2, 2**64)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [c0, c1, c2, c3]


def test_the_reference_gives_the_published_answers():
    # Random123's kat_vectors for philox4x64, 10 rounds.
    assert philox([0] * 4, [0] * 2) == [
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    ]


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_draws_are_the_words_of_successive_counters_lowest_bits_first(stream):
    words = Key(3, 1, 4).words
    expected = []
    for block in range(5):
        for word in philox([block + 1, stream, 0, 0], words):
            expected += [(word >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
    drawn = draw(words, stream, 0, 80).tolist()
    assert [value % 65536 for value in drawn] == expected


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 15), (16, 16), (77, 301), (4096, 3)])
def test_a_part_of_a_stream_is_that_part_of_the_whole(first, count):
    words = Key(3, 1, 4).words
    assert torch.equal(
        draw(words, NOISE, first, count), draw(words, NOISE, 0, 5000)[first : first + count]
    )


def test_keys_differ_wherever_their_numbers_do():
    numbers = [0, 1, 2, 2**32, 2**32 + 1, 2**64 - 1]
    keys = [
        Key(a, b, c, d).words for a in numbers for b in numbers for c in numbers for d in (0, 1)
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_values_over_all_draws_have_mean_0_and_variance_a_third(distribution):
    values = table(distribution, "cpu")
    assert torch.equal(values, -values.flip(0))
    assert values.double().square().mean().item() == pytest.approx(1 / 3, rel=1e-6)
    assert torch.equal(values, values.sort().values)


def test_uniform_values_fill_the_interval_evenly():
    values = table("uniform", "cpu")
    assert torch.equal(values, (torch.arange(65536) * 2 - 65535) / 65536)


def test_gaussian_values_are_normal_quantiles():
    values = table("gaussian", "cpu").double() * 3**0.5
    normal = torch.distributions.Normal(0.0, 1.0)
    for bound in (0.5, 1.0, 2.0, 3.0):
        share = (values < bound).double().mean()
        assert share.item() == pytest.approx(normal.cdf(torch.tensor(bound)).item(), abs=2e-5)
    assert values.pow(4).mean().item() == pytest.approx(3, rel=1e-3)
    assert values.max().item() == pytest.approx(4.325, abs=0.001)


def test_bernoulli_values_are_two():
    assert table("bernoulli", "cpu").unique().tolist() == pytest.approx([-(3**-0.5), 3**-0.5])
