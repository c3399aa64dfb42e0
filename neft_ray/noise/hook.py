"""The forward hook that adds NEFTune's noise (arXiv 2310.05914, Algorithm 1) to one embedding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neft_ray.config.trial import NoiseConfig
from neft_ray.noise.add import add_noise, unit_noise
from neft_ray.noise.draws import DISTRIBUTIONS
from neft_ray.noise.scale import Scaling
from neft_ray.noise.segments import NoiseError, Segments
from neft_ray.noise.telemetry import MEASURED_ENTRIES, Meter, metrics_of

_ALIVE: WeakValueDictionary[int, EmbeddingNoise] = WeakValueDictionary()
"""Where compiled code finds the noise: α, step and segments are no part of what is compiled."""


class EmbeddingNoise:
    """Adds the noise to one embedding's output, in the training forwards announced with `on`.

    Attributes:
        alpha: The paper's α; may be changed between steps.
        factor: What a schedule makes of α in this step; may be changed between steps.
    """

    def __init__(
        self,
        alpha: float,
        seed: int = 0,
        length: Literal["own", "padded"] = "own",
        distribution: str = "uniform",
        symmetric: bool = False,
        relative_to: Literal["absolute", "embedding_rms"] = "absolute",
    ) -> None:
        """Prepare the noise; `attach` or `follow` puts it on a model.

        Args:
            alpha: The paper's α.
            seed: In [0, 2⁶⁴).
            length: See `NoiseConfig`, as for the rest.
            distribution: A name in `DISTRIBUTIONS`.
            symmetric: Copies 2k and 2k + 1 of a sample get +ε and −ε of the same draws.
            relative_to: With `embedding_rms`, α is in units of the root mean square of the
                sequence's own embeddings.
        """
        if distribution not in DISTRIBUTIONS:
            known = ", ".join(DISTRIBUTIONS)
            raise NoiseError(f"no distribution is called {distribution!r}; known: {known}")
        self.alpha = alpha
        self.factor = 1.0
        self._distribution = distribution
        self._scaling = Scaling(seed, length, symmetric, relative_to)
        self._segments: Segments | None = None
        self._last: Segments | None = None
        self._handle: RemovableHandle | None = None
        self._num_fired = 0
        self._meter = Meter()
        self._number = id(self)
        _ALIVE[self._number] = self

    @classmethod
    def of(cls, config: NoiseConfig, seed: int) -> Self:
        """Return the noise that a trial's configuration asks for."""
        return cls(
            config.alpha,
            seed,
            config.length,
            config.distribution,
            config.symmetric,
            config.relative_to,
        )

    @property
    def effective_alpha(self) -> float:
        """This step's α: `alpha` times the schedule's factor."""
        return self.alpha * self.factor

    def attach(self, embedding: nn.Module) -> None:
        """Hook `embedding`, whose output is [B, T, d]; attaching again moves the hook.

        Raises:
            NoiseError: If something else already adds noise to it.
        """
        self.detach()
        for hook in embedding._forward_hooks.values():
            if isinstance(getattr(hook, "__self__", None), EmbeddingNoise) or (
                getattr(hook, "__name__", "") == "neftune_post_forward_hook"
            ):
                raise NoiseError(
                    "this embedding already has a noise hook and would be noised twice: detach "
                    "the other one, or leave neftune_noise_alpha unset"
                )
        self._handle = embedding.register_forward_hook(self._hook)

    def detach(self) -> None:
        """Remove the hook, if there is one."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    @contextmanager
    def attached(self, embedding: nn.Module) -> Iterator[EmbeddingNoise]:
        """Hook `embedding` for the duration of a `with` block, whatever happens in it."""
        self.attach(embedding)
        try:
            yield self
        finally:
            self.detach()

    @contextmanager
    def on(self, segments: Segments) -> Iterator[None]:
        """Announce exactly one training forward of the micro-batch described by `segments`.

        Its backward belongs inside too, if it recomputes the embedding.

        Raises:
            NoiseError: If α > 0 and the hooked embedding did not run exactly once.
        """
        self.announce(segments)
        try:
            yield
        finally:
            num_fired = self.conclude()
        if self.effective_alpha != 0 and num_fired != 1:
            raise NoiseError(
                f"α is {self.effective_alpha:g} but the noise fired {num_fired} times in one "
                "forward: the hooked embedding is not the one this model reads its tokens with, or "
                "it was in evaluation mode or without gradients"
            )

    def announce(self, segments: Segments) -> None:
        """Noise the training forwards from here to `conclude`; `on` is the safe form."""
        self._segments = self._last = segments
        self._num_fired = 0

    def conclude(self) -> int:
        """Return how often the noise fired since `announce`; further forwards are clean."""
        self._segments = None
        return self._num_fired

    @property
    def announced(self) -> Segments | None:
        """What the embedding reads in the forward that runs now; None if it is not announced.

        A forward that runs inside a backward is one that is recomputed: it is the last one again.
        """
        return self._last if _is_recomputed() else self._segments

    def pop_sums(self, device: torch.device) -> Tensor:
        """Return what was measured since the last call, to be added over ranks: float64 [7]."""
        return self._meter.pop(device)

    def pop_metrics(self) -> dict[str, float]:
        """Return the metrics of what was noised since the last call; see `metrics_of`."""
        return metrics_of(self.pop_sums(torch.device("cpu")), self.effective_alpha)

    def fire(self, output: Tensor) -> None:
        """Add the noise to a micro-batch's embeddings [B, T, d] in place, if it is announced.

        A forward that is recomputed gets the noise that it had, and does not count.
        """
        recomputed, segments = _is_recomputed(), self.announced
        if segments is None:
            return
        self._num_fired += not recomputed
        if self.effective_alpha == 0:
            return
        stretches, unit_S = self._scaling.stretches(segments, output)
        if not stretches:
            return
        x_E = output.view(-1) if output.is_contiguous() else output.flatten()
        measured = x_E[stretches[0].begin :][: min(stretches[0].count, MEASURED_ENTRIES)]
        before = measured.clone()
        add_noise(x_E, stretches, unit_S * self.effective_alpha, self._distribution)
        if not recomputed:
            unit = unit_noise(stretches[0], len(before), self._distribution, output.device)
            self._meter.observe(before, measured, unit, unit_S[0])
        if not output.is_contiguous():
            output.copy_(x_E.view(output.shape))

    def _hook(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        """Keep out of evaluation, generation and reference passes; see `fire` for the rest."""
        if not (module.training and torch.is_grad_enabled()):
            return output
        if torch.compiler.is_compiling():
            noised: Tensor = add_embedding_noise(output, self._number)
            return noised
        with torch.no_grad():
            self.fire(output)
        return output


def _is_recomputed() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)


@torch.library.custom_op(
    "neft_ray::add_embedding_noise", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,)
)
def add_embedding_noise(output: Tensor, number: int) -> Tensor:
    """Return noised embeddings: what a compiled model calls, opaque to the compiler."""
    noised = output.clone(memory_format=torch.contiguous_format)
    _ALIVE[number].fire(noised)
    return noised


@add_embedding_noise.register_fake
def _shape_of(output: Tensor, number: int) -> Tensor:
    return torch.empty(output.shape, dtype=output.dtype, device=output.device)


def _gradient(context: object, gradient: Tensor) -> tuple[Tensor, None]:
    return gradient, None


add_embedding_noise.register_autograd(_gradient)
