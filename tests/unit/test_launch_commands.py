"""What submit, stop and down do and say."""

import subprocess
import threading
import time

from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.cli.sweeps import quickstart_file
from neft_ray.errors import bad_input
from neft_ray.launch.ssh import Head
from tests.unit.report_runs import SyntheticRun

CLUSTER = """\
cluster_name: ours
provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}
auth: {ssh_user: me}
metadata: {neft_ray: {storage: /shared}}
"""


def test_a_recipe_is_submitted_by_its_name(tmp_path, monkeypatch):
    def compose(kind, file, *_):
        raise bad_input(file, "was read", "")

    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER)
    monkeypatch.setattr(Head, "run", lambda *_: "")
    monkeypatch.setattr("neft_ray.cli.remote.compose", compose)
    done = CliRunner().invoke(app, ["submit", "quickstart", "--cluster", str(file)])
    assert str(done.exception) == f"{quickstart_file()}: was read; "
    done = CliRunner().invoke(app, ["submit", "--cluster", str(file)])
    assert "no sweep file is given; name one, or give --resume" in str(done.exception)


def test_one_machine_that_is_away_does_not_keep_the_others_up(tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER)
    asked = []

    def run(node, command):
        asked.append(node.address)
        if node.address == "10.0.0.2":
            raise bad_input(node, "cannot be reached", "is it on?")

    monkeypatch.setattr(Head, "run", run)
    monkeypatch.setattr(subprocess, "run", lambda argv: subprocess.CompletedProcess(argv, 0))
    done = CliRunner().invoke(app, ["down", str(file), "--yes"])
    assert asked == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert "nothing runs on 10.0.0.3" in done.output
    assert str(done.exception) == "me@10.0.0.2: cannot be reached; is it on?"


def test_what_goes_on_with_a_stopped_run_is_its_own_command(tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER)
    owners = iter(["17", ""])
    told = {"flock": owners, "manifest.json": iter(['{"kind": "train"}'])}

    def run(node, command):
        return next((next(texts) for word, texts in told.items() if word in command), "")

    monkeypatch.setattr(Head, "run", run)
    monkeypatch.setattr("neft_ray.launch.copies.find_there", lambda *_: "/elsewhere/one")
    done = CliRunner().invoke(app, ["stop", "/elsewhere/one", "--cluster", str(file)])
    again = f"neft-ray submit --resume /elsewhere/one --cluster {file} --train"
    assert done.output == f"one is stopped; go on with: {again}\n"


def test_what_goes_on_with_a_stopped_run_here_is_its_own_command_too(tmp_path):
    run = SyntheticRun(tmp_path / "one").done()
    run.write_manifest(run.manifest | {"kind": "train"})
    is_owned = threading.Event()

    def drive():
        with run.owned():
            is_owned.set()
            while not run.stop_file.exists():
                time.sleep(0.01)

    driver = threading.Thread(target=drive)
    driver.start()
    assert is_owned.wait(20)
    done = CliRunner().invoke(app, ["stop", str(run.root)])
    driver.join()
    assert done.output == f"one is stopped; go on with: neft-ray train --resume {run.root}\n"
