"""Where the noise of a micro-batch goes, under which key, and what it is multiplied by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from neft_ray.noise.draws import Key
from neft_ray.noise.segments import NoiseError, Segment, Segments
from neft_ray.noise.stretch import Stretch


@dataclass(frozen=True)
class Scaling:
    """The settings of `NoiseConfig` that say how a sequence's noise is keyed and scaled.

    Attributes:
        seed: In [0, 2⁶⁴).
        length: Whose length L is: the sequence's `own`, or the `padded` one.
        symmetric: Copies 2k and 2k + 1 of a sample get +ε and −ε of the same draws.
        relative_to: What α is a multiple of.
    """

    seed: int
    length: Literal["own", "padded"]
    symmetric: bool
    relative_to: Literal["absolute", "embedding_rms"]

    def stretches(self, segments: Segments, output: Tensor) -> tuple[list[Stretch], Tensor]:
        """Return the stretches of embeddings [B, T, d] to noise, and their scales where α is 1.

        Raises:
            NoiseError: If the segments are not those of `output`, or a shard would need to know
                its whole sequence.
        """
        segments.check(*output.shape[:2])
        parts = self._extents(segments, output.shape[1])
        scales = torch.tensor([self._scale(part, output) for part in parts], dtype=torch.float32)
        scale_S = scales.to(output.device)
        if self.relative_to == "embedding_rms" and parts:
            scale_S *= torch.stack([_rms(part, output) for part in parts])
        return [self._stretch(segments.step, part, output) for part in parts], scale_S

    def _extents(self, segments: Segments, num_columns: int) -> list[Segment]:
        """Return what is noised: with L padded, the padding too, as part of what is left of it."""
        if self.length == "own":
            return list(segments.parts)
        parts = sorted(segments.parts, key=lambda part: (part.row, part.start))
        extents = []
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            if part.total is not None:
                raise NoiseError("a shard does not know the padded length: use length 'own'")
            end = following.start if following and following.row == part.row else num_columns
            extents.append(replace(part, length=end - part.start))
        return extents

    def _scale(self, part: Segment, output: Tensor) -> float:
        columns, width = output.shape[1:]
        length = columns if self.length == "padded" else part.whole_length
        sign = -1.0 if self.symmetric and part.copy % 2 else 1.0
        return sign / math.sqrt(length * width)

    def _stretch(self, step: int, part: Segment, output: Tensor) -> Stretch:
        columns, width = output.shape[1:]
        copy, twin = divmod(part.copy, 2) if self.symmetric else (part.copy, 0)
        return Stretch(
            begin=(part.row * columns + part.start) * width,
            count=part.length * width,
            first=part.offset * width,
            words=Key(self.seed, step, part.sample_id, copy).words,
            rounding_stream=1 + twin,
        )


def _rms(part: Segment, output: Tensor) -> Tensor:
    """Return the root mean square of one sequence's embeddings: float32, without dimensions."""
    if part.total is not None:
        raise NoiseError(
            "a shard does not know the RMS of its whole sequence: use relative_to 'absolute'"
        )
    entries = output[part.row, part.start : part.start + part.length]
    norm: Tensor = torch.linalg.vector_norm(entries, dtype=torch.float32)
    return norm / math.sqrt(entries.numel())
