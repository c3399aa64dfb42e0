"""What travels to a cluster with a sweep, and what its head is told to run."""

import shlex

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.errors import UserError
from neft_ray.launch import submission
from tests.unit.config_files import FILE


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
