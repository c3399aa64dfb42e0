"""A trial that is trained again: up to its best step, alike, and with one checkpoint."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from neft_ray.errors import UserError
from neft_ray.journal import read_records
from neft_ray.pipeline import rebuild
from neft_ray.pipeline.rebuild import rebuild_trial
from neft_ray.sweep.happened import Happened
from neft_ray.train import stored
from tests.unit.report_runs import SyntheticRun

LOSSES = {10: 4.0, 20: 3.5, 30: 3.0, 40: 3.2}


def report(step, loss):
    return Happened(step, "report", 0, step=step, metrics=metrics(step, loss))


def metrics(step, loss):
    return {"select_loss": loss, "train_eval_loss": loss - 0.1 * step / 10}


@pytest.fixture
def train_again(tmp_path, monkeypatch):
    """Train trial 0 again on workers to which this happens, and return the steps that are left."""
    made = SyntheticRun(tmp_path / "run")
    made.trial(select=LOSSES)
    made.run.trial(0).mkdir(parents=True)
    (made.run.trial(0) / "config.json").write_text(made.config.trial.model_dump_json())
    run = made.done(finished=True)
    cluster = SimpleNamespace(num_slots=lambda *_: 1)
    monkeypatch.setattr(rebuild, "ray_cluster", lambda address: nullcontext(cluster))
    data = SimpleNamespace(folder=lambda config: Path("data"))
    monkeypatch.setattr(rebuild, "DataCache", lambda folder: data)

    def again(*happened):
        answered = []

        def workers(order):
            for it in happened:
                assert it.id == happened[0].id or answered, "the report before was answered"
                if it.kind == "report":
                    stored.folder_of(run.checkpoints(0), it.step).mkdir(parents=True)
                yield it

        group = SimpleNamespace(run=workers, answer=lambda it, stops: answered.append(it.id))
        monkeypatch.setattr(rebuild, "group_for", lambda *_: nullcontext(group))
        rebuild_trial(run, read_records(run.journal_file)[0], None)
        return stored.steps_in(run.checkpoints(0))

    return again


def test_it_trains_up_to_its_best_step_and_keeps_that_checkpoint_alone(train_again):
    assert train_again(*(report(*it) for it in LOSSES.items())) == [30]


def test_other_losses_than_the_first_time_are_refused(train_again):
    with pytest.raises(UserError, match=r"t000 differs: .*3\.1.*manifest\.json"):
        train_again(report(10, 4.0), report(20, 3.5), report(30, 3.1))


@pytest.mark.parametrize("kind", ["crash", "end"])
def test_a_trial_that_cannot_be_trained_says_why(kind, train_again):
    with pytest.raises(UserError, match="out of memory; see its log"):
        train_again(report(10, 4.0), Happened(11, kind, 0, reason="out of memory"))
