"""Workers that wait in vain say for whom, whether it died or hangs."""

import os
import signal
import socket
from datetime import timedelta

import pytest
from torch import distributed, multiprocessing, ones

from neft_ray.strategy.roll_call import LostWorkerError, naming_the_lost

SECONDS = 2.0
WORLD = 3


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def die():
    os._exit(1)


def work(rank, port, lost, vanish, said):
    """Adds numbers up with the others for ever, until one of them vanishes."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=SECONDS),
    )
    distributed.barrier()
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = context.Queue()
    processes = [
        context.Process(target=work, args=(rank, port, lost, vanish, said), daemon=True)
        for rank in range(WORLD)
    ]
    try:
        for process in processes:
            process.start()
        messages = sorted(said.get(timeout=60) for _ in range(WORLD - 1))
    finally:
        for process in processes:
            process.kill()
    others = [rank for rank in range(WORLD) if rank != lost]
    for message, rank in zip(messages, others, strict=True):
        assert message.startswith(f"rank {rank} waited in vain; no answer from: {lost} (")


@pytest.mark.parametrize("error", [RuntimeError("gloo is not set up"), ValueError("gloo")])
def test_without_others_an_error_stays_what_it_is(error):
    with pytest.raises(type(error), match=str(error)), naming_the_lost(SECONDS):
        raise error
