"""What travels to a cluster with a sweep, and what its head is told to run."""

import shlex
import subprocess
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import requests
from ray.job_submission import JobStatus
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.cli.sweeps import quickstart_file
from neft_ray.config.load import load_sweep
from neft_ray.errors import LostContactError, UserError, bad_input
from neft_ray.launch import submission
from neft_ray.launch.copies import bring, find_there, kind_there
from neft_ray.launch.job import jobs, output
from neft_ray.launch.ssh import Head
from neft_ray.run_directory import RunDirectory
from tests.unit.config_files import FILE
from tests.unit.report_runs import SyntheticRun

CLUSTER = """\
cluster_name: ours
provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}
auth: {ssh_user: me}
metadata: {neft_ray: {storage: /shared}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with rows and a model, where commands are typed."""
    folder = tmp_path / "here"
    (folder / "models/tiny").mkdir(parents=True)
    (folder / "models/tiny/config.json").write_text("{}")
    (folder / "rows.jsonl").write_text("{}\n")
    monkeypatch.chdir(folder)
    return folder


def config(*overrides):
    return load_sweep(FILE, ["data.train=rows.jsonl", "model.path=models/tiny", *overrides])


def test_relative_files_travel_and_nothing_else(here, tmp_path):
    (here / "secret.txt").write_text("stays")
    submission.pack(config(), tmp_path / "bundle")
    found = sorted(
        path.relative_to(tmp_path / "bundle").as_posix()
        for path in (tmp_path / "bundle").rglob("*")
        if path.is_file()
    )
    assert found == ["models/tiny/config.json", "rows.jsonl"]


