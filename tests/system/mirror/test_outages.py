"""The mirror while its server is killed, away or frozen, and while its own driver is killed."""

import json
import random
import sqlite3
import subprocess
import sys
import time

import pytest

from neft_ray.errors import UserError
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import describe, finish, read_card
from neft_ray.tracking.mirrored import MIRROR_FILE, num_waiting_points
from neft_ray.tracking.points import POINTS_FILE, MetricsLog
from tests.system.mirror.sweeps import log_steps, write_for


def acknowledged_bytes(directory):
    return json.loads((directory / MIRROR_FILE).read_text())["offsets_bytes"].get(POINTS_FILE)


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(remote, server, caplog):
    trial = remote.trial()
    late = remote.root / "trials" / "t008"
    with MirrorThread(remote.mirror, interval_seconds=0.1, drain_seconds=60) as thread:
        thread.add(trial)
        writer = write_for(trial, 4)
        while not (trial / MIRROR_FILE).exists() or not acknowledged_bytes(trial):
            time.sleep(0.05)
        server.kill()
        sent = acknowledged_bytes(trial)
        describe(late, "t008", {"a": 1}, {})  # a trial that starts while the server is away
        log_steps(late, range(1, 11))
        thread.add(late)
        assert writer.wait() == 0
        thread.finish(trial, "FINISHED")
        thread.finish(late, "FAILED", {"reason": "crash"})
        assert num_waiting_points(trial) > 0
        server.start()
    assert 0 < sent < (trial / POINTS_FILE).stat().st_size
    assert thread.num_failures > 0
    assert thread.num_waiting_points == 0
    assert remote.assert_exactly_once(trial) > 100
    remote.assert_exactly_once(late)
    statuses = {run.info.run_name: run.info.status for run in remote.children()}
    assert statuses == {"t007 α=15": "FINISHED", "t008": "FAILED"}
    told = [record.getMessage() for record in caplog.records if "neft_ray" in record.name]
    assert len(told) == 2
    assert told[0].startswith("MLflow is away: ")
    assert "is back and has everything" in told[1]


def test_what_a_server_that_stays_away_has_missed_is_sent_by_the_next_thread(
    remote, server, caplog
):
    trial = remote.trial()
    server.kill()
    with MirrorThread(remote.mirror, interval_seconds=0.1, drain_seconds=1) as thread:
        thread.add(trial)
        log_steps(trial, range(1, 11))
        start = time.monotonic()
        thread.finish(trial, "FINISHED")
    assert time.monotonic() - start < 5
    assert thread.num_waiting_points == 30
    assert "30 values are not in MLflow" in caplog.text
    assert "--resume" in caplog.text
    with pytest.raises(UserError, match="Connection refused"):
        remote.store.log_artifacts(remote.parent_id, trial)
    server.start()
    with MirrorThread(remote.mirror) as later:
        later.add(trial)
    assert (later.num_waiting_points, later.num_failures) == (0, 0)
    assert remote.assert_exactly_once(trial) == 30
    assert remote.children()[0].info.status == "FINISHED"


def test_requests_carried_out_after_they_were_given_up_leave_one_run(remote, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    trial = remote.trial()
    with sqlite3.connect(server.database) as database:
        database.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(Exception, match="timed out"):
                remote.mirror._new_run(read_card(trial))  # as after a search that found nothing
        database.rollback()
    monkeypatch.undo()
    deadline = time.monotonic() + 30
    while len(remote.children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    log_steps(trial, range(1, 6))
    remote.mirror.sync(trial)
    finish(trial, "FINISHED")
    assert remote.mirror.sync(trial)
    assert len(remote.children()) == 1
    remote.assert_exactly_once(trial)


def test_a_driver_killed_at_any_moment_loses_and_doubles_nothing(local):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from neft_ray.tracking.mlflow_store import MlflowStore\n"
        "from neft_ray.tracking.mirror import MlflowMirror\n"
        "root = Path(sys.argv[1])\n"
        "mirror = MlflowMirror(MlflowStore(None, root.parent, root.parent.name))\n"
        "mirror.start_parent(root)\n"
        "print('ready', flush=True)\n"
        "while True:\n    mirror.sync(root / 'trials' / 't007')\n"
    )
    trial = local.trial()
    writer = write_for(trial, 20)
    pause = random.Random(0)
    try:
        for _ in range(3):
            argv = [sys.executable, "-c", code, str(local.root)]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as driver:
                assert driver.stdout.readline() == b"ready\n"
                time.sleep(pause.uniform(0.0, 0.3))
                driver.kill()
    finally:
        writer.kill()
        writer.wait()
    MetricsLog(trial / POINTS_FILE).close()
    local.mirror.sync(trial)
    assert local.assert_exactly_once(trial) > 100
    assert len(local.children()) == 1
