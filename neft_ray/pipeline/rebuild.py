"""Trains a trial again whose checkpoints were deleted: its curve is a function of its config."""

from __future__ import annotations

from pathlib import Path

from neft_ray.config.load import load_sweep
from neft_ray.errors import bad_input
from neft_ray.journal import TrialRecord
from neft_ray.order import Order
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.sweep.cluster import ray_cluster
from neft_ray.sweep.driver import DataCache
from neft_ray.sweep.worker_group import group_for
from neft_ray.train import stored
from neft_ray.working_copy import place_of


def rebuild_trial(run: RunDirectory, record: TrialRecord, address: str | None) -> None:
    """Train up to the trial's best reported step, leaving that step's checkpoint in its folder.

    Args:
        run: Of the trial; no driver works on it.
        record: The trial.
        address: The cluster to train on, see `sweep/address.py`.

    Raises:
        UserError: If the trial was never evaluated, cannot be trained, or the losses differ from
            the first time, as they may on other hardware or library versions.
    """
    best = record.best
    if best is None:
        raise bad_input(run.trial(record.number), "was never evaluated", "choose another trial")
    config = run.trial_config(record.number)
    data = DataCache(run.root.parent / "cache")
    num_answers = load_sweep(run.config_file).sweep.finalists.generated_rows
    order = Order(
        number=record.number,
        config_json=config.canonical_json,
        trial_folder=place_of(run.trial(record.number)),
        data_folder=place_of(data.folder(config)),
        with_report="report_loss" in best.metrics,
        generated_rows=num_answers if "answer_words" in best.metrics else 0,
    )
    with run.owned(), ray_cluster(address) as cluster:
        cluster.num_slots(config.workers, None)
        with group_for(config.workers, run.root) as group:
            for happened in group.run(order):
                if happened.kind in ("crash", "end"):
                    why = happened.reason or happened.status
                    raise bad_input(run.trial(record.number), why, "see its log, then try again")
                if happened.kind == "report":
                    _delete_before(run.checkpoints(record.number), happened.step)
                if happened.step >= best.step:
                    break
                group.answer(happened, stops=False)
    if happened.metrics != dict(best.metrics):
        what = f"the rebuilt {trial_name(record.number)} differs: {happened.metrics}, was {best}"
        remedy = "rebuild with the versions named in manifest.json on the same kind of machine"
        raise bad_input(run.trial(record.number), what, remedy)


def _delete_before(checkpoints: Path, step: int) -> None:
    for earlier in stored.steps_in(checkpoints):
        if earlier < step:
            stored.delete(checkpoints, earlier)
