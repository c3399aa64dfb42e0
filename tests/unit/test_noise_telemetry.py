"""What is logged of the noise is measured on what the embeddings became."""

import math

import pytest
import torch

from neft_ray.noise import EmbeddingNoise, Segments, metrics_of
from neft_ray.noise.telemetry import Meter

CPU = torch.device("cpu")
N, SCALE = 4000, 0.01


def observed(added_of, alpha=5.0, size=1.0):
    """The metrics where `added_of(noise)` was added, noise being what α = 1 would be."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(N, generator=generator, dtype=torch.float64) * size
    unit = torch.rand(N, generator=generator, dtype=torch.float64) * 2 - 1
    meter = Meter()
    meter.observe(before, before + added_of(unit * SCALE), unit, torch.tensor(SCALE))
    return metrics_of(meter.pop(CPU), alpha)


def test_exact_noise_is_measured_exactly():
    metrics = observed(lambda noise: 5 * noise)
    assert metrics["noise_alpha_measured"] == pytest.approx(5)
    assert metrics["noise_alpha_error"] == pytest.approx(0, abs=1e-6)
    assert metrics["noise_relative_norm"] == pytest.approx(1, abs=0.02)
    assert metrics["noise_to_signal"] == pytest.approx(5 * SCALE / math.sqrt(3), rel=0.05)
    assert metrics["noise_changed_fraction"] == 1


def test_swallowed_noise_is_measured_as_none():
    metrics = observed(lambda noise: 0 * noise)
    assert metrics["noise_alpha"] == 5
    assert {value for name, value in metrics.items() if name != "noise_alpha"} == {0}


def test_noise_of_another_alpha_is_measured_as_that():
    metrics = observed(lambda noise: 15 * noise)
    assert metrics["noise_alpha_measured"] == pytest.approx(15)
    assert metrics["noise_relative_norm"] == pytest.approx(3, abs=0.06)


def test_rounding_widens_the_error_and_not_the_slope():
    generator = torch.Generator().manual_seed(1)
    metrics = observed(lambda noise: 5 * noise + torch.randn(N, generator=generator) * 0.05)
    error = metrics["noise_alpha_error"]
    assert error == pytest.approx(0.05 / (SCALE / math.sqrt(3)) / math.sqrt(N), rel=0.1)
    assert abs(metrics["noise_alpha_measured"] - 5) < 3 * error
    assert metrics["noise_relative_norm"] > 1.5


def test_half_the_entries_changed_is_said():
    metrics = observed(lambda noise: torch.where(noise > 0, noise, 0.0))
    assert metrics["noise_changed_fraction"] == pytest.approx(0.5, abs=0.03)


def test_sums_of_ranks_and_of_micro_batches_add_up():
    halves, whole = [], Meter()
    for seed in (0, 1):
        before = torch.randn(100, generator=torch.Generator().manual_seed(seed))
        unit = torch.rand(100, generator=torch.Generator().manual_seed(seed + 5)) * 2 - 1
        arguments = (before, before + unit * (seed + 1) * SCALE, unit, torch.tensor(SCALE))
        part = Meter()
        for meter in (part, whole):
            meter.observe(*arguments)
        halves.append(part.pop(CPU))
    assert metrics_of(sum(halves), 1.5) == pytest.approx(metrics_of(whole.pop(CPU), 1.5))


def test_nothing_is_said_where_nothing_was_noised_and_everything_once():
    meter = Meter()
    assert metrics_of(meter.pop(CPU), 5.0) == {}
    meter.observe(torch.ones(3), torch.ones(3) + 0.1, torch.ones(3), torch.tensor(0.1))
    assert metrics_of(meter.pop(CPU), 1.0) and metrics_of(meter.pop(CPU), 1.0) == {}


@pytest.mark.parametrize("length", ["own", "padded"])
def test_embeddings_that_are_not_contiguous_are_noised_and_measured(length):
    class Transposed(torch.nn.Module):
        def forward(self, given):
            return given.transpose(0, 1)

    found = []
    for contiguous in (True, False):
        embedding, noise = Transposed(), EmbeddingNoise(5.0, 1, length)
        given = torch.zeros(2, 30, 16) if contiguous else torch.zeros(30, 2, 16)
        if contiguous:
            embedding.forward = torch.clone
        with noise.attached(embedding), noise.on(Segments.padded(1, [0, 1], [30, 7])):
            found.append(embedding(given.requires_grad_()).detach().clone())
        assert noise.pop_metrics()["noise_alpha_measured"] == pytest.approx(5)
    assert torch.equal(*found) and found[0].abs().max() > 0
