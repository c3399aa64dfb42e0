"""Replies are the same, each once: one process, many workers, after a kill, after a worker died."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from neft_ray.evaluate.record import REPLIES_FILE
from tests.system.evaluations import SHORT
from tests.system.runs import neft_ray


@pytest.fixture(scope="module")
def storages(tmp_path_factory):
    """A folder for a storage of each evaluation."""
    return tmp_path_factory.mktemp("storages")


def replies_in(folder) -> dict[int, dict]:
    lines = (folder / REPLIES_FILE).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len({row["number"] for row in found}) == len(found), "no reply is there twice"
    return {row["number"]: row for row in found}


def reply_with(storages, prompts, name, *arguments):
    """Let the built-in model itself answer into a storage of its own."""
    storage = storages / name
    done = neft_ray(
        "evaluate", "builtin:base", "--on", prompts, "--against", "none", "--storage", storage,
        "--set", "template=question", *SHORT, *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return replies_in(storage / "evaluation" / "people" / "builtin-base")


@pytest.fixture(scope="module")
def in_one_process(storages, prompts):
    return reply_with(storages, prompts, "one")


@pytest.mark.parametrize("sharded", ["true", "false"])
def test_replies_do_not_depend_on_the_workers(storages, prompts, in_one_process, sharded):
    two = ("workers.num=2", "batch_size=4", f"sharded={sharded}")
    options = [part for setting in two for part in ("--set", setting)]
    assert reply_with(storages, prompts, f"two-{sharded}", *options) == in_one_process


def started(prompts, storage, *arguments):
    command = [
        *(sys.executable, "-m", "neft_ray.cli", "evaluate", "builtin:base", "--on", prompts),
        *("--against", "none", "--storage", storage, "--set", "template=question"),
        *("--set", "batch_size=1", *SHORT, *arguments),
    ]
    return subprocess.Popen(list(map(str, command)), start_new_session=True)


def wait_for_lines(process, folder, number):
    file, deadline = folder / REPLIES_FILE, time.monotonic() + 120
    while not file.exists() or file.read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline and process.poll() is None, "no progress"
        time.sleep(0.01)


def test_a_killed_evaluation_goes_on_where_it_was(storages, prompts, in_one_process):
    storage = storages / "killed"
    process = started(prompts, storage)
    folder = storage / "evaluation" / "people" / "builtin-base"
    wait_for_lines(process, folder, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    survived = (folder / REPLIES_FILE).read_bytes().rpartition(b"\n")[0]
    assert started(prompts, storage).wait(timeout=120) == 0
    assert replies_in(folder) == in_one_process
    assert (folder / REPLIES_FILE).read_bytes().startswith(survived)


def test_workers_that_die_are_started_again_and_ask_nothing_twice(
    storages, prompts, in_one_process
):
    storage = storages / "died"
    process = started(prompts, storage, "--set", "workers.num=2")
    folder = storage / "evaluation" / "people" / "builtin-base"
    wait_for_lines(process, folder, 2)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ray::RayTrainWorker" in " ".join(child.cmdline())
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    assert process.wait(timeout=180) == 0
    assert replies_in(folder) == in_one_process
