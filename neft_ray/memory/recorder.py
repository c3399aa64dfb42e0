"""Writes down, while a step runs on fake tensors, what is alive from moment to moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neft_ray.memory.live import LiveBytes
from neft_ray.model import SupervisedLM, decoder_layers

ROOT = -1
"""The group of all that lies outside the decoder layers."""


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


class Recorder(LiveBytes):  # type: ignore[no-untyped-call]
    """Writes down the moments of a step."""

    def __init__(self) -> None:
        super().__init__(fake=True)
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
                    parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

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
