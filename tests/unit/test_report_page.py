"""The report as a person sees it: page, pictures, words."""

import json
import re
import subprocess
import sys

import pytest

from neft_ray.errors import UserError
from neft_ray.report import summary_lines, write_report
from neft_ray.report.words import headline, lift_sentences
from tests.unit.report_runs import ALPHA, PICTURES, RATE, SyntheticRun, small_run

INTERACTIVE = {"alpha_learning_rate", "learning_curves", "early_stopping"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("report") / "run")
    return run, write_report(run)


def test_page_answers_first_and_shows_the_numbers(small):
    run, results = small
    page = (run.report / "index.html").read_text()
    start = page[: page.index("<h2>")]
    assert "Did the noise help?" in start
    assert headline(results) in start
    for text in ("α 5, learning rate 0.001", "Control arm (α = 0)", "<strong>3.500</strong>"):
        assert text in start
    assert all(f"<td>{trial.name}</td>" in page for trial in results.trials)
    assert page.count('alt="') == page.count("<img") == len(PICTURES - INTERACTIVE)
    assert page.count('<svg role="img" aria-label="') == len(INTERACTIVE)
    assert "optimizer:" in page
    assert "versions.torch" in page


def test_page_needs_nothing_from_outside(small):
    page = (small[0].report / "index.html").read_text()
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\s]+", "", page)
    assert not re.search(r"https?:|<link|@import|<script src", without_pictures)
    assert set(re.findall(r'src="([^"]*)"', without_pictures)) == {""}
    local = re.findall(r'(?:href="|url\()([^")]*)', without_pictures)
    assert all(target.startswith("#") for target in local if target)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert {target[1:] for target in local if target} <= set(ids)


def test_parts_of_pictures_are_trials(small):
    """The script finds them by these ids, which are each used once."""
    run, results = small
    page = (run.report / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]*)"', page)
    parts = [name for name in ids if re.search(r"-(curve|bar)\.t\d+", name)]
    assert len(set(parts)) == len(parts)
    for trial in results.trials:
        assert f"learning_curves-curve.{trial.name}.select_loss" in parts
        is_bar = f"early_stopping-bar.{trial.name}" in parts
        assert is_bar == (trial.record.phase == "search")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data.keys() == {trial.name for trial in results.trials}
    first = re.search(r'-curve\.t000\.select_loss">\s*<path d="([^"]*)"', page)[1]
    assert len(re.findall(r"[ML] ", first)) == len(data["t000"]["series"]["select_loss"]) == 4


def test_every_step_of_the_page_can_be_read_without_its_script(small):
    page = (small[0].report / "index.html").read_text()
    before = page[: page.index("<script")]
    assert "hidden" not in re.sub(r"<style>.*?</style>|aria-hidden", "", before, flags=re.DOTALL)


def test_page_escapes_what_a_run_says(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.trial(status="failed", reason="<script>alert(1)</script>")
    run = synthetic.done()
    write_report(run)
    page = (run.report / "index.html").read_text()
    assert page.count("<script") == 2  # the page's own
    assert "alert(1)" in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_equal_run_gives_equal_files(small):
    run, _ = small
    before = {path.name: path.read_bytes() for path in run.report.iterdir()}
    write_report(run)
    assert before == {path.name: path.read_bytes() for path in run.report.iterdir()}


def test_an_unfinished_run_says_so(tmp_path):
    run = small_run(tmp_path / "run", num_pairs=2, finished=False)
    results = write_report(run)
    assert "has not finished" in (run.report / "index.html").read_text()
    assert "has not finished" in summary_lines(results)[0]
    assert headline(results).startswith("Preliminary, from 2 of 3 seeds: ")
    assert not json.loads((run.report / "results.json").read_text())["finished"]


def test_a_report_that_cannot_be_written_is_a_clear_error(tmp_path):
    run = small_run(tmp_path / "run", num_pairs=0)
    run.report.write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run)


def test_sentences_claim_what_the_intervals_say(small):
    _, results = small
    assert headline(results) == (
        "Noise helps when training runs to the end; there is no evidence of an effect "
        "with early stopping."
    )
    at_end, at_best, alone = lift_sentences(results.lift)
    assert "held-out loss is 0.201 nats per token lower (95 % interval −0.20" in at_end
    assert "treatment minus control is 0.000 nats per token" in at_best
    assert "3 seeds, 4 rows" in at_end
    assert "gains more than noise (0.300 against 0.201 nats per token" in alone


def test_summary_puts_the_arms_side_by_side(small):
    lines = summary_lines(small[1])
    assert lines[0].startswith(
        "Treatment arm: best is α 5, learning rate 0.001 with select loss 3.500"
    )
    assert lines[2].startswith("Control arm (α = 0): best is α 0, learning rate 0.001")
    assert lines[1] == lines[3]
    assert (
        "2 of 2 trials, 50 of 80 optimizer steps spent, 1 trial cut, 30 steps saved (38%)"
        in lines[1]
    )


def test_an_arm_that_has_run_all_its_points_says_so(tmp_path):
    space = {ALPHA: {"choice": [5, 10]}, RATE: {"choice": [1e-3]}}
    synthetic = SyntheticRun(tmp_path / "run", space=space, num_trials=5)
    for alpha in (5, 10):
        synthetic.trial("treatment", alpha=alpha)
    lines = "\n".join(summary_lines(write_report(synthetic.done())))
    assert "2 of 2 trials, every point of its space, 80 of 80 optimizer steps spent" in lines
    assert "0 of 1 trials, 0 of 0 optimizer steps spent" in lines


def test_equal_verdicts_share_a_clause(tmp_path):
    synthetic = SyntheticRun(tmp_path / "run")
    for seed in (1, 2, 3):
        synthetic.pair(seed, {20: 3.0, 40: 3.1}, {20: 3.2, 40: 3.5})
    text = headline(write_report(synthetic.done()))
    assert "noise helps when training runs to the end and with early stopping." in text.lower()


def test_report_loads_no_framework():
    heavy = ["torch", "ray", "mlflow", "transformers", "optuna", "matplotlib.pyplot"]
    code = f"import sys, neft_ray.report; sys.exit([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
