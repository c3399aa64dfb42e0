"""The Engine: how a model is spread over workers, and what all ways of spreading share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from neft_ray.errors import UserError, bad_input
from neft_ray.model import SupervisedLM
from neft_ray.strategy.data_alone import data_alone, refusal
from neft_ray.strategy.roll_call import is_of_a_collective

if TYPE_CHECKING:
    from torch.distributed.checkpoint.api import CheckpointException

Value = TypeVar("Value")


class Engine(Protocol):
    """A model with its optimizer, on every worker of a trial."""

    module: nn.Module
    """What a forward is called on, in training and evaluation; on all ranks equally often."""
    plain: SupervisedLM
    """The model inside."""
    device: torch.device
    rank: int
    world: int

    def micro_step(self, is_last: bool) -> AbstractContextManager[None]:
        """Surround one forward and backward; only the last of a step need reduce over workers."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this worker's share of the step's loss."""

    def step(self, learning_rate: float) -> float:
        """Clip, update, clear; return the gradient norm before clipping, equal on all ranks."""

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over all ranks, on the CPU."""

    def gather_over_ranks(self, value: Value) -> list[Value]:
        """Return what every rank gave, by rank; it can be pickled."""

    def save(self, folder: Path) -> list[Path]:
        """Write model and optimizer into an existing folder; all ranks call this.

        Of the model only what is trained is written. A rank that fails goes on far enough for no
        other to wait for it.

        Returns:
            The files that this rank wrote.

        Raises:
            OSError: If the disk is full or not writable, on this rank at least.
        """

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, at any number of workers; all ranks call this.

        Raises:
            UserError: If it cannot be read.
        """

    def close(self) -> None:
        """Let go of memory and hooks. The engine is not used afterwards."""


@runtime_checkable
class BackgroundEngine(Engine, Protocol):
    """An engine that can write a checkpoint while training goes on."""

    def snapshot(self, folder: Path) -> Callable[[], list[Path]]:
        """Copy what `save` would write now; all ranks call this.

        Returns:
            What writes the copy, in any thread while the engine is used, and returns and raises
            what `save` does; all ranks call it once, before another snapshot.
        """


class Ranks:
    """One of the workers that train a model together."""

    def __init__(self, plain: SupervisedLM, device: torch.device) -> None:
        self.plain = plain
        self.device = device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """See `Engine`."""
        if self.world > 1:
            values = values.to(self.device, copy=True)
            distributed.all_reduce(values)
        return values.cpu()

    def gather_over_ranks(self, value: Value) -> list[Value]:
        """See `Engine`."""
        values = [value] * self.world
        if self.world > 1:
            distributed.all_gather_object(values, value)
        return values

    def close(self) -> None:
        """See `Engine`. Nothing outlives the engine."""


class TorchEngine(Ranks):
    """What the strategies share that update with a torch optimizer."""

    def __init__(
        self,
        plain: SupervisedLM,
        optimizer: Optimizer,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        super().__init__(plain, device)
        self._optimizer = optimizer
        self._clip_norm = clip_norm if clip_norm is not None else float("inf")

    def backward(self, loss: Tensor) -> None:
        """See `Engine`. Workers are averaged, so each share is multiplied by their number."""
        (loss * self.world).backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> float:
        """See `Engine`."""
        norm = clip_grad_norm_(self.plain.parameters(), self._clip_norm)
        if hasattr(norm, "full_tensor"):  # sharded
            norm = norm.full_tensor()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)


class WorkerError(OSError):
    """Another rank failed in what all do together."""


@contextmanager
def together(engine: Engine) -> Iterator[None]:
    """Wait for all ranks; what failed on one fails on every rank, so that none waits for it.

    Raises:
        UserError: What failed on this rank.
        OSError: Likewise, or what failed on another one.
    """
    error: OSError | UserError | None = None
    try:
        yield
    except (OSError, UserError) as failure:
        error = failure
    if engine.sum_over_ranks(torch.tensor([float(error is not None)])) > 0:
        raise error or WorkerError("another worker failed")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise what the writers of tensors make of a full disk as an `OSError`."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and is_of_a_collective(error):
            raise  # a worker is lost, and the disk is as it was
        raise OSError(f"{folder} cannot be filled ({error})") from error
    except _failure_of_shards() as error:
        raise OSError(f"{folder} cannot be filled ({_by_rank(error)})") from error


@contextmanager
def reading(place: Path, *known: type) -> Iterator[None]:
    """Raise whatever the readers of tensors make of a broken file as a `UserError`.

    Args:
        place: A checkpoint, or one of its files.
        known: Classes that may be in it, beside tensors and plain values.
    """
    remedy = "delete this checkpoint"
    try:
        with data_alone(known):
            yield
    except UserError:
        raise
    except Exception as error:  # safetensors, torch and pickle have no common error for it
        raise bad_input(place, refusal(error), remedy) from error
    except _failure_of_shards() as error:
        for _, (cause, _) in sorted(error.failures.items()):
            if isinstance(cause, UserError):
                raise cause from error
        what = f"is not a readable checkpoint ({_by_rank(error)})"
        raise bad_input(place, what, remedy) from error


def _failure_of_shards() -> type[CheckpointException]:
    """Return what torch raises where checkpoints are sharded; it takes a second to import."""
    from torch.distributed.checkpoint.api import CheckpointException

    return CheckpointException


def _by_rank(error: CheckpointException) -> str:
    """Say in one line which ranks failed, and why. All ranks raise this, and no `Exception`."""
    return "; ".join(f"rank {rank}: {cause}" for rank, (cause, _) in error.failures.items())


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; shared ones once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
