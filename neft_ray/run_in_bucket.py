"""Runs whose storage is a bucket: who works on one, what its driver sends, how it is fetched."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neft_ray import pieces
from neft_ray.bucket import Bucket
from neft_ray.errors import StorageError, bad_input
from neft_ray.working_copy import Pushing, bucket_of, matching, pull, renew

JOURNAL_FILE = "journal.jsonl"
ANSWERS_FILE = "generated.jsonl"
"""In a finalist's folder."""
EVALUATIONS = "evaluation"
"""The folder of evaluations, in a run or a storage."""
WORKER_FILES = (
    *("metrics.jsonl", "metrics-[0-9]*.jsonl", "log-*.txt"),
    *("report_rows/step-*", ANSWERS_FILE),
)
"""What a trial's workers write into its folder, checkpoints aside; all else is the driver's."""
LEASE_FILE = "owner.json"
RENEW_SECONDS, EXPIRE_SECONDS = 20.0, 90.0
LOOK_SECONDS = 25.0
"""Between two looks at a lease: one that lives is renewed meanwhile."""

_of_workers = matching(*WORKER_FILES)
_growing = matching(*(f"trials/*/{pattern}" for pattern in WORKER_FILES), f"{EVALUATIONS}/*.jsonl")
"""What is appended to: by a trial's workers, and by `neft-ray evaluate` replies and verdicts."""
_of_passage = matching("*/checkpoints/*", "*/origin/*", "ray/*", "*.lock", "*.partial", "stop")


def is_drivers(name: str) -> bool:
    """Tell whether the driver pushes a file of a run: its own, but nothing of passage.

    Args:
        name: Relative to the run directory. The journal is sent by itself, piece by piece.
    """
    if _of_passage(name) or any(part.startswith(".") for part in name.split("/")):
        return False
    in_trial = re.match(r"trials/[^/]+/(.*)", name)
    if name.partition("/")[0] in (JOURNAL_FILE, LEASE_FILE):
        return False
    return not (in_trial and _of_workers(in_trial[1]))


@contextmanager
def driven(root: Path) -> Iterator[None]:
    """Drive a run for the duration of a `with` block: nobody else does, and its files are sent.

    Raises:
        UserError: If a driver on another machine works on it.
    """
    bucket = bucket_of(root)
    if bucket is None:
        yield
        return
    with _leased(bucket), Pushing(root, is_drivers):
        yield


def fetch_run(root: Path) -> None:
    """Fetch all of a run but its checkpoints, if it is stored in a bucket.

    Not to be called where its driver runs, whose files are newer than those in the bucket.

    Raises:
        StorageError: If the bucket does not answer.
    """
    pull(root, _growing)
    renew(root, lambda name: is_drivers(name) and not _growing(name))
    pieces.fetch(root / JOURNAL_FILE)


def fetch_manifests(storage: Path) -> None:
    """Fetch what tells which runs there are, if they are stored in a bucket.

    Raises:
        StorageError: If the bucket does not answer.
    """
    if (bucket := bucket_of(storage)) is not None:
        for run in bucket.folders():
            renew(storage / run, matching("manifest.json"))


@contextmanager
def _leased(bucket: Bucket) -> Iterator[None]:
    """Hold a lease on a run, as a lock on a file is held where all drivers share a disk."""
    own = uuid.uuid4().hex
    _refuse_taken(bucket, own)
    lease = json.dumps({"id": own, "host": socket.gethostname(), "pid": os.getpid()}).encode()
    bucket.put(LEASE_FILE, lease)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEW_SECONDS):
            try:
                bucket.put(LEASE_FILE, lease)
            except StorageError:
                continue  # the next one may get through; the journal says it if none does

    thread = threading.Thread(target=renew, daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        bucket.delete(LEASE_FILE)


def _refuse_taken(bucket: Bucket, own: str) -> None:
    """Wait until the lease of a driver that died has expired; refuse a run whose driver lives."""
    seen: float | None = None
    while (held := bucket.get(LEASE_FILE)) is not None:
        renewed, now = _times(bucket, f".probe-{own}")
        if now - renewed >= EXPIRE_SECONDS:
            return
        if seen is not None and renewed > seen:
            owner = json.loads(held)
            what = f"process {owner['pid']} on {owner['host']} is working on this run"
            raise bad_input(bucket.uri, what, "wait for it, or end it with `neft-ray stop`")
        seen = renewed
        time.sleep(LOOK_SECONDS)


def _times(bucket: Bucket, probe: str) -> tuple[float, float]:
    """Return when the lease was renewed and the present time, both by the bucket's clock."""
    bucket.put(probe, b"")
    versions = bucket.versions()
    bucket.delete(probe)
    return versions.get(LEASE_FILE, (0, 0.0))[1], versions[probe][1]
