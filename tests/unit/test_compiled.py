"""Compiled layers: the losses and gradients of plain ones, compiled once for all shapes."""

import copy

import pytest
import torch
import torch._dynamo.utils
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import AutoModelForCausalLM

from neft_ray.data.batches import collate, filler, pack
from neft_ray.errors import UserError
from neft_ray.model import SupervisedLM
from neft_ray.model.compiled import compile_layers
from tests.unit.plain_losses import DATA, loss_and_gradient
from tests.unit.test_packing import CONFIGS, call

MICRO_BATCHES = ([3, 0, 7, 5], [1, 2], [4, 6, 8], [9])
LAYOUTS = {"bucketed": collate, "packed": pack}


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch):
    """Counts what is compiled, without a compiler."""
    counter, plain = CompileCounterWithBackend("aot_eager"), torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **o: plain(self, backend=counter, **o)
    )
    return counter


def build(kind, layout, compiled=True):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[kind]))
    return SupervisedLM(model, packed=layout == "packed", compiled=compiled)


def gradient_of(model, batch):
    model.model.zero_grad()
    return loss_and_gradient(model, lambda: call(model, batch, per_row=False))


def test_losses_and_gradients_are_those_of_plain_layers():
    plain, compiled = build("llama", "packed", compiled=False), build("llama", "packed")
    for rows in MICRO_BATCHES[:2]:
        batch = pack(DATA, rows)
        loss, gradient = gradient_of(compiled, batch)
        expected, expected_gradient = gradient_of(plain, batch)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
        assert not torch.equal(gradient, expected_gradient)  # other kernels did this


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["llama", "query_norm", "biased_head"])
def test_one_layer_is_compiled_for_all_of_all_trials(kind, layout, graphs):
    for trial in range(2):
        model = build(kind, layout)
        for rows in MICRO_BATCHES:
            gradient_of(model, LAYOUTS[layout](DATA, rows))
            if (trial, rows) == (0, MICRO_BATCHES[1]):
                first = graphs.frame_count
    assert first > 0
    if layout == "packed":
        assert graphs.frame_count == first
    else:  # a padded micro-batch of a single row has graphs of its own
        assert first < graphs.frame_count <= 2 * first


def test_what_needs_no_gradient_is_not_compiled(graphs):
    model = build("llama", "packed")
    with torch.no_grad():
        call(model, pack(DATA, [3, 0]))
        call(model, filler(0, is_packed=True))
    model.generate(torch.tensor([[3, 4]]), max_new_tokens=3)
    assert graphs.frame_count == 0


def test_a_model_without_layers_is_refused():
    with pytest.raises(
        UserError, match=r"model\.compile with Linear: .*write model\.compile: false"
    ):
        compile_layers(torch.nn.Linear(2, 2))
