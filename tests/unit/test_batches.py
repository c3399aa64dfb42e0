"""A step's rows are a function of (seed, step); cutting them up changes neither rows nor tokens."""

from itertools import pairwise

import numpy as np
import pytest

from neft_ray.config.trial import BatchConfig
from neft_ray.data.batches import StepOrder, batches_of_rank, collate, filler, share_of_rank
from tests.unit.trial_runs import random_data

DATA = random_data(num_train=60)
ROWS = list(range(60))
KINDS = ("padded", "bucketed", "packed")


def cut(rows, kind="bucketed", micro_tokens=64):
    return batches_of_rank(DATA, rows, BatchConfig(kind=kind, micro_tokens=micro_tokens), 0, 1)


@pytest.mark.parametrize(("num", "size"), [(60, 6), (61, 6), (5, 6), (6, 1)])
def test_every_row_comes_once_per_epoch(num, size):
    order = StepOrder(range(100, 100 + num), size, seed=1)
    assert order.steps_per_epoch == -(-num // size)
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch + 1, (epoch + 1) * order.steps_per_epoch + 1)
        sizes = [len(order.rows(step)) for step in steps]
        assert sorted(row for step in steps for row in order.rows(step)) == list(
            range(100, 100 + num)
        )
        assert sizes[:-1] == [size] * (len(sizes) - 1)


def test_a_steps_rows_depend_on_seed_and_step_alone():
    order = StepOrder(ROWS, 6, seed=1)
    backwards = [order.rows(step) for step in range(30, 0, -1)]
    np.random.seed(5)
    assert backwards[::-1] == [StepOrder(ROWS, 6, seed=1).rows(step) for step in range(1, 31)]


def test_order_is_shuffled_anew_by_epoch_and_seed():
    def epoch(number, seed):
        order = StepOrder(ROWS, 60, seed)
        return order.rows(number)

    orders = [epoch(1, 1), epoch(2, 1), epoch(1, 2), epoch(2, 2), ROWS]
    assert len({tuple(order) for order in orders}) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("micro_tokens", [1, 31, 64, 300, 10_000])
def test_every_row_is_in_one_micro_batch_and_none_is_over_budget(kind, micro_tokens):
    batches = cut(ROWS, kind, micro_tokens)
    assert sorted(row for batch in batches for row in batch.sample_ids) == ROWS
    for batch in batches:
        padded = (len(batch.sample_ids), max(batch.lengths))
        shape = (1, sum(batch.lengths)) if kind == "packed" else padded
        assert batch.tokens_BT.shape == batch.targets_BT.shape == shape
        assert batch.packed_lengths == (batch.lengths if kind == "packed" else None)
        assert batch.tokens_BT.numel() <= micro_tokens or len(batch.sample_ids) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_are_no_smaller_than_the_budget_allows(kind):
    batches = cut(ROWS, kind)
    for batch, following in pairwise(batches):
        together = (*batch.lengths, following.lengths[0])
        slots = sum(together) if kind == "packed" else max(together) * len(together)
        assert slots > 64


def test_padded_keeps_the_order_and_bucketed_pads_less():
    for kind in ("padded", "packed"):
        assert [row for batch in cut(ROWS, kind) for row in batch.sample_ids] == ROWS
    slots = {kind: sum(b.tokens_BT.numel() for b in cut(ROWS, kind)) for kind in KINDS}
    real = sum(DATA.length(row) for row in ROWS)
    assert real == slots["packed"] <= slots["bucketed"] < 1.1 * real < slots["padded"]


def test_no_rows_make_no_micro_batch():
    assert cut([]) == []


def test_a_micro_batch_holds_its_rows_tokens_and_targets_and_nothing_in_the_padding():
    rows = [17, 3, 40]
    batch = collate(DATA, rows)
    assert batch.sample_ids == (17, 3, 40)
    assert batch.tokens_BT.shape == (3, max(batch.lengths))
    for index, row in enumerate(rows):
        span, length = slice(DATA.offsets[row], DATA.offsets[row + 1]), DATA.length(row)
        assert batch.lengths[index] == length
        assert np.array_equal(batch.tokens_BT[index, :length], DATA.tokens[span])
        assert np.array_equal(batch.targets_BT[index, :length], DATA.supervised[span])
        assert not batch.tokens_BT[index, length:].any()
        assert not batch.targets_BT[index, length:].any()


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("num", [1, 7, 60])
def test_ranks_share_the_rows_without_gap_or_overlap(world, num):
    rows = ROWS[:num]
    shares = [share_of_rank(DATA, rows, rank, world) for rank in range(world)]
    assert sorted(row for share in shares for row in share) == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_get_about_the_same_number_of_tokens(world):
    shares = [share_of_rank(DATA, ROWS, rank, world) for rank in range(world)]
    loads = [sum(DATA.length(row) for row in share) for share in shares]
    assert max(loads) - min(loads) <= max(DATA.length(row) for row in ROWS) / 4


@pytest.mark.parametrize("num_rows", [1, 2, 5, 17])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_all_ranks_have_equally_many_micro_batches_and_each_row_once(num_rows, world):
    config = BatchConfig(micro_tokens=31)
    of_ranks = [batches_of_rank(DATA, ROWS[:num_rows], config, r, world) for r in range(world)]
    assert len({len(batches) for batches in of_ranks}) == 1
    real = [b for batches in of_ranks for b in batches if any(b.lengths)]
    assert sorted(row for batch in real for row in batch.sample_ids) == ROWS[:num_rows]
    longest = max(len([b for b in batches if any(b.lengths)]) for batches in of_ranks)
    assert len(of_ranks[0]) == longest


def test_a_filler_has_no_real_token_and_no_target():
    batch = filler(7)
    assert batch.tokens_BT.shape == batch.targets_BT.shape == (1, 1)
    assert not batch.targets_BT.any()
    assert (batch.sample_ids, batch.lengths) == ((7,), (0,))
