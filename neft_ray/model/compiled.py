"""A model's layers through torch.compile: fewer, larger kernels, the same function."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from neft_ray.errors import bad_input
from neft_ray.model.load import decoder_layers


def compile_layers(model: Any) -> None:
    """Compile every layer of a model on its own, for any number of rows and tokens.

    Layers are alike: what is compiled for one serves the others, and later trials of the same
    process, which takes seconds where a whole model takes minutes.

    Raises:
        UserError: If the model has no layers that transformers knows as such.
    """
    layers = decoder_layers(model)
    if not layers:
        what, remedy = "it has no layers of transformers' kind", "write model.compile: false"
        raise bad_input(f"model.compile with {type(model).__name__}", what, remedy)
    for layer in layers:
        layer.compile(dynamic=True)


def uncompiled(where: bool) -> AbstractContextManager[None]:
    """Return a context in which nothing that was compiled is used, if `where`; else do nothing.

    What needs no gradients would be compiled once more, for a forward that is a third of a step.
    """
    if not where:
        return nullcontext()  # torch's compiler takes a second to import
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
