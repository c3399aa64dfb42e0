"""Workers that wait in vain say for whom, whether it died or hangs."""

import pytest
from torch import distributed, ones

from neft_ray.strategy.roll_call import LostWorkerError, naming_the_lost
from tests.unit.gloo_ranks import die, join, messages_of, stop

SECONDS = 2.0


def work(rank, port, lost, vanish, said):
    """Adds numbers up with the others for ever, until one of them vanishes."""
    join(rank, port, SECONDS)
    if rank == lost:
        vanish()
    try:
        with naming_the_lost(SECONDS):
            while True:
                distributed.all_reduce(ones(10))
    except LostWorkerError as error:
        said.put(str(error))


@pytest.mark.parametrize("vanish", [stop, die])
@pytest.mark.parametrize("lost", [0, 1])
def test_the_rank_that_is_gone_is_named_by_the_others(vanish, lost):
    for rank, message in messages_of(work, __name__, lost, vanish).items():
        assert message.startswith(f"rank {rank} waited in vain; no answer from: {lost} (")


@pytest.mark.parametrize("error", [RuntimeError("gloo is not set up"), ValueError("gloo")])
def test_without_others_an_error_stays_what_it_is(error):
    with pytest.raises(type(error), match=str(error)), naming_the_lost(SECONDS):
        raise error
