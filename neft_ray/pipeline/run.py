"""Runs a session's sweep or trial to its end, and leaves model, report and MLflow entries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neft_ray.config.base import flat
from neft_ray.errors import UserError
from neft_ray.journal import COMPLETED, RUNNING, TrialRecord
from neft_ray.pipeline.note import sweep_note, verdict
from neft_ray.pipeline.provenance import ENVIRONMENT_FILE, code_tags
from neft_ray.pipeline.publish import export_best, register_best
from neft_ray.pipeline.recorder import Observers, Recorder
from neft_ray.pipeline.resume import adopt, check_resume
from neft_ray.pipeline.session import Session
from neft_ray.report import Results, summary_lines, write_report
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.cluster import ray_cluster
from neft_ray.sweep.driver import Observer, open_driver
from neft_ray.sweep.single import train_single
from neft_ray.tracking.background import MirrorThread
from neft_ray.tracking.cards import NOTE_TAG, describe, finish
from neft_ray.tracking.champion import Registered
from neft_ray.tracking.mirror import MlflowMirror
from neft_ray.tracking.points import POINTS_FILE, MetricsLog
from neft_ray.tracking.views import share_views

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a command that trains ended.

    Attributes:
        finished: False where it was interrupted and can go on.
        best: The best trial; None where none has a finite loss.
        summary: What was found, in plain words.
    """

    finished: bool
    best: TrialRecord | None
    summary: list[str]


def run_sweep(session: Session, run: RunDirectory, view: Observer, address: str | None) -> Outcome:
    """Run or go on with a sweep on the cluster named by `address`."""
    mirror = MlflowMirror(session.store)
    with run.owned():
        with _mirrored(session, run, mirror) as recorder:
            observer = Observers(recorder, view)
            driver = open_driver(session.config, run, observer, session.data)
            try:
                if changes := check_resume(run, "sweep", session.config):
                    driver.conductor.extend(changes)
                    adopt(run, session.config)
                if not (finished := driver.conductor.is_finished):
                    with ray_cluster(address) as cluster:
                        finished = driver.fit(cluster)
                best = driver.conductor.best_trial()
                if finished:
                    driver.conductor.finish()
            finally:
                driver.conductor.close()
        return _conclude(session, run, mirror, best, finished)


def run_single(session: Session, run: RunDirectory, view: Observer, address: str | None) -> Outcome:
    """Run or go on with one trial on the cluster named by `address`."""
    mirror = MlflowMirror(session.store)
    with run.owned():
        with _mirrored(session, run, mirror) as recorder, ray_cluster(address) as cluster:
            cluster.num_slots(session.config.workers, None)
            observer = Observers(recorder, view)
            record = train_single(session.config, run, session.data, observer)
        best = record if record.status == COMPLETED else None
        return _conclude(session, run, mirror, best, finished=record.status != RUNNING)


@contextmanager
def _mirrored(session: Session, run: RunDirectory, mirror: MlflowMirror) -> Iterator[Recorder]:
    """Mirror a run into MLflow in the background for the duration of a `with` block."""
    manifest = run.manifest
    tags = {
        **code_tags(manifest.get("code", {}), f"neft-ray {manifest['kind']}"),
        "neft_ray.kind": manifest["kind"],
        "neft_ray.run": run.name,
        "neft_ray.data_hash": manifest["data"]["content_hash"],
        **{f"version.{name}": text for name, text in manifest["versions"].items()},
    }
    params = flat(session.config.model_dump(mode="json"))
    data = session.dataset(session.config.trial)
    files = (run.config_file.name, ENVIRONMENT_FILE)
    describe(run.root, run.name, params, tags, data, files)
    mirror.start_parent(run.root)
    share_views(session.store, run.name, list(session.config.sweep.space))
    where = {"experiment_id": session.store.experiment_id, "run_id": mirror.parent_id}
    run.write_manifest(manifest | {"mlflow": where})
    with MirrorThread(mirror) as thread:
        for folder in sorted(run.root.glob("trials/t*")):
            thread.add(folder)  # whatever an earlier driver could not send
        recorder = Recorder(thread, run.name, session.dataset)
        recorder.catch_up(run)
        yield recorder


def _conclude(
    session: Session,
    run: RunDirectory,
    mirror: MlflowMirror,
    best: TrialRecord | None,
    finished: bool,
) -> Outcome:
    """Write the report, export the best model, and tell MLflow. Doing it again is harmless."""
    results = write_report(run)
    log = MetricsLog(run.root / POINTS_FILE)
    log.log(len(results.trials), results.headline_metrics)
    log.close()
    lines = summary_lines(results)
    summary = "\n".join(lines)
    if best is not None and finished:
        export_best(run, best, run.trial_config(best.number), summary)
    tags = {NOTE_TAG: sweep_note(results), "neft_ray.verdict": verdict(results)}
    finish(run.root, "FINISHED" if finished else "KILLED", tags)
    try:
        if best is not None and finished:
            made = _publish(session, run, mirror, best, results)
            lines.append(made.remark)
            finish(run.root, "FINISHED", {NOTE_TAG: sweep_note(results, [made.remark])})
        with mirror.store.explained():
            mirror.sync(run.root)
    except UserError as error:
        logger.warning("not everything is in MLflow yet: %s", error)
    return Outcome(finished, best, lines)


def _publish(
    session: Session, run: RunDirectory, mirror: MlflowMirror, best: TrialRecord, results: Results
) -> Registered:
    """Send report and best model to MLflow, each best model once."""
    assert mirror.parent_id is not None
    with mirror.store.explained():
        mirror.sync(run.trial(best.number))
    mirror.store.log_artifacts(mirror.parent_id, run.report, "report")
    return register_best(session, run, best, results)
