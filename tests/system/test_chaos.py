"""A larger sweep in which everything is killed at random: the table is that of a quiet one."""

import random
import time

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.journal import read_events
from neft_ray.sweep.conductor import Conductor
from neft_ray.sweep.driver import DataCache
from tests.system.runs import Sweep, assert_same, finished, statuses
from tests.system.servers import Server

pytestmark = pytest.mark.slow
IN_STEP = {
    "space": {
        "noise.alpha": {"uniform": [0, 20]},
        "optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]},
    },
    "searcher": {"kind": "random"},
    "scheduler": {"kind": "halving", "grace_steps": 24, "eta": 2},
    "num_trials": 16,
    "finalists": {"num": 1, "seeds": [1]},
    "max_failures": 10,
}
LONG = {
    "data": {"max_rows": 384},
    "batch": {"size_examples": 32},
    "training": {"epochs": 32, "eval_every_steps": 24},
}
"""Long enough for ten kills."""
LONGEST_PAUSE_SECONDS = 8.0
VICTIMS = ["driver", "Slot", "Slot", "RayTrainWorker", "server"]
"""A slot twice: Ray Train's controller is in its process."""
SEED = 7


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """32 trials, halved in step on two slots, that nothing disturbs."""
    return finished(Sweep(tmp_path_factory.mktemp("quiet"), changes=IN_STEP, base=LONG))


def kill(victim: str, sweep: Sweep, server: Server) -> None:
    """Kill one process of a kind, whatever it is doing.

    The driver is started again at once; it would refuse to start without the server.
    """
    if victim == "driver":
        sweep.kill_driver()
        num_starts = sweep.num_events("open")
        sweep.resume()
        sweep.wait_for_events("open", num_starts + 1)
    elif victim == "server":
        server.kill()
        time.sleep(3)
        server.start()
    else:
        sweep.kill(victim)


@pytest.mark.timeout(3600)
def test_32_trials_are_the_same_after_kills_of_every_process_at_random_moments(quiet, tmp_path):
    chance = random.Random(SEED)
    victims = VICTIMS * 2
    chance.shuffle(victims)
    killed = []
    with Server(tmp_path / "server") as server:
        here = {"uri": server.uri, "database": server.database}
        sweep = Sweep(tmp_path, changes=IN_STEP, base=LONG, **here)
        sweep.start()
        sweep.wait_for_reports(2)
        for victim in victims:
            time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            assert sweep.process.poll() is None, f"ended before {victim} was killed"
            kill(victim, sweep, server)
            killed.append(victim)
        finished(sweep)
    assert sorted(killed) == sorted(VICTIMS * 2)
    assert len([r for r in sweep.records.values() if r.phase == "search"]) == 32
    assert {"stopped", "completed"} <= set(statuses(sweep.records).values())
    assert_same(sweep, quiet)
    assert_replays(sweep)
    sweep.assert_nothing_is_left()


def assert_replays(sweep: Sweep) -> None:
    """Opening the journal makes every decision again and refuses one that differs."""
    config = load_sweep(sweep.file)
    num_events = len(list(read_events(sweep.run.journal_file)))
    conductor = Conductor(config, sweep.run, DataCache(sweep.storage / "cache"))
    assert conductor.is_finished
    conductor.close()
    assert len(list(read_events(sweep.run.journal_file))) == num_events
