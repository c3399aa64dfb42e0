"""Workers that wait say for whom, before they give up."""

import logging
import os
import signal
import socket
import time
from datetime import timedelta

import pytest
from torch import distributed, multiprocessing, ones

from neft_ray.strategy.late import naming_the_late

WORLD = 3


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def sleep():
    time.sleep(600)


def work(rank, port, late, hang, said):
    """Adds numbers up with the others; one of them hangs instead."""

    class Say(logging.Handler):
        def emit(self, record):
            said.put(record.getMessage())

    logging.getLogger("neft_ray").addHandler(Say())
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=600),
    )
    distributed.barrier()
    with naming_the_late(2.0, 2.0):
        distributed.all_reduce(ones(10))
        if rank == late:
            hang()
        distributed.all_reduce(ones(10))


@pytest.mark.parametrize(("late", "hang"), [(1, stop), (0, stop), (1, sleep), (0, sleep)])
def test_the_rank_that_is_waited_for_is_named_while_the_others_wait(late, hang):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = context.Queue()
    processes = [
        context.Process(target=work, args=(rank, port, late, hang, said), daemon=True)
        for rank in range(WORLD)
    ]
    try:
        for process in processes:
            process.start()
        messages = sorted(said.get(timeout=60) for _ in range(WORLD - 1))
    finally:
        for process in processes:
            process.kill()
    others = [rank for rank in range(WORLD) if rank != late]
    for message, rank in zip(messages, others, strict=True):
        assert message.startswith(f"rank {rank} has waited ")
        assert message.endswith(f" for: {late}")
