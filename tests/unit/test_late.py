"""Workers that wait say for whom, before they give up."""

import logging

import pytest
from torch import distributed, ones

from neft_ray.strategy.late import naming_the_late
from tests.unit.gloo_ranks import join, messages_of, sleep, stop


def work(rank, port, late, hang, said):
    """Adds numbers up with the others; one of them hangs instead."""

    class Say(logging.Handler):
        def emit(self, record):
            said.put(record.getMessage())

    logging.getLogger("neft_ray").addHandler(Say())
    join(rank, port, 600)
    with naming_the_late(2.0, 2.0):
        distributed.all_reduce(ones(10))
        if rank == late:
            hang()
        distributed.all_reduce(ones(10))


@pytest.mark.parametrize(("late", "hang"), [(1, stop), (0, stop), (1, sleep), (0, sleep)])
def test_the_rank_that_is_waited_for_is_named_while_the_others_wait(late, hang):
    for rank, message in messages_of(work, __name__, late, hang).items():
        assert message.startswith(f"rank {rank} has waited ")
        assert message.endswith(f" for: {late}")
