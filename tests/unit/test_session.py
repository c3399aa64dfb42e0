"""A run directory is made once everything it needs has been looked at."""

from types import SimpleNamespace

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.errors import UserError
from neft_ray.pipeline.session import Session
from tests.unit.sweep_runs import sweep_config

DATA = SimpleNamespace(
    data=lambda trial: SimpleNamespace(summary={"content_hash": "1234"}),
    lengths=lambda trial: (100, 1000),
)


def session(storage, **search):
    config = sweep_config(**search).model_copy(update={"storage": str(storage)})
    return Session(config, DATA, None)


def test_a_new_run_holds_what_it_was_started_with(tmp_path):
    made = session(tmp_path)
    run = made.create("sweep", "mine", ["model: small"])
    assert load_sweep(run.config_file) == made.config
    manifest = run.manifest
    assert (manifest["kind"], manifest["stand_in"]) == ("sweep", ["model: small"])
    assert manifest["data"]["content_hash"] == "1234" and manifest["versions"]["ray"]
    assert "torch==" in (run.root / "requirements.txt").read_text()
    made.check_data(run)


def test_a_sweep_that_is_to_learn_from_no_run_leaves_nothing(tmp_path):
    with pytest.raises(
        UserError, match=r"sweep\.warm_start: .*nowhere: is no run; name the folder"
    ):
        session(tmp_path, warm_start=[str(tmp_path / "nowhere")]).create("sweep")
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_would_never_compare_its_trials_leaves_nothing(tmp_path):
    made = session(tmp_path, scheduler={"kind": "asha", "grace_steps": 100})
    with pytest.raises(UserError, match=r"grace_steps: 100, and a trial ends at 100"):
        made.create("sweep")
    assert not list(tmp_path.iterdir())
    made.create("train")  # which does not use the section


def test_other_rows_than_at_the_start_are_refused(tmp_path):
    made = session(tmp_path)
    run = made.create("train")
    run.write_manifest(run.manifest | {"data": {"content_hash": "before"}})
    with pytest.raises(UserError, match="had the hash before when the run started, has 1234 now"):
        made.check_data(run)
