"""The same sequences laid out in different ways, and the noise each of them gets."""

import itertools

import torch
from torch import nn

from neft_ray.noise import EmbeddingNoise, NoiseError, Segments

WIDTH, ALPHA, SEED = 96, 5.0, 11
LENGTHS = {7: 3, 8: 20, 9: 75, 10: 1, 42: 12}
"""Tokens of each sample."""


class Given(nn.Module):
    """Stands for an embedding: returns what it is given to return, by position."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self):
        return self.output.clone().requires_grad_(self.output.requires_grad)


def padded(step, copy=0):
    """One sequence a row, and one row that is all padding."""
    lengths = [*LENGTHS.values(), 0]
    return [(Segments.padded(step, [*LENGTHS, 99], lengths, copy), (len(lengths), 80))]


def alone(step, copy=0):
    """Every sequence in a micro-batch of its own, the last one first."""
    return [
        (Segments.padded(step, [sample], [length], copy), (1, length))
        for sample, length in reversed(LENGTHS.items())
    ]


def packed(step, copy=0):
    """Two rows of documents with positions that restart, the second padded."""
    positions, mask = torch.zeros(2, 100, dtype=torch.long), torch.zeros(2, 100, dtype=torch.long)
    rows = ((9, 8), (42, 10, 7))
    for row, samples in enumerate(rows):
        start = 0
        for sample in samples:
            positions[row, start : start + LENGTHS[sample]] = torch.arange(LENGTHS[sample])
            mask[row, start : start + LENGTHS[sample]] = 1
            start += LENGTHS[sample]
    segments = Segments.packed(step, positions, [s for row in rows for s in row], mask, copy)
    return [(segments, (2, 100))]


def sharded(step, copy=0):
    """The packed rows cut at columns that fall within documents, as sequence parallelism does."""
    ((whole, _),) = packed(step, copy)
    cuts = (0, 13, 50, 86, 100)
    return [
        (whole.shard(start, stop), (2, stop - start)) for start, stop in itertools.pairwise(cuts)
    ]


LAYOUTS = {layout.__name__: layout for layout in (padded, alone, packed, sharded)}


def noised(layout, values, noise=None, /, step=1, copy=0, **options):
    """Fire on embeddings that hold `values(sample, offset, length)`.

    Returns what each sample's embeddings became, its shards put together again, and what became of
    the padding, which was 0 before.
    """
    noise = noise or EmbeddingNoise(ALPHA, SEED, **options)
    samples, padding = {}, []
    for segments, (rows, columns) in LAYOUTS[layout](step, copy):
        dtype = values(7, 0, 1).dtype
        x, is_padding = (torch.zeros(rows, columns, WIDTH, dtype=dtype) for _ in range(2))
        is_padding += 1
        for part in segments.parts:
            here = (part.row, slice(part.start, part.start + part.length))
            x[here], is_padding[here] = values(part.sample_id, part.offset, part.length), 0
        embedding = Given(x.requires_grad_())
        with noise.attached(embedding):
            try:
                with noise.on(segments):
                    output = embedding().detach()
            except NoiseError:
                assert not segments.parts
        for part in sorted(segments.parts, key=lambda part: part.offset):
            piece = output[part.row, part.start : part.start + part.length]
            before = samples.get(part.sample_id, piece[:0])
            assert len(before) == part.offset
            samples[part.sample_id] = torch.cat([before, piece])
        padding.append(output[is_padding.bool()])
    return samples, torch.cat(padding)


def zeros(dtype):
    """Embeddings of 0: what they become is the noise itself."""
    return lambda sample, offset, length: torch.zeros(length, WIDTH, dtype=dtype)


def normal(dtype, std):
    """Embeddings that are a function of the sample, not of where it lies."""

    def values(sample, offset, length):
        generator = torch.Generator().manual_seed(sample)
        whole = torch.randn(LENGTHS[sample], WIDTH, generator=generator) * std
        return whole[offset : offset + length].to(dtype)

    return values
