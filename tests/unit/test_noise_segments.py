"""Sequences are found where masks and positions say, and shards are parts of them."""

import pytest
import torch

from neft_ray.noise import NoiseError, Segments
from neft_ray.noise.segments import Segment, spans


def found(positions=None, mask=None):
    given = [None if given is None else torch.tensor(given) for given in (positions, mask)]
    return spans(*given)


@pytest.mark.parametrize(
    ("positions", "mask", "expected"),
    [
        ([[0, 1, 2, 3]], None, [(0, 0, 4)]),
        ([[0, 1, 0, 1]], None, [(0, 0, 2), (0, 2, 2)]),
        ([[0, 0, 0, 1]], None, [(0, 0, 1), (0, 1, 1), (0, 2, 2)]),
        ([[5, 6, 7, 2]], None, [(0, 0, 3), (0, 3, 1)]),
        ([[0, 1, 3, 4]], None, [(0, 0, 4)]),
        (None, [[1, 1, 0, 0], [0, 0, 1, 1]], [(0, 0, 2), (1, 2, 2)]),
        (None, [[0, 0], [1, 1]], [(1, 0, 2)]),
        (None, [[1, 1, 2, 2, 0]], [(0, 0, 2), (0, 2, 2)]),
        ([[1, 1, 0, 1]], [[0, 0, 1, 1]], [(0, 2, 2)]),
        ([[0, 1, 0, 0]], [[1, 1, 1, 0]], [(0, 0, 2), (0, 2, 1)]),
    ],
)
def test_sequences_are_found(positions, mask, expected):
    assert found(positions, mask) == expected


def test_rows_that_are_all_padding_have_no_segment():
    segments = Segments.padded(1, [4, 5, 6], [2, 0, 3])
    assert [(part.row, part.sample_id) for part in segments.parts] == [(0, 4), (2, 6)]


def test_joined_sequences_are_those_that_restarting_positions_show():
    positions = torch.tensor([[0, 1, 2, 0, 0, 1]])
    assert Segments.joined(7, [4, 5, 6], [3, 1, 2]) == Segments.packed(7, positions, [4, 5, 6])
    assert Segments.joined(7, [4, 5], [0, 2], copy=1).parts == (Segment(0, 0, 2, 5, copy=1),)


@pytest.mark.parametrize("num", [1, 3])
def test_as_many_sample_ids_as_documents_are_needed(num):
    with pytest.raises(NoiseError, match=f"{num} sample ids for a micro-batch of 2 documents"):
        Segments.packed(1, torch.tensor([[0, 1, 0, 1]]), range(num))


def test_a_shard_knows_the_whole_length_and_where_it_lies_even_when_cut_again():
    whole = Segments.packed(1, torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]]), [7, 8])
    assert whole.shard(2, 7).parts == (
        Segment(0, 0, 3, 7, offset=2, total=5),
        Segment(0, 3, 2, 8, offset=0, total=3),
    )
    assert whole.shard(2, 7).shard(1, 2) == whole.shard(3, 4)
    assert whole.shard(3, 4).parts == (Segment(0, 0, 1, 7, offset=3, total=5),)
    assert whole.shard(0, 8).parts[0].whole_length == whole.parts[0].whole_length == 5


@pytest.mark.parametrize(("rows", "columns"), [(1, 9), (3, 9), (2, 8)])
def test_other_embeddings_than_described_are_refused(rows, columns):
    segments = Segments.padded(1, [0, 1], [9, 4])
    segments.check(2, 9)
    segments.check(2, 10)
    with pytest.raises(NoiseError, match="announce the micro-batch that is run"):
        segments.check(rows, columns)
