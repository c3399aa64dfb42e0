"""A model's layers through torch.compile: fewer, larger kernels, the same function."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from neft_ray.model.load import decoder_layers


def compile_layers(model: Any) -> None:
    """Compile every layer of a model on its own, for any number of rows and tokens.

    Layers are alike: what is compiled for one serves the others, and later trials of the same
    process, which takes seconds where a whole model takes minutes.
    """
    for layer in decoder_layers(model):
        layer.compile(dynamic=True)


def uncompiled(where: bool) -> AbstractContextManager[None]:
    """Return a context in which nothing that was compiled is used, if `where`; else do nothing.

    What needs no gradients would be compiled once more, for a forward that is a third of a step.
    """
    if not where:
        return nullcontext()  # torch's compiler takes a second to import
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
