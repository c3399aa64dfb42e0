"""torch.compile takes the hook whole, and what changes from step to step compiles nothing anew."""

import pytest
import torch
import torch._dynamo.utils
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from neft_ray.noise import EmbeddingNoise, Segments
from tests.unit.noise_runs import embed, tokens_of

LENGTHS = [4, 9]


class Model(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.embedding = embed(dtype=dtype)
        self.head = nn.Linear(96, 5, dtype=dtype)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        return self.head(hidden.tanh()).float().logsumexp(-1).sum()


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def run(model, noise, segments, tokens):
    model.zero_grad()
    with noise.on(segments):
        loss = model(tokens)
        loss.backward()
    return loss.detach().clone(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_compiled_losses_and_gradients_are_those_of_eager_mode(backend, dtype):
    model, noise = Model(dtype), EmbeddingNoise(5.0, 3)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    tokens, segments = tokens_of(LENGTHS), Segments.padded(1, [0, 1], LENGTHS)
    exact = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.2}
    with noise.attached(model.embedding):
        loss, grads = run(model, noise, segments, tokens)
        expected = noise.pop_metrics()
        again, compiled_grads = run(compiled, noise, segments, tokens)
        assert noise.pop_metrics() == pytest.approx(expected)
    clean = model(tokens)
    torch.testing.assert_close(again, loss, **exact)
    assert abs(loss - clean) > 5 * abs(again - loss)
    for ours, theirs in zip(compiled_grads, grads, strict=True):
        torch.testing.assert_close(ours, theirs, **exact)


def test_nothing_compiles_anew_when_alpha_step_or_segments_change():
    counter = CompileCounterWithBackend("aot_eager")
    model, noise = Model(), EmbeddingNoise(5.0, 3)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    losses = []
    with noise.attached(model.embedding):
        for step, (alpha, factor, lengths) in enumerate(
            [(5.0, 1, [4, 9]), (5.0, 1, [4, 9]), (15.0, 1, [4, 9]), (15.0, 0.5, [3, 12, 5])], 1
        ):
            noise.alpha, noise.factor = alpha, factor
            segments = Segments.padded(step, range(len(lengths)), lengths)
            losses.append(run(compiled, noise, segments, tokens_of(lengths))[0])
            if step == 1:
                after_first_step = counter.frame_count
            metrics = noise.pop_metrics()
            assert metrics["noise_alpha_measured"] == pytest.approx(alpha * factor, rel=1e-4)
        noise.alpha = 0.0
        run(compiled, noise, segments, tokens_of(lengths))
        assert noise.pop_metrics() == {}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert counter.frame_count == after_first_step
    assert len({loss.item() for loss in losses}) == 4


def test_a_compiled_model_is_clean_outside_announced_forwards_and_in_evaluation():
    model, noise = Model(), EmbeddingNoise(50.0, 3)
    tokens = tokens_of(LENGTHS)
    clean = model(tokens)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with noise.attached(model.embedding):
        torch.testing.assert_close(compiled(tokens), clean)
        with noise.on(Segments.padded(1, [0, 1], LENGTHS)):
            assert abs(compiled(tokens) - clean) > 0.1
            with torch.no_grad():
                torch.testing.assert_close(compiled(tokens), clean)
            model.eval()
            torch.testing.assert_close(compiled(tokens), clean)
            model.train()
        torch.testing.assert_close(compiled(tokens), clean)


def test_a_detached_noise_leaves_a_compiled_model_clean():
    model, noise = Model(), EmbeddingNoise(50.0, 3)
    tokens = tokens_of(LENGTHS)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with noise.attached(model.embedding), noise.on(Segments.padded(1, [0, 1], LENGTHS)):
        noisy = compiled(tokens)
    torch.testing.assert_close(compiled(tokens), model(tokens))
    assert abs(noisy - model(tokens)) > 0.1
