"""The thread that mirrors many trials: at once, past one that is refused, none twice."""

import logging
import time

from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe, read_card
from neft_ray.tracking.mirror import MlflowMirror
from tests.system.mirror.sweeps import log_steps, write_for


def test_three_workers_log_at_once_while_one_thread_mirrors(remote):
    trials = [remote.trial(number) for number in (1, 2, 3)]
    writers = [write_for(trial, 2) for trial in trials]
    with MirrorThread(remote.mirror, interval_seconds=0.2, drain_seconds=60) as thread:
        for trial in trials:
            thread.add(trial)
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        for trial in trials:
            thread.finish(trial, "FINISHED")
    assert thread.num_failures == 0
    for trial in trials:
        remote.assert_exactly_once(trial)
    assert {run.info.status for run in remote.children()} == {"FINISHED"}


def test_one_trial_that_mlflow_refuses_stops_no_other_and_is_told_once(local, caplog):
    refused, fine = local.trial(1), local.trial(2)
    local.mirror.sync(refused)
    local.client.delete_run(local.children()[0].info.run_id)
    for trial in (refused, fine):
        log_steps(trial, [1])
    with MirrorThread(local.mirror, interval_seconds=0.05, drain_seconds=5) as thread:
        thread.add(refused)
        thread.add(fine)
        time.sleep(0.5)
    assert thread.num_failures > 1
    assert thread.num_waiting_points == 3
    local.assert_exactly_once(fine)
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [message.partition(":")[0] for message in told if "t001" in message] == ["t001"]


class Restarting(MlflowMirror):
    """Lets a trial start again just when it was found to have ended."""

    def sync(self, directory):
        ended = super().sync(directory)
        if ended and not self.restarted:
            self.restarted = True
            describe(directory, "t007", {}, {})
            self.thread.add(directory)
        return ended


def test_a_trial_that_starts_again_just_as_it_ended_is_still_mirrored(local):
    trial = local.trial()
    mirror = Restarting(local.store)
    mirror.restarted, mirror.parent_id = False, local.parent_id
    with MirrorThread(mirror, interval_seconds=0.05) as mirror.thread:
        mirror.thread.finish(trial, "KILLED")
        while not mirror.restarted:
            time.sleep(0.01)
        log_steps(trial, [1])
    assert local.assert_exactly_once(trial) == 3
    assert local.children()[0].info.status == "RUNNING"


class Counting:
    """A mirror that counts what it is asked to look at."""

    def __init__(self):
        self.seen = []

    def sync(self, directory):
        self.seen.append(directory.name)
        return read_card(directory).status != "RUNNING"


def test_a_look_for_news_costs_nothing_for_trials_that_have_ended(tmp_path):
    mirror = Counting()
    thread = MirrorThread(mirror)
    for number in range(1000):
        trial = tmp_path / f"t{number:03d}"
        describe(trial, trial.name, {}, {})
        thread.finish(trial, "FINISHED")
    live = tmp_path / "live"
    describe(live, "live", {}, {})
    thread.add(live)
    thread._round()
    assert len(mirror.seen) == 1001
    mirror.seen.clear()
    for _ in range(3):
        thread._round()
    assert mirror.seen == ["live"] * 3
    assert len(thread._live) == 1
