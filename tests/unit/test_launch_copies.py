"""Runs on a cluster: found by their names, and copied to this machine."""

import subprocess
from types import SimpleNamespace

import pytest

from neft_ray.errors import UserError, bad_input
from neft_ray.launch.copies import bring, find_there, kind_there
from neft_ray.run_directory import RunDirectory
from tests.unit.report_runs import SyntheticRun


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


def test_a_run_of_this_machine_is_never_overwritten_by_a_copy(tmp_path, monkeypatch):
    (tmp_path / "name-1").mkdir()
    monkeypatch.setattr("neft_ray.launch.copies.find_there", lambda *_: "/shared/name-1")
    with pytest.raises(UserError, match="is a run of this machine"):
        bring(None, None, "name-1", tmp_path)
