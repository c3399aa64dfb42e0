"""Copies of a cluster's runs in the storage here: what status, logs, report and chat work on."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from neft_ray.config.cluster import ClusterFile
from neft_ray.errors import bad_input
from neft_ray.files import write_whole
from neft_ray.launch.ssh import Head
from neft_ray.run_directory import CANCEL_FILE, RunDirectory, find_run
from neft_ray.working_copy import folder_in_shell, is_bucket

LEFT_THERE = ("checkpoints", "origin", "/ray", "*.lock", ".step-*", "*.partial", ".best_model*")
"""What only the cluster has a use for, and what is on its way to be something else."""

POLL_SECONDS = 2.0
STOP_SECONDS = 180.0


def folder_there(head: Head, place: str) -> str:
    """Return the folder on the head for a storage place; of a bucket, the working copy."""
    return head.run(f"echo {folder_in_shell(place)}").strip()


def find_there(cluster: ClusterFile, head: Head, reference: str) -> str:
    """Return the run directory on the head that is meant by its name, whole path, or `latest`.

    Raises:
        UserError: If there is none, or the head cannot be reached.
    """
    if reference.startswith("/"):  # of a sweep file that names a storage of its own
        folder, _, reference = reference.rstrip("/").rpartition("/")
        place = folder
    else:
        place = cluster.settings.storage
        folder = folder_there(head, place)
    found = _names(head, folder)
    if is_bucket(place) and (reference not in found and not (reference == "latest" and found)):
        # A new head has not seen the runs of the one before; looking at one fetches it
        words = shlex.join(["neft-ray", "status", reference, "--storage", place])
        head.run(f"{words} > /dev/null || true")
        found = _names(head, folder)
    if reference in found or (reference == "latest" and found):
        return f"{folder}/{reference if reference in found else found[0]}"
    remedy = f"runs there: {', '.join(found[:5]) or 'none'}"
    raise bad_input(f"{head}:{folder}", f"no such run: {reference}", remedy)


def _names(head: Head, folder: str) -> list[str]:
    """Return the names of the runs in a folder of the head, the one created last first.

    Those of a bucket whose manifest alone has been fetched are left out.
    """
    each = """for file in */sweep.yaml; do
        test -e "$file" || continue
        echo "${file%/*}"
        grep -s '"created"' "${file%/*}/manifest.json" || echo
    done"""
    told = head.run(f"cd {shlex.quote(folder)} 2> /dev/null || exit 0; {each}").splitlines()
    created = {}
    for name, line in zip(told[::2], told[1::2], strict=True):
        created[name] = float(line.partition(":")[2].strip(" ,") or 0)
    return sorted(created, key=lambda name: (created[name], name), reverse=True)


def bring(
    cluster: ClusterFile, head: Head, reference: str, storage: Path, with_model: bool = False
) -> RunDirectory:
    """Bring a copy of a run up to date, without its checkpoints, and return it.

    Args:
        cluster: Where it is.
        head: Of that cluster.
        reference: Its name, or `latest`.
        storage: The folder here that gets it.
        with_model: With the best model too, which is as large as the base model.

    Raises:
        UserError: If there is no such run, or the head cannot be reached.
    """
    root = find_there(cluster, head, reference)
    name = Path(root).name
    _refuse_own(storage / name)
    left = LEFT_THERE if with_model else (*LEFT_THERE, "/best_model")
    owner = owner_there(head, root)
    there = {"cluster": str(cluster.path), "head": str(head), "root": root, "owner_pid": owner}
    copy = RunDirectory((storage / name).resolve())
    write_whole(copy.copied_from_file, json.dumps(there, indent=2))  # first: it may be cut
    head.bring(root, copy.root, left)
    return find_run(str(copy.root), storage)


def owner_there(head: Head, root: str) -> int | None:
    """Return the process id of the driver that works on a run; None where there is none."""
    lock = shlex.quote(f"{root}/driver.lock")
    told = head.run(f"test ! -e {lock} || flock --shared --nonblock {lock} true || cat {lock}")
    return int(told) if told.strip() else None


def kind_there(head: Head, root: str) -> str:
    """Return what a run is: `sweep` or `train`."""
    manifest = head.run(f"cat {shlex.quote(str(RunDirectory(Path(root)).manifest_file))}")
    return str(json.loads(manifest).get("kind", "sweep"))


def stop(head: Head, root: str) -> None:
    """Ask a run to stop within a step, and wait until its driver is gone.

    Raises:
        UserError: If it does not stop in time.
    """
    head.run(f"touch {shlex.quote(str(RunDirectory(Path(root)).stop_file))}")
    deadline = time.monotonic() + STOP_SECONDS
    while owner_there(head, root) is not None:
        if time.monotonic() > deadline:
            raise bad_input(f"{head}:{root}", "its driver did not stop", "see neft-ray logs")
        time.sleep(POLL_SECONDS)


def stop_trial(head: Head, root: str, trial: str) -> None:
    """Ask one trial of a run to stop within a step, for good.

    Raises:
        UserError: If the run has no such trial.
    """
    folder = f"{root}/trials/{trial}"
    if not head.run(f"test -d {shlex.quote(folder)} && echo there || true"):
        raise bad_input(f"{head}:{folder}", "no such trial", "see neft-ray status")
    head.run(f"touch {shlex.quote(folder)}/{CANCEL_FILE}")


def _refuse_own(folder: Path) -> None:
    if folder.exists() and not RunDirectory(folder).copied_from_file.exists():
        what = "is a run of this machine, with the name of one on the cluster"
        raise bad_input(folder, what, "name another --storage")
