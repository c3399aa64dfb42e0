"""What gc finds and deletes, and what it never touches."""

import json
import os
import subprocess
import sys
import time

import pytest

from neft_ray.cli import main
from neft_ray.errors import UserError
from neft_ray.pipeline import garbage
from neft_ray.pipeline.garbage import delete, garbage_of, size_of, unused_caches
from neft_ray.run_directory import RunDirectory
from neft_ray.tracking.cards import Dataset, describe
from neft_ray.train import stored
from neft_ray.train.contents import STATE_FILE
from neft_ray.train.stored import steps_in
from neft_ray.working_copy import bucket_of, here
from tests.unit.report_runs import SyntheticRun

STEPS = (10, 20, 30, 40)
PRECIOUS = ("report/index.html", "best_model/model.safetensors", "journal.jsonl", "metrics.jsonl")


def make_run(root, finished=True):
    """Two ended trials and one that still runs, with a checkpoint at each report, and leftovers."""
    synthetic = SyntheticRun(root)
    synthetic.trial(select=(4.0, 3.5, 3.6, 3.7))
    synthetic.trial(alpha=10, select=(3.9, 3.4, 3.8, 3.9))
    if not finished:
        synthetic.trial(status=None, select=(5.0, 4.9))
    run = synthetic.done(finished)
    for number in range(synthetic.num_trials):
        for step in STEPS[: 4 if number < 2 else 2]:
            fill(run.checkpoints(number) / f"step-{step:06d}" / "state.json", 1000)
    for name in PRECIOUS:
        if not (root / name).exists():
            fill(root / name, 10)
    fill(run.checkpoints(0) / ".step-000050.partial" / "x", 5)
    fill(run.scratch / "tune" / "x", 7)
    fill(root / ".best_model.old" / "x", 9)
    return run


