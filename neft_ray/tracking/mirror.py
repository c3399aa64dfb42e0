"""The mirror in MLflow of what lies in a run directory: every run and every point exactly once."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, LifecycleStage, Metric, RunTag
from mlflow.entities import Param as MlflowParam
from mlflow.exceptions import MlflowException

from neft_ray.errors import bad_input
from neft_ray.tracking.cards import Card, Dataset, Param, read_card
from neft_ray.tracking.mirrored import MIRROR_FILE, Mirrored, points_files
from neft_ray.tracking.mlflow_store import MlflowStore, patiently
from neft_ray.tracking.points import read_points
from neft_ray.tracking.shown import shown_name

KEY_TAG = "neft_ray.key"
PARENT_TAG = "mlflow.parentRunId"
METRICS_PER_REQUEST = 1000
PARAMS_PER_REQUEST = 100
PARAM_CHARACTERS = 6000


class MlflowMirror:
    """Brings MLflow up to date with run folders.

    Safe to kill at any moment, to run again, and to use from several threads.
    """

    def __init__(self, store: MlflowStore) -> None:
        """Prepare the mirror of one run directory; `start_parent` comes next."""
        self.store = store
        self.parent_id: str | None = None
        self._one_at_a_time = threading.Lock()

    def start_parent(self, directory: Path) -> str:
        """Create the parent run of a sweep, or go on with the one its folder knows.

        Params are sent once; tags at every change of status, `mlflow.note.content` among them,
        the description that is shown.

        Args:
            directory: The run directory; its card says what to send.

        Returns:
            MLflow's id of the run. Runs created by `sync` from now on are its children.

        Raises:
            UserError: If the run was deleted or is unknown to this server.
        """
        known, card = Mirrored.of(directory), read_card(directory)
        if card is None:
            raise RuntimeError("describe comes before start_parent")
        with self.store.explained():
            if known:
                patiently(lambda: self._check_alive(known.run_id))
            self.parent_id = patiently(lambda: self._mirror(directory, card)).run_id
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
            mirrored = self._send_files(directory, card, mirrored)
            for path in points_files(directory):
                mirrored = self._send_points(path, mirrored)
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
        if card.dataset is not None:
            self.store.client.log_inputs(run_id, [_input(card.dataset)])
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

    def _send_files(self, directory: Path, card: Card, mirrored: Mirrored) -> Mirrored:
        for name in card.files:
            if name not in mirrored.files:
                self.store.client.log_artifact(mirrored.run_id, str(directory / name))
                mirrored = replace(mirrored, files=[*mirrored.files, name]).keep(directory)
        return mirrored

    def _send_points(self, path: Path, mirrored: Mirrored) -> Mirrored:
        batch: list[Metric] = []
        start = mirrored.offsets_bytes.get(path.name, 0)
        for point in read_points(path, start):
            if len(batch) + len(point.metrics) > METRICS_PER_REQUEST:
                self._send(path, mirrored.run_id, batch)
                mirrored, batch = mirrored.keep(path.parent), []
            batch += [
                Metric(shown_name(name), value, point.timestamp_ms, point.step)
                for name, value in point.metrics.items()
            ]
            offsets = {**mirrored.offsets_bytes, path.name: point.end_bytes}
            mirrored = replace(mirrored, offsets_bytes=offsets)
        if not batch:
            return mirrored
        self._send(path, mirrored.run_id, batch)
        return mirrored.keep(path.parent)

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


def _input(dataset: Dataset) -> DatasetInput:
    made = MlflowDataset(
        dataset.name,
        dataset.digest,
        dataset.kind,
        json.dumps(dict(dataset.source)),
        profile=json.dumps(dict(dataset.profile)),
    )
    return DatasetInput(made, [InputTag("mlflow.data.context", "training")])


def _shortened(value: Param) -> str:
    text = str(value)
    if len(text) <= PARAM_CHARACTERS:
        return text
    note = f"… (cut: {len(text)} characters)"
    return text[: PARAM_CHARACTERS - len(note)] + note
