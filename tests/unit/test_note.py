"""The note on the parent run: a row per arm, the verdict, within MLflow's limit."""

import math

from neft_ray.pipeline.note import MAX_CHARACTERS, sweep_note
from neft_ray.report import gather
from tests.unit.report_runs import SyntheticRun, small_run


def with_kind(run, kind="sweep"):
    run.write_manifest(run.manifest | {"kind": kind})
    return gather(run)


def test_every_arm_is_a_row_with_its_best_configuration_and_losses(tmp_path):
    note = sweep_note(with_kind(small_run(tmp_path / "run")), ["x version 1 is the champion."])
    rows = [line for line in note.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len(rows) == 4 and {len(row) for row in cells} == {8}
    assert cells[2][:5] == [
        *("treatment", "α 5, learning rate 0.001 (t000)", "3.500", "20 of 40", "3.700"),
    ]
    assert cells[3][0] == "control" and cells[3][1].startswith("α 0, ")
    assert note.startswith("**Noise helps when training runs to the end")
    assert "* Noise helps when training runs to the end: held-out loss is" in note
    assert note.endswith("* x version 1 is the champion.")


def test_a_sweep_under_way_says_so_and_an_arm_without_a_loss_has_a_row(tmp_path):
    run = SyntheticRun(tmp_path / "run")
    run.trial("treatment", select=(math.nan,), status="diverged", reason="nan")
    note = sweep_note(with_kind(run.done()))
    assert "has not finished" in note
    assert "| treatment | – | – | – | – | 1 | 0 |" in note


def test_a_long_note_is_cut_where_mlflow_would_cut_it(tmp_path):
    note = sweep_note(with_kind(small_run(tmp_path / "run")), ["x" * 10_000])
    assert len(note) == MAX_CHARACTERS and note.endswith("…")


def test_a_single_trial_has_a_line(tmp_path):
    run = SyntheticRun(tmp_path / "run")
    run.trial()
    note = sweep_note(with_kind(run.done(finished=True), "train"))
    assert note.startswith("* t000: select loss 3.5000 at step 20, its best")
