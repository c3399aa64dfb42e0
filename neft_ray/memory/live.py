"""Counts the bytes of live tensors while code runs, on real tensors and on fake ones alike."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the sizes of all storages that an operation has read or made and that still exist.

    A storage counts once however many views it has, and no longer once the last of them is gone.
    What a kernel allocates for itself, below the dispatcher, is not seen.

    Attributes:
        now: Bytes that are live.
        peak: The most there were since `reset_peak`.
    """

    def __init__(self, fake: bool = False) -> None:
        """Start at nothing.

        Args:
            fake: Count fake tensors, and no others; else real ones, and no others. (DTensor tries
                its operations on fake tensors first.)
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._fake = fake
        self.sizes: dict[int, int] = {}
        self._references: dict[int, weakref.ref[Any]] = {}

    def reset_peak(self) -> None:
        """Start a new peak at what is live."""
        self.peak = self.now

    def see(self, tensor: Tensor) -> None:
        """Count a tensor, unless it is known or has no bytes (on the meta device)."""
        if isinstance(tensor, FakeTensor) != self._fake or tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._references:
            self._references[key] = weakref.ref(storage, lambda _: self._gone(key))
            self._set(key, storage.nbytes())

    def _set(self, key: int, size: int) -> None:
        self.now += size - self.sizes.get(key, 0)
        self.sizes[key] = size
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)
        del self._references[key]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it reads and makes."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it comes back with the shards
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, made)):
            if isinstance(leaf, Tensor):
                self.see(leaf)
        return made

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count for the duration of a `with` block, also storages that change their size."""
        original = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> Any:  # as FSDP2 frees and fills
            result = original(storage, size)
            if id(storage) in self._references:
                self._set(id(storage), size)
            return result

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]
        try:
            with self:
                yield
        finally:
            torch.UntypedStorage.resize_ = original  # type: ignore[method-assign]
