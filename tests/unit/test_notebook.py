"""The notebook runs on any finished sweep, and what is kept of it is small and nobody's own."""

import json
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from neft_ray.report import gather
from neft_ray.report.figures import draw_pictures
from neft_ray.report.frames import evaluations_frame, lift_frame, measures_frame, trials_frame
from tests.pages import ROOT
from tests.unit.report_runs import SyntheticRun, run_with_controls, small_run

sys.path.insert(0, str(ROOT / "tools"))
from notebook import NOTEBOOK, run


def pictures(cells) -> int:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("make", [small_run, run_with_controls])
def test_the_notebook_runs_on_a_finished_sweep_and_draws_every_figure(tmp_path, make):
    made = make(tmp_path / "runs" / "synthetic-1")
    executed = run(nbformat.read(NOTEBOOK, as_version=4), tmp_path)
    assert pictures(executed.cells) == 1 + len(list(draw_pictures(gather(made))))


def test_the_kept_notebook_has_outputs_without_errors_or_places_of_a_machine():
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] or "import" in "".join(cell["source"]) for cell in code)
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert not [o for o in outputs if o.get("name") == "stderr"]
    assert pictures(code) >= 7
    assert str(Path("/tmp")) not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 600_000


def test_frames_say_what_the_tables_of_the_report_say(tmp_path):
    results = gather(run_with_controls(tmp_path / "run"))
    trials, evaluations = trials_frame(results), evaluations_frame(results)
    assert list(trials.index) == [trial.name for trial in results.trials]
    assert trials.loc["t001", "best_select_loss"] == 4.5
    assert len(evaluations) == sum(len(trial.record.reports) for trial in results.trials)
    at_end = lift_frame(results).query("second_arm == 'control' and at == 'at_end'")
    assert at_end.set_index("first_arm").difference["treatment"] == pytest.approx(-0.2, abs=0.01)
    assert set(measures_frame(results).measure) >= {"gap", "answer_words"}


def test_frames_of_a_run_without_finalists_are_empty_not_wrong(tmp_path):
    results = gather(small_run(tmp_path / "run", num_pairs=0))
    assert lift_frame(results).empty
    assert isinstance(trials_frame(results), pd.DataFrame)


def test_frames_of_a_run_that_has_just_begun_are_empty(tmp_path):
    results = gather(SyntheticRun(tmp_path / "run").done())
    frames = (trials_frame, evaluations_frame, lift_frame, measures_frame)
    assert [frame(results).empty for frame in frames] == [True] * 4