def fill(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def left(run):
    return {n: steps_in(run.checkpoints(n)) for n in range(3) if run.checkpoints(n).exists()}


def test_of_a_finished_run_the_best_checkpoints_of_all_trials_stay(tmp_path):
    run = make_run(tmp_path / "run")
    found = garbage_of(run, None)
    assert sum(item.num_bytes for item in found) == 5 * 1000 + 5 + 7 + 9
    delete(found)
    assert left(run) == {0: [20, 30], 1: [20]}, "keep_checkpoints is 3"
    assert garbage_of(run, None) == []
    assert all((run.root / name).exists() for name in PRECIOUS)
    assert not run.scratch.exists()
    delete(garbage_of(run, 1))
    assert left(run) == {0: [], 1: [20]}
    delete(garbage_of(run, 0))
    assert left(run) == {0: [], 1: []}
    assert all((run.root / name).exists() for name in PRECIOUS)


def test_the_best_checkpoint_stays_until_the_model_is_exported(tmp_path):
    run = make_run(tmp_path / "run")
    (run.best_model / "model.safetensors").unlink()
    run.best_model.rmdir()
    delete(garbage_of(run, 0))
    assert left(run) == {0: [], 1: [20]}
    assert (run.root / ".best_model.old").exists(), "the only model there is"


def test_a_run_that_can_go_on_loses_leftovers_alone(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    found = garbage_of(run, 1)
    assert {item.what for item in found} == {"left by a killed process", "Ray's scratch files"}
    delete(found)
    assert left(run) == {0: [10, 20, 30, 40], 1: [10, 20, 30, 40], 2: [10, 20]}


def test_a_finished_run_that_was_taken_up_again_can_go_on(tmp_path):
    run = make_run(tmp_path / "run")
    with run.journal_file.open("a") as file:
        file.write('{"event": "reopen", "time": 1}\n')
    assert not [item for item in garbage_of(run, 0) if item.what == "checkpoint"]


def test_nothing_of_a_run_with_a_driver_is_garbage(tmp_path):
    run = make_run(tmp_path / "run")
    found = garbage_of(run, None)
    code = (
        "import sys\nfrom pathlib import Path\nfrom neft_ray.run_directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).owned():\n    print('owned', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", code, str(run.root)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout.readline() == b"owned\n"
        assert garbage_of(run, None) == []
        with pytest.raises(UserError, match="is working on this run"):
            delete(found)  # it was asked before the driver came
        assert left(run)[0] == list(STEPS)
        driver.stdin.close()
        driver.wait()
    delete(found)
    assert left(run)[0] == [20, 30]


def test_tokens_that_no_run_refers_to_go_when_they_are_old(tmp_path):
    run = make_run(tmp_path / "run")
    run.write_manifest(run.manifest | {"data": {"content_hash": "base"}})
    data = Dataset("x", "searched", "local", {}, {})
    describe(run.trial(0), "t000", {}, {}, data)
    for name in ("base", "searched", "nobodys", "new"):
        fill(tmp_path / "cache" / name / "tokens.npy", 100)
        summary = tmp_path / "cache" / name / "summary.json"
        summary.write_text(json.dumps({"content_hash": name}))
    fill(tmp_path / "cache" / ".base-0f" / "tokens.npy", 100)  # its writer was killed
    before = time.time() - 2 * garbage.YOUNG_SECONDS
    for name in ("base", "searched", "nobodys", ".base-0f"):
        os.utime(tmp_path / "cache" / name, (before, before))
    assert [item.path.name for item in unused_caches(tmp_path)] == [".base-0f", "nobodys"]


def test_what_a_killed_export_left_goes_when_it_is_old(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    delete(garbage_of(run, None))
    above = run.root / "models" / "t000"
    for name in ("step-000010", ".step-000020-ab", ".step-000020-cd"):
        fill(above / name / "model.safetensors", 100)
    before = time.time() - 2 * garbage.YOUNG_SECONDS
    for name in ("step-000010", ".step-000020-ab"):
        os.utime(above / name, (before, before))
    delete(garbage_of(run, None))
    assert sorted(path.name for path in above.iterdir()) == [".step-000020-cd", "step-000010"]


def test_hard_links_are_counted_once(tmp_path):
    fill(tmp_path / "a" / "x", 100)
    os.link(tmp_path / "a" / "x", tmp_path / "a" / "y")
    assert size_of(tmp_path / "a") == 100


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `neft-ray` in this process and return its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["neft-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, " ".join("".join(capsys.readouterr()).split())

    return run


def test_the_command_shows_first_and_deletes_when_told_to(tmp_path, command):
    run = make_run(tmp_path / "run")
    code, told = command("gc", "run", "--storage", tmp_path, "--dry-run")
    assert code == 0 and "step-000040" in told and "together 5.0 kB" in told
    assert left(run)[0] == list(STEPS)
    code, told = command("gc", "run", "--storage", tmp_path)
    assert code == 2 and "no terminal" in told and "--yes" in told
    assert left(run)[0] == list(STEPS)
    code, told = command("gc", "--all", "--storage", tmp_path, "--yes")
    assert code == 0 and told.endswith("5.0 kB freed")
    assert left(run)[0] == [20, 30]
    assert command("gc", "--all", "--storage", tmp_path)[1] == "nothing to delete"
    assert command("gc", "--storage", tmp_path)[0] == 2
    assert command("gc", "run", "--all", "--storage", tmp_path)[0] == 2


def test_of_a_run_in_a_bucket_what_lies_there_goes_whoever_made_it(machine, place, command):
    run = make_run(here(place) / "run")
    with run.owned():
        pass  # whereupon all but checkpoints is in the bucket
    for number in range(2):
        for step in STEPS:
            folder = stored.folder_of(run.checkpoints(number), step)
            bucket_of(folder).put(STATE_FILE, b"x" * 1000)
    machine("second")
    code, told = command("gc", "--all", "--yes", "--storage", place)
    assert code == 0 and "5.0 kB freed" in told
    there = RunDirectory(here(place) / "run")
    assert [steps_in(there.checkpoints(number)) for number in range(2)] == [[20, 30], [20]]
