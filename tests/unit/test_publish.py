"""The best model is exported once per best trial, and replaced when another trial is the best."""

import json
from types import SimpleNamespace

import pytest

from neft_ray.errors import bad_input
from neft_ray.journal import read_records
from neft_ray.pipeline import publish
from neft_ray.pipeline.publish import ORIGIN_FILE, export_best, published_report
from tests.unit.report_runs import SyntheticRun

CONFIG = SimpleNamespace(config_hash="abc")


@pytest.fixture
def run(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.trial()
    synthetic.trial(alpha=10, select=(3.0,))
    return synthetic.done()


@pytest.fixture
def exported(monkeypatch):
    """Which trials were exported, in order."""
    numbers = []

    def export(run, record, config, target, remark):
        numbers.append(record.number)
        target.mkdir()
        (target / "model").write_text(f"{record.number}")
        return 10

    monkeypatch.setattr(publish, "export_trial", export)
    return numbers


def test_the_best_model_is_exported_once_and_replaced_by_a_better_one(run, exported):
    records = read_records(run.journal_file)
    for number in (0, 0, 1, 1):
        export_best(run, records[number], CONFIG, "")
    assert exported == [0, 1]
    assert (run.best_model / "model").read_text() == "1"
    origin = json.loads((run.best_model / ORIGIN_FILE).read_text())
    assert (origin["trial"], origin["step"]) == ("t001", 10)
    assert [path.name for path in run.root.glob(".best_model*")] == []


def test_what_a_killed_export_left_is_no_best_model_and_is_in_nobodys_way(run, exported):
    records = read_records(run.journal_file)
    export_best(run, records[0], CONFIG, "")
    run.best_model.rename(run.root / ".best_model.old")  # killed between the two renames
    (run.root / ".best_model.new").mkdir()
    export_best(run, records[1], CONFIG, "")
    assert (run.best_model / "model").read_text() == "1"
    assert [path.name for path in run.root.glob(".best_model*")] == []


def test_a_model_that_cannot_be_exported_leaves_the_one_of_before(run, exported, monkeypatch):
    records = read_records(run.journal_file)
    export_best(run, records[0], CONFIG, "")

    def full(*_):
        raise bad_input(run.best_model, "cannot be written", "free space")

    monkeypatch.setattr(publish, "export_trial", full)
    with pytest.raises(Exception, match="free space"):
        export_best(run, records[1], CONFIG, "")
    assert (run.best_model / "model").read_text() == "0"


def test_the_published_step_is_the_exported_one(run, exported):
    first = read_records(run.journal_file)[0]
    assert first.best.step == 20
    assert published_report(run, first).step == 20, "before there is a model"
    export_best(run, first, CONFIG, "")
    assert published_report(run, first).step == 10
    (run.best_model / ORIGIN_FILE).write_text('{"trial": "t000"}')
    assert published_report(run, first).step == 20, "an older model does not say"
