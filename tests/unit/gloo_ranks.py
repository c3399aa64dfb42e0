"""Processes that speak through gloo on loopback, of which one vanishes or hangs."""

import os
import signal
import time
from datetime import timedelta

from torch import distributed, multiprocessing

from neft_ray.launch.tunnel import free_port

WORLD = 3


def stop():
    """Hang, as a stopped process does."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die():
    os._exit(1)


def sleep():
    time.sleep(600)


def join(rank, port, seconds):
    """Meet the other ranks."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=WORLD,
        timeout=timedelta(seconds=seconds),
    )
    distributed.barrier()


def messages_of(work, module, lost, vanish):
    """Run `work(rank, port, lost, vanish, said)` on all ranks; return what the others say, by rank.

    Args:
        work: A function of a test's module.
        module: The module's name, to be loaded once.
        lost: The rank that calls `vanish`.
        vanish: `stop`, `die` or `sleep`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    port = free_port()
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
    return dict(zip([rank for rank in range(WORLD) if rank != lost], messages, strict=True))
