"""What MLflow is told of a run's code, packages and data."""

import getpass
import subprocess
from importlib.metadata import version

from neft_ray.config.data import DataConfig
from neft_ray.pipeline import provenance
from neft_ray.pipeline.provenance import code_tags, code_version, dataset, environment

SUMMARY = {
    "content_hash": "65fd09dfb9078f73",
    "rows": {"train": 320, "select": 161, "report": 159, "truncated": 2, "dropped: no response": 1},
    "longest_tokens": 91,
    "mean_tokens": 54.6,
}


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_a_checkout_is_told_by_commit_and_whether_tracked_files_were_changed(tmp_path):
    assert code_version(tmp_path) == {}
    git(tmp_path, "init", "-b", "trunk")
    assert code_version(tmp_path) == {}, "nothing is committed yet"
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "one")
    found = code_version(tmp_path)
    assert len(found["commit"]) == 40 and found["branch"] == "trunk" and found["dirty"] is False
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").write_text("a result is no change of the code")
    (tmp_path / "deeper").mkdir()
    assert code_version(tmp_path / "deeper") == found
    (tmp_path / "a.py").write_text("2")
    assert code_version(tmp_path) == found | {"dirty": True}


def test_without_git_there_is_no_code_version(tmp_path, monkeypatch):
    git(tmp_path, "init")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert code_version(tmp_path) == {}


def test_the_source_of_a_run_is_told_in_mlflows_own_tags():
    code = {"commit": "c" * 40, "branch": "main", "dirty": True}
    tags = code_tags(code, "neft-ray sweep")
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert tags["neft_ray.git_dirty"] == "true"
    assert tags["mlflow.source.name"] == "neft-ray sweep"
    assert not [key for key in code_tags({}, "neft-ray sweep") if "git" in key]


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr(provenance.os, "getuid", lambda: 1000)
    assert code_tags({}, "x")["mlflow.user"] == "uid 1000"


def test_the_environment_names_every_package_once():
    lines = environment().splitlines()
    assert f"torch=={version('torch')}" in lines
    assert len(lines) == len(set(lines)) and lines == sorted(lines, key=str.lower)


def test_a_data_set_has_its_hash_its_source_and_its_rows(tmp_path):
    file = tmp_path / "alpaca.jsonl"
    file.write_text("{}")
    local = dataset(DataConfig(train=str(file), held_out="builtin:tales"), SUMMARY)
    assert (local.name, local.digest, local.kind) == ("alpaca", "65fd09dfb9078f73", "local")
    assert local.source == {"uri": str(file), "held_out": "builtin:tales"}
    assert local.profile["num_rows"] == 640 and local.profile["num_rows_select"] == 161
    assert local.profile["rows dropped: no response"] == 1
    assert dataset(DataConfig(train="builtin:tales"), SUMMARY).kind == "builtin"
    hub = dataset(DataConfig(train="tatsu-lab/alpaca"), SUMMARY)
    assert (hub.name, hub.kind, hub.source["path"]) == (
        *("tatsu-lab/alpaca", "hugging_face", "tatsu-lab/alpaca"),
    )
