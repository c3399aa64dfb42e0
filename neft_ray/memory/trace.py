"""One forward and backward on fake tensors: what is alive at each moment, without any weights.

The model is the real one (adapters, activation checkpointing, the loss head), built from its
configuration on fake tensors (`torch._subclasses.FakeTensorMode`), which have shapes and storages
but no bytes; every operation is counted by the counter that also measures real runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)

from neft_ray.config.trial import TrialConfig
from neft_ray.errors import bad_input
from neft_ray.memory.recorder import ROOT, Moment, Recorder
from neft_ray.model import SupervisedLM, decoder_layers, load_description
from neft_ray.strategy.models import for_training

SMALL_ELEMENTS = 10**5
"""DeepSpeed's `stage3_param_persistence_threshold`: parameters no larger stay gathered."""


@dataclass(frozen=True)
class Group:
    """Parameters that are gathered together where they are sharded.

    Attributes:
        all: Elements; tied weights once.
        trained: Those of them that are trained.
    """

    all: int
    trained: int


@dataclass(frozen=True)
class Trace:
    """What one forward and backward holds, from which every strategy's memory follows.

    Attributes:
        base: Elements of the model without adapters.
        embedding: Elements of the input embedding.
        small: Elements in parameters of at most `SMALL_ELEMENTS`.
        groups: The parameters by group.
        moments: In order of time.
    """

    base: int
    embedding: int
    small: int
    groups: dict[int, Group]
    moments: list[Moment]

    @property
    def total(self) -> Group:
        """All parameters."""
        groups = self.groups.values()
        return Group(sum(g.all for g in groups), sum(g.trained for g in groups))


def trace_step(
    config: TrialConfig, shape: tuple[int, int], dtype: torch.dtype = torch.float32
) -> Trace:
    """Return what a micro-step holds, moment by moment, with every token supervised.

    Args:
        config: The trial; of its model only the configuration is read.
        shape: (rows, tokens) of the micro-batch.
        dtype: Of the parameters that forward and backward see.

    Raises:
        UserError: If the model is no causal language model, cannot run on fake tensors, or is held
            in 4 bits.
    """
    if config.model.quantization is not None:
        what, remedy = "what 4-bit weights hold is not predicted", "measure a few steps instead"
        raise bad_input("model.quantization", what, remedy)
    recorder = Recorder()
    try:
        with torch.device("meta"):
            plain = _from_description(config, dtype)
            base = sum(p.numel() for p in plain.parameters())
            model = for_training(plain, config).train()
        with FakeTensorMode(), _one_document_per_row():
            _fake(model)
            tokens = torch.zeros(shape, dtype=torch.int64)
            model._direct_head = _head_is_plain(model.model, tokens[:1])
            groups = _groups(model)
            with recorder.counting():
                recorder.begin(model, groups)
                loss = model(tokens, torch.ones(shape, dtype=torch.bool), per_row=False)
                recorder.enter(ROOT, backward=True)
                loss.backward()
    except (
        DataDependentOutputException,
        DynamicOutputShapeException,
        UnsupportedFakeTensorException,
    ) as error:
        what = f"its memory cannot be predicted: what it computes depends on values ({error})"
        raise bad_input(config.model.path, what, "measure a few steps instead") from error
    sizes = {
        index: Group(
            sum(p.numel() for p in parameters),
            sum(p.numel() for p in parameters if p.requires_grad),
        )
        for index, parameters in groups.items()
    }
    numels = [p.numel() for parameters in groups.values() for p in parameters]
    small = sum(numel for numel in numels if numel <= SMALL_ELEMENTS)
    embedding = sum(p.numel() for p in model.embedding.parameters())
    return Trace(base, embedding, small, sizes, recorder.moments)


def _from_description(config: TrialConfig, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    trusts, described = config.model.trust_remote_code, load_description(config.model)
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(described, dtype=dtype, trust_remote_code=trusts)
    model.tie_weights()  # left out with the initialisation
    model.config.use_cache = False
    return model


def _fake(model: nn.Module) -> None:
    """Replace tensors without device by fake ones on the CPU; shared ones stay shared."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in made:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                made[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
            module._parameters[name] = made.get(id(parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _groups(model: SupervisedLM) -> dict[int, list[nn.Parameter]]:
    layers = decoder_layers(model.model)
    groups = {index: list(layer.parameters()) for index, layer in enumerate(layers)}
    inside = {id(p) for parameters in groups.values() for p in parameters}
    groups[ROOT] = [p for p in model.parameters() if id(p) not in inside]
    return groups


@torch.no_grad()
def _head_is_plain(model: Any, tokens_BT: Tensor) -> bool:
    """Say what `model.loss` finds out with values: logits are what the head returns."""
    head, made = model.get_output_embeddings(), []
    with head.register_forward_hook(lambda module, inputs, output: made.append(output)):
        logits = model(input_ids=tokens_BT, use_cache=False).logits
    same = made[0].untyped_storage()._cdata == logits.untyped_storage()._cdata
    return bool(same and made[0]._version == 0)


@contextmanager
def _one_document_per_row() -> Iterator[None]:
    """Make transformers omit its attention mask, which it always writes out on fake tensors."""
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original
