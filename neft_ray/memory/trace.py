"""One forward and backward on fake tensors: what is alive at each moment, without any weights.

The model is the real one (adapters, activation checkpointing, the loss head), built from its
configuration on fake tensors (`torch._subclasses.FakeTensorMode`), which have shapes and storages
but no bytes; every operation is counted by the counter that also measures real runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
from neft_ray.memory.live import LiveBytes
from neft_ray.model import SupervisedLM, decoder_layers, resolve_path
from neft_ray.strategy.models import for_training

ROOT = -1
"""The group of all that lies outside the decoder layers."""


@dataclass(frozen=True)
class Group:
    """Parameters that are gathered together where they are sharded.

    Attributes:
        all: Elements; tied weights once.
        trained: Those of them that are trained.
    """

    all: int
    trained: int


@dataclass
class Moment:
    """A stretch of the step in which no gradient is added and no layer entered or left.

    Attributes:
        backward: Whether it lies in the backward.
        group: The decoder layer at work, or `ROOT`.
        made: Trained elements whose gradients are complete, by group.
        activations: Bytes alive at its peak beside parameters and complete gradients.
        logits: How many of them the loss head has made.
    """

    backward: bool
    group: int
    made: dict[int, int]
    activations: int = 0
    logits: int = 0


@dataclass(frozen=True)
class Trace:
    """What one forward and backward holds, from which every strategy's memory follows.

    Attributes:
        base: Elements of the model without adapters.
        groups: The parameters by group.
        moments: In order of time.
    """

    base: int
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
        UserError: If the model cannot run on fake tensors.
    """
    recorder = _Recorder()
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
            with recorder:
                recorder.begin(model, groups)
                losses = model(tokens, torch.ones(shape, dtype=torch.bool))
                recorder.enter(ROOT, backward=True)
                losses.sum().backward()
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
    return Trace(base, sizes, recorder.moments)


def _from_description(config: TrialConfig, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    given = config.model
    described = AutoConfig.from_pretrained(
        resolve_path(given.path), revision=given.revision, trust_remote_code=given.trust_remote_code
    )
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(
            described, dtype=dtype, trust_remote_code=given.trust_remote_code
        )
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
    """Say what `model._head_is_plain` finds out with values: logits are what the head returns."""
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


class _Recorder(LiveBytes):
    """Writes down the moments of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Moment] = []
        self._held = 0  # parameters, buffers and complete gradients
        self._in_head: dict[int, int] = {}
        self._logits = 0
        self._at_head = False
        self._made: dict[int, int] = {}

    def begin(self, model: SupervisedLM, groups: dict[int, list[nn.Parameter]]) -> None:
        """Start to record; what is alive now stays alive."""
        for tensor in [*model.parameters(), *model.buffers()]:
            self.see(tensor)
        self._held = self.now
        self.enter(ROOT, backward=False)
        layers = decoder_layers(model.model)
        for index, layer in enumerate(layers):
            is_last = index == len(layers) - 1
            layer.register_forward_pre_hook(partial(self._enter_layer, index), with_kwargs=True)
            layer.register_forward_hook(partial(self._leave_layer, index, is_last))
        for index, parameters in groups.items():
            for parameter in parameters:
                if parameter.requires_grad:
                    hook = partial(self._complete, index)
                    parameter.register_post_accumulate_grad_hook(hook)

    @property
    def in_backward(self) -> bool:
        """Whether the backward has begun."""
        return bool(self.moments) and self.moments[-1].backward

    def enter(self, group: int, backward: bool, at_head: bool = False) -> None:
        """Begin a moment."""
        begins = backward and not self.in_backward
        self._at_head = at_head or begins
        self.moments.append(Moment(backward, group, dict(self._made)))
        self._note()

    def _enter_layer(self, index: int, layer: nn.Module, args: Any, kwargs: Any) -> None:
        if self.in_backward:
            return  # computed again
        self.enter(index, backward=False)
        given = args[0] if args else kwargs["hidden_states"]
        if index == 0 and given.requires_grad:
            given.register_hook(lambda _: self.enter(ROOT, backward=True))

    def _leave_layer(
        self, index: int, is_last: bool, layer: nn.Module, args: Any, output: Any
    ) -> None:
        if self.in_backward:
            return
        made = output if isinstance(output, Tensor) else output[0]
        made.register_hook(lambda _: self.enter(index, backward=True))
        self.enter(ROOT, backward=False, at_head=is_last)

    def _complete(self, group: int, parameter: Tensor) -> None:
        """Count a gradient as complete."""
        assert parameter.grad is not None
        key = id(parameter.grad.untyped_storage())
        self._held += self.sizes[key]
        self._logits -= self._in_head.pop(key, 0)
        self._made[group] = self._made.get(group, 0) + parameter.numel()
        now = self.moments[-1]
        self.moments.append(Moment(now.backward, now.group, dict(self._made)))
        self._note()

    def _set(self, key: int, size: int) -> None:
        if self._at_head and self.sizes.get(key) != size:
            self._logits += size - self._in_head.get(key, 0)
            self._in_head[key] = size
        super()._set(key, size)
        if self.moments:
            self._note()

    def _gone(self, key: int) -> None:
        self._logits -= self._in_head.pop(key, 0)
        super()._gone(key)

    def _note(self) -> None:
        activations, now = self.now - self._held, self.moments[-1]
        if activations > now.activations:
            now.activations, now.logits = activations, self._logits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Take every token as supervised: how many are True in a mask is not known here."""
        if func is torch.ops.aten.nonzero.default:
            made = args[0].new_empty((args[0].numel(), args[0].ndim), dtype=torch.int64)
            self.see(made)
            return made
        return super().__torch_dispatch__(func, types, args, kwargs)
