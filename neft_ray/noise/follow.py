"""The noise in somebody else's loop: announces a model's own training forwards to the hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor, distributed

from neft_ray.noise.hook import EmbeddingNoise
from neft_ray.noise.segments import NoiseError, Segment, Segments, spans

RANK_STRIDE = 2**32
Place = tuple[int, int]
"""Of a training forward: its optimizer step, counted from 1, and which one of the step it is."""


@contextmanager
def noisy_embeddings(
    model: Any,
    alpha: float,
    seed: int = 0,
    distribution: str = "uniform",
    relative_to: Literal["absolute", "embedding_rms"] = "absolute",
) -> Iterator[EmbeddingNoise]:
    """Noise every training forward of a Hugging Face model inside a `with` block.

    Args:
        model: See `following`, which says what is noised and with which key.
        alpha: The paper's α: the noise of one sequence has a norm of α/√3.
        seed: In [0, 2⁶⁴).
        distribution: `uniform`, `gaussian` or `bernoulli`.
        relative_to: With `embedding_rms`, α is in units of the root mean square of the sequence's
            own embeddings.

    Raises:
        NoiseError: See `following`.
    """
    noise = EmbeddingNoise(alpha, seed, distribution=distribution, relative_to=relative_to)
    with following(noise, model):
        yield noise


@contextmanager
def following(
    noise: EmbeddingNoise, model: Any, place_of_next: Callable[[], Place] | None = None
) -> Iterator[EmbeddingNoise]:
    """Noise every training forward of a Hugging Face model inside a `with` block.

    A training forward is one in training mode with gradients on: never one of `generate` or of a
    reference pass. The sequences are read from its `attention_mask` (0 is padding, left or right)
    and its `position_ids` (a document starts where they do not rise); without either, each row is
    one sequence. Both are brought to the CPU to be read.

    There are no sample ids here, so the noise is keyed by (seed, how many training forwards there
    were in this block, rank, position in the micro-batch): repeatable for the same calls in the
    same order, and no more. A checkpointed forward that contains the embedding is recomputed with
    the noise of the last forward: run its backward in the block, before the next forward.

    Args:
        noise: Attached to the model's input embedding for the duration.
        model: Has `get_input_embeddings`; not a DDP or other wrapper around it.
        place_of_next: Returns the place of the training forward that comes next, for a loop that
            knows its steps; None: each is a step.

    Raises:
        NoiseError: If the model is an encoder-decoder or hides its embedding; or in a forward
            that is given embeddings or does not read the hooked one.
    """
    embedding = _embedding_of(model)
    numbers = count(1)
    announcer = _Announcer(noise, model, place_of_next or (lambda: (next(numbers), 0)))
    with noise.attached(embedding):
        before = model.register_forward_pre_hook(announcer.before, with_kwargs=True)
        after = model.register_forward_hook(announcer.after, always_call=True)
        try:
            yield noise
        finally:
            before.remove()
            after.remove()
            noise.conclude()


class _Announcer:
    """Hooks around a model's forward."""

    def __init__(
        self, noise: EmbeddingNoise, model: Any, place_of_next: Callable[[], Place]
    ) -> None:
        self._noise, self._place_of_next = noise, place_of_next
        self._signature = inspect.signature(model.forward)
        self._open = False

    def before(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Announce a forward that trains."""
        if not (model.training and torch.is_grad_enabled()):
            return
        if torch._C._current_graph_task_id() != -1:
            return  # recomputed: the hook repeats the last noise
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given = {**given, **given.get("kwargs", {})}
        segments = _segments_of(given, *self._place_of_next())
        self._open = True
        self._noise.announce(segments)

    def after(self, model: Any, args: tuple[Any, ...], output: Any) -> None:
        """End the announcement, also when the forward failed."""
        if not self._open:
            return
        self._open = False
        num_fired = self._noise.conclude()
        if output is not None and self._noise.effective_alpha != 0 and num_fired != 1:
            raise NoiseError(
                f"the noise fired {num_fired} times in one forward: the model does not read its "
                "tokens with the embedding that get_input_embeddings names; announce its forwards "
                "with `on` and attach to the right one"
            )


def _embedding_of(model: Any) -> Any:
    if not hasattr(model, "get_input_embeddings"):
        raise NoiseError(
            f"{type(model).__name__} has no get_input_embeddings: give the Hugging Face model "
            "itself, not a wrapper around it"
        )
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise NoiseError(
            f"{type(model).__name__} is an encoder-decoder, whose stacks own embeddings that "
            "get_input_embeddings does not name: attach to the one you mean and announce its "
            "forwards with `on`"
        )
    return model.get_input_embeddings()


def _segments_of(given: dict[str, Any], step: int, copy: int) -> Segments:
    tokens, mask = given.get("input_ids"), given.get("attention_mask")
    positions = given.get("position_ids")
    if tokens is None:
        raise NoiseError("a training forward without input_ids cannot be noised: give token ids")
    mask = _rows_like(mask, tokens)
    if mask is None and given.get("attention_mask") is not None and positions is None:
        shape = tuple(given["attention_mask"].shape)
        raise NoiseError(
            f"an attention_mask of shape {shape} does not say where sequences lie: give one of "
            "shape [B, T], or position_ids that restart with every document"
        )
    positions = _rows_like(positions, tokens)
    if mask is None and positions is None:
        found = [(row, 0, tokens.shape[1]) for row in range(len(tokens))]
    else:
        found = spans(positions, mask)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    parts = tuple(
        Segment(*span, sample_id=rank * RANK_STRIDE + index, copy=copy)
        for index, span in enumerate(found)
    )
    return Segments(step, len(tokens), parts)


def _rows_like(given: Any, tokens: Tensor) -> Tensor | None:
    """Return what is given for each token [B, T], None where it is of another kind."""
    if not isinstance(given, Tensor) or given.ndim != 2 or given.shape[1] != tokens.shape[1]:
        return None
    return given.expand(tokens.shape)
