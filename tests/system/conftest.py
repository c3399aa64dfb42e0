"""Sweeps that several tests look at, each run once."""

import signal
from pathlib import Path

import pytest

from tests.system.runs import ASHA_WITH_ONE_SLOT, Sweep, neft_ray


@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    """A grid without stopping, on two slots, that nothing disturbs."""
    return finished(Sweep(tmp_path_factory.mktemp("grid")))


@pytest.fixture(scope="session")
def asha(tmp_path_factory):
    """ASHA with one slot, that nothing disturbs."""
    return finished(Sweep(tmp_path_factory.mktemp("asha"), changes=ASHA_WITH_ONE_SLOT))


@pytest.fixture(scope="session")
def disturbed_asha(tmp_path_factory):
    """The same, but a second driver comes, driver and worker are killed, and Ctrl-C is pressed."""
    sweep = Sweep(tmp_path_factory.mktemp("disturbed"), changes=ASHA_WITH_ONE_SLOT)
    sweep.start()
    sweep.wait_for_reports(1)
    sweep.second_driver = neft_ray("sweep", "--resume", sweep.run.root)
    sweep.wait_for_reports(6)
    sweep.kill_driver()
    sweep.resume()
    sweep.wait_for_reports(sweep.num_reports() + 4)
    sweep.kill("RayTrainWorker")
    sweep.wait_for_reports(sweep.num_reports() + 3)
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.wait() == 130, sweep.told()
    sweep.reports_at_interrupt = sweep.num_reports()
    sweep.resume()
    return finished(sweep)


def pytest_collection_modifyitems(items):
    """Keep tests that share a sweep in one process, where several run the tests."""
    for item in items:
        if {"asha", "disturbed_asha"} & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("asha"))
        elif item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def finished(sweep):
    """Wait for a sweep's good end."""
    if sweep.process is None:
        sweep.start()
    assert sweep.wait() == 0, sweep.told()
    return sweep