def test_whole_paths_and_names_of_the_hub_stay_as_they_are(here, tmp_path):
    whole = config(f"data.train={here / 'rows.jsonl'}", "model.path=org/model")
    submission.pack(whole, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_every_value_that_is_searched_travels(here, tmp_path):
    (here / "other.jsonl").write_text("{}\n")
    submission.pack(
        config("sweep.space.data.train.choice=[rows.jsonl, other.jsonl]"), tmp_path / "b"
    )
    assert {path.name for path in (tmp_path / "b").glob("*.jsonl")} == {
        "rows.jsonl",
        "other.jsonl",
    }


def test_what_is_kept_out_of_the_data_travels_too(here, tmp_path):
    (here / "mine.jsonl").write_text("{}\n")
    kept_out = config("data.exclude=[mine.jsonl, alpaca_eval]")
    submission.pack(kept_out, tmp_path / "bundle")
    assert (tmp_path / "bundle/mine.jsonl").is_file()
    assert submission.hub_names(kept_out) == ["alpaca_eval"]


def test_files_of_a_folder_above_are_refused(here, tmp_path):
    (here.parent / "above.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"data.train: .*above.jsonl lies outside"):
        submission.pack(config("data.train=../above.jsonl"), tmp_path / "bundle")


def test_what_is_too_large_for_a_job_is_refused_before_it_is_sent(here, tmp_path):
    with (here / "rows.jsonl").open("wb") as file:
        file.truncate(submission.MAX_BYTES + 1)
    with pytest.raises(UserError, match="more than 500 MiB would travel"):
        submission.pack(config(), tmp_path / "bundle")


def test_a_command_survives_a_shell(here):
    odd = "data.train=it's $HOME; rm -rf"
    new = submission.Submission("sweep", config(), "text", (odd,), "name-1")
    words = ["python", "-m", "neft_ray.cli", "sweep", "sweep.yaml", "--set", odd]
    assert shlex.split(new.command) == [*words, "--run-name", "name-1"]
    again = submission.Submission("train", config(), "text", (), "name-1", "/shared/name-1")
    assert shlex.split(again.command)[3:] == ["train", "sweep.yaml", "--resume", "/shared/name-1"]


def test_names_of_two_people_differ():
    assert len({submission.new_name("sweep") for _ in range(50)}) == 50


def test_a_head_that_is_not_there_is_told_in_one_line():
    with pytest.raises(UserError, match=r"nobody@127\.0\.0\.1: cannot be reached.*ray up"):
        Head("127.0.0.1", "nobody", proxy="false").run("true")
    with (
        pytest.raises(UserError, match="cannot be reached"),
        Head("127.0.0.1", "nobody", proxy="false").tunnel(1),
    ):
        pass


class HereAsHead:
    """A head whose shell is this machine's."""

    def run(self, command):
        argv = ["bash", "-c", command]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_runs_are_found_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / 'it\'s my "own"'
    head = HereAsHead()
    with pytest.raises(UserError, match="no such run: one; runs there: none"):
        find_there(None, head, f"{folder}/one")
    (folder / "one").mkdir(parents=True)
    (folder / "one/sweep.yaml").touch()
    (folder / "one/manifest.json").write_text('{"kind": "train"}')
    assert find_there(None, head, f"{folder}/one/") == f"{folder}/one"
    assert kind_there(head, f"{folder}/one") == "train"


def test_the_latest_run_of_a_cluster_is_the_one_created_last_as_it_is_here(tmp_path):
    for name, created in (("old", 10.5), ("new", 200.25), ("odd: name", 30.0)):
        (tmp_path / name).mkdir()
        manifest = {"neft_ray_version": "1", "created": created, "kind": "sweep"}
        RunDirectory(tmp_path / name).write_manifest(manifest)
    (tmp_path / "new/sweep.yaml").touch()
    (tmp_path / "odd: name/sweep.yaml").touch()
    (tmp_path / "old/sweep.yaml").touch()  # written anew: it got more trials
    assert find_there(None, HereAsHead(), f"{tmp_path}/latest") == f"{tmp_path}/new"
    (tmp_path / "newest").mkdir()  # in a bucket, only its manifest has been looked at
    RunDirectory(tmp_path / "newest").write_manifest({"created": 300.0})
    assert find_there(None, HereAsHead(), f"{tmp_path}/latest") == f"{tmp_path}/new"
    with pytest.raises(UserError, match="runs there: new, odd: name, old"):
        find_there(None, HereAsHead(), f"{tmp_path}/newest")


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


def test_a_copy_that_was_cut_is_brought_up_to_date_later(tmp_path, monkeypatch):
    """A link that breaks in the middle of the first copy."""
    there, head = tmp_path / "there/one", HereAsHead()
    SyntheticRun(there).done()
    cuts = iter([True, False])

    def bring_half(root, target, without):
        target.mkdir(parents=True, exist_ok=True)
        (target / "sweep.yaml").write_text((there / "sweep.yaml").read_text())
        if next(cuts):
            raise bad_input("head", "cannot be reached", "try again")
        (target / "manifest.json").write_text((there / "manifest.json").read_text())

    monkeypatch.setattr(head, "bring", bring_half, raising=False)
    cluster = SimpleNamespace(path="cluster.yaml")
    with pytest.raises(UserError, match="cannot be reached"):
        bring(cluster, head, str(there), tmp_path / "here")
    assert bring(cluster, head, str(there), tmp_path / "here").name == "one"


class Job:
    """A job's server behind a link that breaks now and then."""

    def __init__(self, *told):
        self._told = iter(told)

    def get_job_status(self, name):
        self._now = next(self._told)
        if self._now is None:
            raise requests.ConnectionError("refused")
        return JobStatus.SUCCEEDED if self._now.endswith("end") else JobStatus.RUNNING

    def get_job_logs(self, name):
        return self._now


def test_what_a_job_prints_is_told_once_over_a_link_that_breaks(monkeypatch):
    monkeypatch.setattr("neft_ray.launch.job.POLL_SECONDS", 0)
    told = ["one\n", None, None, "one\ntwo\n", None, "one\ntwo\nend"]
    assert list(output(Job(*told), "a job")) == ["one\n", "two\n", "end"]
    monkeypatch.setattr("neft_ray.launch.job.PATIENCE_SECONDS", -1)
    with pytest.raises(requests.ConnectionError):
        list(output(Job(*told), "a job"))


def test_a_link_that_stays_broken_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: "client")
    monkeypatch.setattr(Head, "tunnel", lambda head, port: nullcontext(1))
    with (
        pytest.raises(
            LostContactError, match=r"me@h: the connection .* broke; what was submitted goes"
        ),
        jobs(Head("h", "me")) as client,
    ):
        assert client == "client"
        raise requests.ConnectionError("Connection aborted.")


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


def test_a_run_of_this_machine_is_never_overwritten_by_a_copy(tmp_path, monkeypatch):
    (tmp_path / "name-1").mkdir()
    monkeypatch.setattr("neft_ray.launch.copies.find_there", lambda *_: "/shared/name-1")
    with pytest.raises(UserError, match="is a run of this machine"):
        bring(None, None, "name-1", tmp_path)


def test_only_what_comes_from_the_hub_needs_its_token(here):
    assert submission.hub_names(config()) == []
    assert submission.hub_names(config("model.path=builtin:base", "data.train=/rows.jsonl")) == []
    names = submission.hub_names(config("model.path=org/gated", "data.train=org/rows"))
    assert names == ["org/gated", "org/rows"]


def test_a_command_names_a_file_with_the_token_and_not_the_token(here):
    new = submission.Submission("sweep", config(), "text", (), "name-1", token_file="/secrets/x")
    assert shlex.split(new.command)[5:7] == ["--hub-token-file", "/secrets/x"]


def test_a_run_lies_where_its_own_file_says(here):
    mine = submission.Submission("sweep", config("storage=s3://mine/runs/"), "text", (), "name-1")
    assert mine.place == "s3://mine/runs/name-1"
