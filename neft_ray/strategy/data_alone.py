"""Checkpoints are data: what is read of them gives tensors and plain values, and runs nothing.

Libraries write pickles, which could name any function to be called, and some trust whatever they
find there. Whoever can write into a checkpoint must not thereby run anything where it is read.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.serialization import safe_globals

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_SWITCHES = (_FORCE, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")

_OF_SHARDS = {
    "torch": ("Size",),
    "torch.serialization": ("_get_layout",),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        *("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex"),
        *("StorageMeta", "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
    ),
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),  # Python 3.13
}
"""All that an index of torch's sharded checkpoints names."""


@contextmanager
def data_alone(known: Sequence[type] = ()) -> Iterator[None]:
    """Have torch refuse all else, even where a library asks it to trust a file.

    Args:
        known: Classes of the library that wrote the files.
    """
    before = {name: os.environ.pop(name) for name in _SWITCHES if name in os.environ}
    os.environ[_FORCE] = "1"
    try:
        with safe_globals(list(known)):
            yield
    finally:
        del os.environ[_FORCE]
        os.environ.update(before)


class IndexUnpickler(pickle.Unpickler):
    """Reads the index of torch's sharded checkpoints."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few classes that an index is made of, or a dtype."""
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and name not in _OF_SHARDS.get(module, ()):
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module, name)


def refusal(error: Exception) -> str:
    """Say why a file could not be read; where it held code, without torch's advice to trust it."""
    if not isinstance(error, pickle.UnpicklingError):
        return f"is not a readable checkpoint ({error})"
    found = re.search(r"GLOBAL (\S+)", str(error))
    more = f": {found[1]}" if found else ""
    return f"is refused: it holds more than tensors and plain values{more}"
