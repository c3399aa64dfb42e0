"""The mirror in MLflow of what lies in a run directory: every run and every point exactly once."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlflow.entities import LifecycleStage, Metric, RunTag
from mlflow.entities import Param as MlflowParam
from mlflow.exceptions import MlflowException

from neft_ray.errors import bad_input
from neft_ray.tracking.cards import (
    Card,
    Param,
    Status,
    describe,
    read_card,
    read_json,
    write_json,
)
from neft_ray.tracking.mlflow_store import MlflowStore
from neft_ray.tracking.points import POINTS_FILE, read_points

MIRROR_FILE = "mlflow.json"
KEY_TAG = "neft_ray.key"
PARENT_TAG = "mlflow.parentRunId"
METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100
PARAM_CHARACTERS = 6000


@dataclass(frozen=True)
class Mirrored:
    """What MLflow has acknowledged of a run. Kept in the run's folder, behind by at most a batch.

    A batch that is sent again changes nothing: MLflow keeps one of equal (run, metric, step,
    timestamp, value).
    """

    run_id: str
    offset_bytes: int = 0
    """Everything before it in the file of points."""
    status: Status = "RUNNING"

    @classmethod
    def of(cls, directory: Path) -> Mirrored | None:
        """Return what is known of a folder, None before its run exists."""
        found = read_json(directory / MIRROR_FILE)
        return cls(**found) if found is not None else None

    def keep(self, directory: Path) -> Mirrored:
        """Write it into the folder and return it."""
        write_json(directory / MIRROR_FILE, asdict(self))
        return self


class MlflowMirror:
    """Brings MLflow up to date with run folders.

    Safe to kill at any moment, to run again, and to use from several threads.
    """

    def __init__(self, store: MlflowStore) -> None:
        """Prepare the mirror of one run directory; `start_parent` comes next."""
        self.store = store
        self.parent_id: str | None = None
        self._one_at_a_time = threading.Lock()

    def start_parent(
        self, directory: Path, name: str, params: Mapping[str, Param], tags: Mapping[str, str]
    ) -> str:
        """Create the parent run of a sweep, or go on with the one its folder knows.

        Args:
            directory: The run directory.
            name: What a person reads.
            params: Sent once.
            tags: Sent at every change of status; `mlflow.note.content` is the description shown.

        Returns:
            MLflow's id of the run. Runs created by `sync` from now on are its children.

        Raises:
            UserError: If the run was deleted or is unknown to this server.
        """
        known = Mirrored.of(directory)
        with self.store.explained():
            if known:
                self._check_alive(known.run_id)
            card = describe(directory, name, params, tags)
            self.parent_id = self._mirror(directory, card).run_id
        return self.parent_id

    def sync(self, directory: Path) -> bool:
        """Bring the run of a folder up to date with its card and its points.

        Returns:
            Whether nothing more is to come: it has ended, and MLflow knows everything.

        Raises:
            mlflow.exceptions.MlflowException: If MLflow is away or refuses.
            UserError: If the file of points is damaged.
        """
        if self.parent_id is None:
            raise RuntimeError("start_parent comes before sync")
        card = read_card(directory)  # first: a card that says "ended" has all its points
        if card is None:
            return False
        self._mirror(directory, card)
        return card.status != "RUNNING"

    def _mirror(self, directory: Path, card: Card) -> Mirrored:
        with self._one_at_a_time:
            mirrored = Mirrored.of(directory) or self._create(directory, card)
            mirrored = self._send_points(directory, mirrored)
            if card.status == mirrored.status:
                return mirrored
            self._set_status(card, mirrored.run_id)
            return replace(mirrored, status=card.status).keep(directory)

    def _check_alive(self, run_id: str) -> None:
        try:
            stage = self.store.client.get_run(run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            what = f"does not know run {run_id}"
            remedy = (
                "set mlflow.uri to where this sweep was started, or, to send everything anew, "
                f"delete {MIRROR_FILE} in the run directory and in its trials"
            )
            raise bad_input(self.store.address, what, remedy) from None
        if stage == LifecycleStage.DELETED:
            remedy = f"restore it: mlflow runs restore --run-id {run_id}"
            raise bad_input(self.store.address, f"run {run_id} was deleted", remedy)

    def _create(self, directory: Path, card: Card) -> Mirrored:
        """Find the run by its key, as one created just before a crash, or create it."""
        found = self._with_key(card.key)
        run_id = found[0] if found else self._new_run(card)
        params = [MlflowParam(key, _shortened(value)) for key, value in card.params.items()]
        for start in range(0, len(params), PARAMS_PER_REQUEST):
            self.store.client.log_batch(run_id, params=params[start : start + PARAMS_PER_REQUEST])
        return Mirrored(run_id).keep(directory)

    def _new_run(self, card: Card) -> str:
        tags = {**card.tags, KEY_TAG: card.key}
        if self.parent_id:
            tags[PARENT_TAG] = self.parent_id
        run = self.store.client.create_run(self.store.experiment_id, card.start_ms, tags, card.name)
        return str(run.info.run_id)

    def _with_key(self, key: str) -> list[str]:
        runs = self.store.client.search_runs(
            [self.store.experiment_id], f"tags.`{KEY_TAG}` = '{key}'"
        )
        return [run.info.run_id for run in runs]

    def _send_points(self, directory: Path, mirrored: Mirrored) -> Mirrored:
        path = directory / POINTS_FILE
        batch: list[Metric] = []
        for point in read_points(path, mirrored.offset_bytes):
            if len(batch) + len(point.metrics) > METRICS_PER_REQUEST:
                self._send(path, mirrored.run_id, batch)
                mirrored, batch = mirrored.keep(directory), []
            batch += [
                Metric(name, value, point.timestamp_ms, point.step)
                for name, value in point.metrics.items()
            ]
            mirrored = replace(mirrored, offset_bytes=point.end_bytes)
        if not batch:
            return mirrored
        self._send(path, mirrored.run_id, batch)
        return mirrored.keep(directory)

    def _send(self, path: Path, run_id: str, metrics: list[Metric]) -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # MLflow never has more than the disk, even after a power cut
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            self.store.client.log_batch(run_id, metrics[start : start + METRICS_PER_REQUEST])

    def _set_status(self, card: Card, run_id: str) -> None:
        self.store.client.log_batch(run_id, tags=[RunTag(*tag) for tag in card.tags.items()])
        if card.status == "RUNNING":
            self.store.client.update_run(run_id, card.status)
            return
        # A request that was given up can still have been carried out, after we had asked again.
        for twin in self._with_key(card.key):
            if twin != run_id:
                self.store.client.delete_run(twin)
        self.store.client.set_terminated(run_id, card.status, card.end_ms)


def num_waiting_points(directory: Path) -> int:
    """Return how many values of a run are on disk only."""
    mirrored = Mirrored.of(directory)
    offset_bytes = mirrored.offset_bytes if mirrored else 0
    return sum(len(point.metrics) for point in read_points(directory / POINTS_FILE, offset_bytes))


def _shortened(value: Param) -> str:
    text = str(value)
    if len(text) <= PARAM_CHARACTERS:
        return text
    note = f"… (cut: {len(text)} characters)"
    return text[: PARAM_CHARACTERS - len(note)] + note
