"""Runs in MLflow: a child for each trial, its card, data and files, and the views of them."""

import json
from concurrent.futures import ThreadPoolExecutor

from neft_ray.tracking.cards import Dataset, describe, finish, read_card
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.mirrored import MIRROR_FILE
from neft_ray.tracking.views import share_views, view_links
from tests.system.mirror.sweeps import log_steps


def test_a_trial_is_a_child_with_its_params_tags_times_and_status(sweep):
    trial = sweep.trial()
    assert sweep.mirror.sync(trial) is False
    (run,) = sweep.children()
    assert run.info.status == "RUNNING"
    finish(trial, "KILLED", {"reason": "rung 2"})
    assert sweep.mirror.sync(trial) is True
    (run,) = sweep.children()
    card = read_card(trial)
    assert run.info.run_name == "t007 α=15"
    assert run.data.params == {"noise.alpha": "15.0"}
    assert run.data.tags.items() >= {"arm": "treatment", "reason": "rung 2"}.items()
    assert (run.info.status, run.info.start_time) == ("KILLED", card.start_ms)
    assert run.info.end_time == card.end_ms
    sweep.trial()
    assert sweep.mirror.sync(trial) is False
    assert sweep.children()[0].info.status == "RUNNING"


def test_a_child_is_created_once_though_its_id_was_lost(sweep):
    trial = sweep.trial()
    log_steps(trial, range(1, 6))
    for _ in range(3):
        sweep.mirror.sync(trial)
        (trial / MIRROR_FILE).unlink()
    sweep.mirror.sync(trial)
    assert len(sweep.children()) == 1
    assert sweep.assert_exactly_once(trial) == 15


def test_threads_that_mirror_the_same_trial_do_not_meet(local):
    trial = local.trial()
    log_steps(trial, range(1, 6))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(local.mirror.sync, [trial] * 4)) == [False] * 4
    assert len(local.children()) == 1
    local.assert_exactly_once(trial)


def test_the_parent_goes_on_after_a_resume(sweep):
    finish(sweep.root, "KILLED")
    sweep.mirror.sync(sweep.root)
    for lose_id in (False, True):
        if lose_id:
            (sweep.root / MIRROR_FILE).unlink()
        describe(sweep.root, "sweep", {"model": "x"}, {})
        assert MlflowMirror(sweep.store).start_parent(sweep.root) == sweep.parent_id
    run = sweep.client.get_run(sweep.parent_id)
    assert run.info.status == "RUNNING"
    assert "mlflow.parentRunId" not in run.data.tags
    log_steps(sweep.root, [1])
    finish(sweep.root, "FINISHED")
    assert sweep.mirror.sync(sweep.root) is True
    sweep.assert_exactly_once(sweep.root)


def test_many_and_long_params_arrive(local):
    trial = local.root / "trials" / "t001"
    params = {f"p{i}": i for i in range(250)} | {"long": "x" * 7000, "none": None, "yes": True}
    describe(trial, "t001", params, {})
    local.mirror.sync(trial)
    (run,) = local.children()
    assert len(run.data.params) == 253
    assert (run.data.params["p249"], run.data.params["none"]) == ("249", "None")
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("x… (cut: 7000 characters)")


def test_the_data_and_files_of_a_run_are_recorded_once(sweep):
    data = Dataset(
        "tales", "65fd09dfb9078f73", "builtin", {"uri": "builtin:tales"}, {"num_rows": 9}
    )
    (sweep.root / "sweep.yaml").write_text("name: x\n")
    describe(sweep.root, "sweep", {"model": "x"}, {}, data, ["sweep.yaml"])
    (sweep.root / MIRROR_FILE).unlink()
    for _ in range(3):
        sweep.mirror.parent_id = None
        assert sweep.mirror.start_parent(sweep.root) == sweep.parent_id
        (sweep.root / "sweep.yaml").write_text("changed: and not sent again\n")
        mirrored = json.loads((sweep.root / MIRROR_FILE).read_text())
    assert mirrored["files"] == ["sweep.yaml"]
    (sweep.root / MIRROR_FILE).unlink()
    sweep.mirror.parent_id = None
    sweep.mirror.start_parent(sweep.root)
    (entry,) = sweep.client.get_run(sweep.parent_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("tales", "65fd09dfb9078f73")
    assert json.loads(entry.dataset.profile) == {"num_rows": 9}
    assert [file.path for file in sweep.client.list_artifacts(sweep.parent_id)] == ["sweep.yaml"]


def test_the_views_of_a_sweep_show_its_trials_best_first(sweep):
    for _ in range(2):
        share_views(sweep.store, "my-run", ["noise.alpha"])
    tags = sweep.client.get_experiment(sweep.store.experiment_id).tags
    views = {key: json.loads(tag) for key, tag in tags.items() if "sharedViewState" in key}
    links = view_links("my-run", sweep.store.experiment_id)
    assert len(views) == 2
    for what, mode in (("trials", None), ("charts", "CHART")):
        key = links[what].split("viewStateShareKey=")[1].split("&")[0]
        view = views[f"mlflow.sharedViewState.{key}"]
        assert view.get("compareRunsMode") == mode
        assert "params.`noise.alpha`" in view["selectedColumns"]
    trial = sweep.root / "trials" / "t007"
    describe(trial, "t007", {}, {"neft_ray.run": "my-run", "neft_ray.arm": "treatment"})
    describe(sweep.root, "sweep", {"model": "x"}, {"neft_ray.run": "my-run"})
    finish(sweep.root, "KILLED")
    for directory in (trial, sweep.root):
        sweep.mirror.sync(directory)
    found = sweep.client.search_runs([sweep.store.experiment_id], view["searchFilter"])
    assert [run.info.run_name for run in found] == ["t007"], "the trial, not the parent"
