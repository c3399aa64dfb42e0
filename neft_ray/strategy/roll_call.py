"""Which workers are gone, when the others have waited for them in vain."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, _get_default_store

ANSWER_SECONDS = 30.0
"""How long the others are given to answer. All of them gave up at about the same time."""

logger = logging.getLogger("neft_ray")


class LostWorkerError(RuntimeError):
    """A worker does not answer: it died, or hangs."""


@contextmanager
def naming_the_lost(answer_seconds: float = ANSWER_SECONDS) -> Iterator[None]:
    """Say which ranks do not answer, if what is done here fails because of others.

    Every rank whose collective failed writes its name into the store through which the process
    group was made, and reads the others'. With NCCL it may come to nothing: its watchdog ends a
    process that has waited too long.

    Raises:
        LostWorkerError: Instead of the error of a collective.
    """
    try:
        yield
    except RuntimeError as error:
        if not distributed.is_initialized() or not is_of_a_collective(error):
            raise
        first = str(error).splitlines()[0][:200]
        lost = ", ".join(map(str, _silent(answer_seconds))) or "none"
        message = f"rank {distributed.get_rank()} waited in vain; no answer from: {lost} ({first})"
        logger.error("%s", message)
        raise LostWorkerError(message) from error


def is_of_a_collective(error: RuntimeError) -> bool:
    """Tell a failure of communication, which gloo gives no class of its own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def _silent(answer_seconds: float) -> list[int]:
    """Return the ranks that have not answered in time; rank 0 where the store is silent with it."""
    came: set[int] = set()
    # A store whose process is stopped answers nothing and knows no time-out: a thread waits for it.
    asking = threading.Thread(target=_ask, args=(came, answer_seconds), daemon=True)
    asking.start()
    asking.join(answer_seconds + 1.0)
    if 0 not in came:
        return [0]
    return [rank for rank in range(distributed.get_world_size()) if rank not in came]


def _ask(came: set[int], answer_seconds: float) -> None:
    """Answer, and add the ranks that answer to a set until all have or the time is over."""
    store = PrefixStore("roll-call", _get_default_store())
    ranks = range(distributed.get_world_size())
    end = time.monotonic() + answer_seconds
    try:
        store.set(str(distributed.get_rank()), "here")
        while len(came) < len(ranks) and time.monotonic() < end:
            came |= {rank for rank in ranks if rank not in came and store.check([str(rank)])}
            time.sleep(0.1)
    except RuntimeError as error:
        logger.error("the store is gone: %s", str(error).splitlines()[0])
