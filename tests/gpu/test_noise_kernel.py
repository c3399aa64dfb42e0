"""The fused kernel on a real GPU: bitwise the CPU's noise, in the hook and by itself."""

import pytest
import torch
from torch import nn

from neft_ray.noise import DISTRIBUTIONS, EmbeddingNoise, Key, Segments
from neft_ray.noise.add import add_noise, unit_noise
from neft_ray.noise.stretch import Stretch
from tests.unit.test_noise_kernel import compare

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

WIDTH, LENGTHS = 256, [64, 1, 0, 130]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def noised(device, dtype, **options):
    weight = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    embedding = nn.Embedding.from_pretrained(weight, freeze=False).to(device)
    tokens = (torch.arange(4 * 140).view(4, 140) % 50).to(device)
    noise = EmbeddingNoise(5.0, 1, **options)
    with noise.attached(embedding), noise.on(Segments.padded(3, range(4), LENGTHS)):
        output = embedding(tokens)
    return output.detach(), noise


def test_kernel_is_bitwise_the_plain_computation():
    compare("cuda")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hook_gives_the_same_embeddings_on_gpu_and_cpu(distribution, dtype):
    on_gpu, noise = noised("cuda", dtype, distribution=distribution)
    on_cpu, _ = noised("cpu", dtype, distribution=distribution)
    assert torch.equal(on_gpu.cpu(), on_cpu)
    assert noise.pop_metrics()["noise_alpha_measured"] == pytest.approx(5, rel=0.01)


def test_the_end_of_a_long_sequence_is_noised_too():
    count, last = 32_768 * 4096, 2048
    words = Key(1, 2, 3).words
    x_E = torch.zeros(count, device="cuda")
    add_noise(x_E, [Stretch(0, count, 0, words, 1)], torch.ones(1, device="cuda"), "uniform")
    end = Stretch(count - last, last, count - last, words, 1)
    assert x_E[-last:].cpu().equal(unit_noise(end, last, "uniform", torch.device("cpu")))


def test_hook_takes_one_kernel_and_no_tensor_of_memory():
    embedding = nn.Embedding(100, 2048, dtype=torch.bfloat16, device="cuda")
    tokens = torch.randint(100, (8, 1024), device="cuda")
    noise, segments = EmbeddingNoise(5.0, 1), Segments.padded(1, range(8), [512] * 8)
    with noise.attached(embedding):
        for _ in range(2):  # the first compiles
            torch.cuda.reset_peak_memory_stats()
            with noise.on(segments):
                output = embedding(tokens)
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
    held = torch.cuda.memory_allocated()
    assert peak - held < 0.1 * output.numel() * output.element_size()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_compiled_model_gets_the_same_noise(dtype):
    embedding = nn.Embedding(100, WIDTH, dtype=dtype, device="cuda")
    compiled = torch.compile(embedding, fullgraph=True, dynamic=True)
    tokens = torch.arange(2 * 30, device="cuda").view(2, 30)
    noise, found = EmbeddingNoise(5.0, 1), []
    with noise.attached(embedding):
        for run in (embedding, compiled):
            with noise.on(Segments.padded(1, [0, 1], [30, 12])):
                found.append(run(tokens).detach())
    assert torch.equal(*found)
