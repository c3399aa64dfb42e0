"""A run directory has one owner at a time, a name of its own, and is found again."""

import json
import subprocess
import sys

import pytest

from neft_ray import __version__
from neft_ray.errors import UserError
from neft_ray.run_directory import RunDirectory, create_run, find_run, find_runs, trial_name
from tests.unit.trial_runs import small_config

OWNER = """
import sys
from pathlib import Path
from neft_ray.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).owned():
    print("owned", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path, "alpaca")


@pytest.fixture
def owner(run):
    """Another process that owns the run until it is told to end, or killed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OWNER, run.root], **pipes) as process:
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_a_run_that_another_process_owns_is_refused_with_its_pid(run, owner):
    assert run.owner_pid == owner.pid
    with pytest.raises(UserError, match=f"process {owner.pid} is working on this run"), run.owned():
        pytest.fail("owned twice")
    assert run.owner_pid == owner.pid


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_a_run_is_free_again_when_its_owner_is_gone(run, owner, end):
    if end == "killed":
        owner.kill()
        owner.wait()
    else:
        owner.communicate("done\n")
    assert run.owner_pid is None
    with run.owned():
        pass


def test_one_process_cannot_own_a_run_twice_at_once(run):
    with run.owned(), pytest.raises(UserError, match="is working on this run"), run.owned():
        pytest.fail("owned twice")


def test_asking_who_owns_a_run_neither_takes_nor_frees_it(run, tmp_path):
    assert run.owner_pid is None
    assert not run.owner_file.exists()
    with run.owned():
        assert run.owner_pid is not None
        with pytest.raises(UserError), run.owned():
            pytest.fail("owned twice")
    assert run.owner_pid is None


def test_runs_of_the_same_second_get_names_of_their_own(tmp_path):
    runs = [create_run(tmp_path / "new" / "storage", "alpaca") for _ in range(5)]
    assert len({run.root for run in runs}) == 5
    assert all(run.name.startswith("alpaca-") and run.root.is_dir() for run in runs)
    assert all(run.manifest["neft_ray_version"] == __version__ for run in runs)


def test_a_storage_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for storage in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"{storage}: cannot be written"):
            create_run(storage, "alpaca")


def test_runs_are_found_oldest_first_and_other_folders_are_none(tmp_path):
    runs = [create_run(tmp_path, name) for name in ("zebra", "alpaca", "llama")]
    (tmp_path / "cache").mkdir()
    assert [run.root for run in find_runs(tmp_path)] == [run.root for run in runs]
    assert find_runs(tmp_path / "missing") == []


def test_a_run_is_found_by_path_by_name_and_as_the_latest(tmp_path, monkeypatch):
    first, last = create_run(tmp_path, "b"), create_run(tmp_path, "a")
    assert find_run(first.name, tmp_path) == find_run(str(first.root), tmp_path / "x") == first
    assert find_run("latest", tmp_path) == last
    monkeypatch.chdir(tmp_path)
    assert find_run(first.name, tmp_path / "elsewhere") == first


def test_a_run_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path):
    with pytest.raises(UserError, match="has no runs"):
        find_run("latest", tmp_path)
    with pytest.raises(UserError, match=f"missing: no such run; runs in {tmp_path}: none"):
        find_run("missing", tmp_path)
    run = create_run(tmp_path, "alpaca")
    with pytest.raises(UserError, match=run.name):
        find_run("missing", tmp_path)


@pytest.mark.parametrize("reference", ["by name", "latest"])
@pytest.mark.parametrize("version", ["0.0.9", "1.0.0", None])
def test_a_run_of_another_version_is_refused(tmp_path, run, version, reference):
    run.write_manifest({**run.manifest, "neft_ray_version": version})
    with pytest.raises(UserError, match=f"was written by neft-ray {version}, this is"):
        find_run(run.name if reference == "by name" else "latest", tmp_path)


def test_a_run_of_another_patch_level_is_accepted(tmp_path, run):
    run.write_manifest({**run.manifest, "neft_ray_version": f"{__version__}9"})
    assert find_run(run.name, tmp_path) == run


def test_a_damaged_manifest_is_named_and_hides_no_other_run(tmp_path):
    damaged, whole = create_run(tmp_path, "a"), create_run(tmp_path, "b")
    damaged.manifest_file.write_text('{"created"')
    assert [run.root for run in find_runs(tmp_path)] == [damaged.root, whole.root]
    assert find_run("latest", tmp_path).root == whole.root
    with pytest.raises(UserError, match="is damaged"):
        find_run(damaged.name, tmp_path)


def test_a_manifest_is_replaced_whole_or_not_at_all(run):
    before = run.manifest
    with pytest.raises(TypeError):
        run.write_manifest({"created": object()})
    assert run.manifest == before
    run.write_manifest({**before, "mlflow": "é"})
    assert run.manifest == {**before, "mlflow": "é"}


def test_a_trials_config_is_read_back(run):
    config = small_config()
    run.trial(7).mkdir(parents=True)
    (run.trial(7) / "config.json").write_text(config.canonical_json)
    assert run.trial_config(7) == config
    assert run.trial(7).name == trial_name(7) == "t007"
    assert run.checkpoints(7).parent == run.trial(7)


def test_everything_of_a_run_lies_in_its_folder(run):
    names = [name for name, value in vars(RunDirectory).items() if isinstance(value, property)]
    paths = [getattr(run, n) for n in names if n not in ("name", "manifest", "owner_pid")]
    assert len(paths) == len(set(paths)) > 5
    assert all(path.parent == run.root for path in paths)
    assert json.loads(run.manifest_file.read_text()) == run.manifest
