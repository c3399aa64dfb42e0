"""Which workers are waited for, said while there is still time: NCCL lets nobody speak afterwards.

A rank counts the collectives that it has begun. Who waits in one has begun it; who is waited for
has not. With gloo all ranks that gave up name the lost (`roll_call.py`); NCCL's watchdog ends them
at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

from neft_ray.strategy.roll_call import ANSWER_SECONDS

LOOKS = 10
"""How often a rank writes down where it is, while another one would lose its patience."""

logger = logging.getLogger("neft_ray")


@contextmanager
def naming_the_late(
    patience_seconds: float, answer_seconds: float = ANSWER_SECONDS
) -> Iterator[None]:
    """Log which ranks are waited for, once for each collective that lasts too long.

    Args:
        patience_seconds: How long a rank waits before it says so; well below the time after which
            it gives up.
        answer_seconds: How long the store is given to answer; it is rank 0's.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        yield
        return
    over = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(over, patience_seconds, answer_seconds), daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event, patience_seconds: float, answer_seconds: float) -> None:
    store = PrefixStore("late", _get_default_store())
    rank, begun, since, told = distributed.get_rank(), -1, time.monotonic(), -1
    while not over.wait(patience_seconds / LOOKS):
        try:
            if (now := _num_begun()) != begun:
                begun, since = now, time.monotonic()
            store.set(str(rank), str(begun))
        except RuntimeError as error:
            logger.error("rank %d no longer sees the others: %s", rank, str(error).splitlines()[0])
            return
        if begun == told or time.monotonic() - since < patience_seconds:
            continue
        if late := _behind(store, begun, answer_seconds):
            what = "rank %d has waited %.0f s in its collective %d for: %s"
            waited = time.monotonic() - since
            logger.warning(what, rank, waited, begun, ", ".join(map(str, late)))
            told = begun


def _num_begun() -> int:
    """Return how many collectives this rank has begun, of all devices."""
    group = distributed.group.WORLD
    assert group is not None
    backends: dict[int, Any] = {id(it): it for it in map(group._get_backend, group._device_types)}
    return sum(backend._get_sequence_number_for_group() for backend in backends.values())


def _behind(store: PrefixStore, begun: int, answer_seconds: float) -> list[int]:
    """Return the ranks that have begun fewer; rank 0 where its store is silent."""
    where: dict[int, int] = {}
    # A store whose process is stopped answers nothing and knows no time-out: a thread waits for it
    asking = threading.Thread(target=_ask, args=(store, where), daemon=True)
    asking.start()
    asking.join(answer_seconds)
    if len(where) < distributed.get_world_size():
        return [0]
    return sorted(rank for rank, number in where.items() if number < begun)


def _ask(store: PrefixStore, where: dict[int, int]) -> None:
    """Read how many collectives every rank has begun; of one that has not said so, none."""
    try:
        for rank in range(distributed.get_world_size()):
            key = str(rank)
            where[rank] = int(store.get(key)) if store.check([key]) else -1
    except RuntimeError as error:
        logger.error("the store is gone: %s", str(error).splitlines()[0])
