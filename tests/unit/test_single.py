"""One trial without a search: its journal is whole and closed, whoever was killed and when."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from neft_ray.config.trial import TrialConfig
from neft_ray.errors import StorageError
from neft_ray.journal import COMPLETED, HALTED, STOPPED, is_finished
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep import single
from neft_ray.sweep.happened import Happened
from neft_ray.sweep.single import train_single
from tests.unit.sweep_runs import NUM_STEPS, Lengths, sweep_config

OBSERVER = SimpleNamespace(started=lambda *_: None, reported=lambda *_: None, ended=lambda *_: None)


class Group:
    """Workers that say what a test wants."""

    def __init__(self, *happened):
        self._happened = happened

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, order):
        yield from self._happened

    def answer(self, happened, stops):
        pass


class Data(Lengths):
    """Is not read."""

    def folder(self, config):
        return Path("data")


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Run the trial on workers to which this happens."""
    run = RunDirectory(tmp_path)

    def train(*happened):
        monkeypatch.setattr(single, "group_for", lambda *_: Group(*happened))
        return train_single(sweep_config(), run, Data(), OBSERVER)

    train.run = run
    return train


def events(run):
    return [json.loads(line)["event"] for line in run.journal_file.open()]


REPORT = Happened(1, "report", 0, step=NUM_STEPS, metrics={"select_loss": 1.0})
END = Happened(2, "end", 0, status=COMPLETED)


def test_a_trial_that_ended_is_not_run_again_and_its_run_is_finished(train):
    assert train(REPORT, END).status == COMPLETED
    assert events(train.run) == ["suggest", "report", "end", "finish"]
    assert train(AssertionError("it was started")).status == COMPLETED
    assert events(train.run) == ["suggest", "report", "end", "finish"]
    config = TrialConfig.model_validate_json((train.run.trial(0) / "config.json").read_text())
    assert config == sweep_config().trial


def test_a_driver_killed_before_it_had_noted_the_end_notes_it_later(train):
    train(REPORT, END)
    *before, _ = train.run.journal_file.read_bytes().splitlines(keepends=True)
    train.run.journal_file.write_bytes(b"".join(before))
    train()
    assert is_finished(train.run.journal_file)


def test_an_interrupted_trial_goes_on(train):
    assert train(Happened(1, "end", 0, status=STOPPED)).status == "running"
    assert not is_finished(train.run.journal_file)
    assert train(REPORT, END).status == COMPLETED


def test_a_full_disk_ends_it_to_go_on_later(train):
    with pytest.raises(StorageError, match="no room"):
        train(Happened(1, "end", 0, status=HALTED, reason="no room"))
    assert train(REPORT, END).status == COMPLETED


def test_the_journal_is_closed_whether_or_not_there_is_anything_to_do(train, monkeypatch):
    opened = []

    class Journal(single.Journal):
        def __init__(self, path):
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(single, "Journal", Journal)
    train(REPORT, END)
    train()
    assert [journal._file.closed for journal in opened] == [True, True]


def test_a_trials_folder_that_cannot_be_written_is_named(train):
    (train.run.root / "trials").write_text("")
    with pytest.raises(StorageError, match=r"trials/t000/config\.json: cannot be written"):
        train(REPORT, END)
