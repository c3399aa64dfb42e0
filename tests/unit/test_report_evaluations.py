"""Evaluations of a run's models in its report."""

import json

import pytest

from neft_ray.errors import UserError
from neft_ray.report import gather, write_report
from tests.unit.report_runs import SyntheticRun

TEXTS = {"characters": 396.3, "words": 64.25, "repetition": 0.0493, "log_diversity": None}
CONTENT = {
    "system": "ours <b>", "reference": "theirs", "texts": {"system": TEXTS, "reference": TEXTS},
    "win_rate": {
        "raw": {"rate": 0.6469, "interval": [0.6, 0.7]},
        "controlled": {"rate": 0.3161, "interval": [0.25, 0.38]},
    },
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    made = SyntheticRun(tmp_path / "run")
    made.trial()
    made.journal.close()
    return made.run


def write(run, content, name="t001-against-t002"):
    folder = run.root / "evaluation" / "alpaca_eval" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(content)


def test_a_run_that_was_not_evaluated_says_nothing_of_it(run):
    write_report(run)
    assert "<h2>Evaluations</h2>" not in (run.report / "index.html").read_text()


def test_what_was_evaluated_stands_in_the_report_with_a_way_to_its_page(run):
    write(run, json.dumps(CONTENT))
    write(run, json.dumps(CONTENT | {"win_rate": None}), "t001-against-other")
    write_report(run)
    page = (run.report / "index.html").read_text()
    assert 'href="../evaluation/alpaca_eval/t001-against-t002/index.html"' in page
    assert "64.7 % (60.0 to 70.0); 31.6 % (25.0 to 38.0) at equal length" in page
    assert "ours &lt;b&gt;" in page and "ours <b>" not in page
    unjudged, judged = gather(run).evaluations
    assert (unjudged.wins, judged.rows[1]) == ("–", ("theirs", ("396", "64.2", "0.0493", "–")))


def test_a_damaged_file_is_named(run):
    write(run, "{")
    with pytest.raises(UserError, match=r"comparison.json: is damaged .* evaluate again"):
        gather(run)
