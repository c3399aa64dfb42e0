"""What can be deleted in a storage folder without losing anything that cannot be made again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.load import load_sweep
from neft_ray.journal import is_finished, read_records
from neft_ray.pipeline.sides import MODELS
from neft_ray.run_directory import RunDirectory, find_runs
from neft_ray.sweep.retention import worth_keeping
from neft_ray.tracking.cards import read_card, read_json
from neft_ray.train.stored import delete as delete_checkpoint
from neft_ray.train.stored import folder_of, steps_in
from neft_ray.working_copy import bucket_of

YOUNG_SECONDS = 3600.0
"""What is so new may be in the making: a cache of a sweep that is just about to start, a model."""
LEFTOVERS = (
    *("trials/t*/checkpoints/.step-*", "trials/t*/report_rows/.step-*", "report/.*.partial"),
    *("*.partial", "trials/t*/*.partial"),
)
"""What killed processes leave beside what they were to write; nothing reads it."""
EXPORTS = f"{MODELS}/t*/.step-*"
"""What killed exports leave, by whatever asked for them; they need not own the run."""
OLD_MODELS = (".best_model*", "..best_model*")
"""The same, of the best model; until there is one, it may be all there is."""


@dataclass(frozen=True)
class Garbage:
    """Something to delete."""

    what: str
    path: Path
    num_bytes: int
    run: RunDirectory | None = None
    """Whose it is; None for what runs share."""


def garbage_of(run: RunDirectory, keep_best: int | None) -> list[Garbage]:
    """Return what can go of a run; nothing of a run that a driver works on.

    Models, reports, journals and points are never among it. Checkpoints are, of a finished run,
    beyond its best: its trials can be trained again with `neft-ray export --rebuild`.

    Args:
        run: Finished or not.
        keep_best: Checkpoints to keep over all trials; None: as many as the sweep was to keep.

    Raises:
        UserError: If a file of the run is damaged.
    """
    if run.owner_pid is not None:
        return []
    found = [("Ray's scratch files", run.scratch)] if run.scratch.exists() else []
    patterns = LEFTOVERS + (OLD_MODELS if run.best_model.exists() else ())
    found += [("left by a killed process", p) for g in patterns for p in sorted(run.root.glob(g))]
    found += [("left by a killed process", p) for p in run.root.glob(EXPORTS) if _is_old(p)]
    if is_finished(run.journal_file):
        found += [("checkpoint", path) for path in _superfluous(run, keep_best)]
    return [Garbage(what, path, size_of(path), run) for what, path in found]


def unused_caches(storage: Path) -> list[Garbage]:
    """Return the tokenized data that no run in a storage folder refers to.

    Raises:
        UserError: If a run is damaged, for it may refer to anything.
    """
    used = {digest for run in find_runs(storage) for digest in _data_hashes(run)}
    found = []
    for folder in sorted((storage / "cache").glob("*")):
        summary = read_json(folder / "summary.json") if folder.is_dir() else None
        is_used = summary is not None and summary["content_hash"] in used
        if not is_used and _is_old(folder):
            found.append(Garbage("tokens that no run uses", folder, size_of(folder)))
    return found


def delete(items: Sequence[Garbage]) -> None:
    """Delete what was found.

    Raises:
        UserError: If a driver has begun to work on one of the runs.
    """
    for run in dict.fromkeys(item.run for item in items):
        own = [item for item in items if item.run == run]
        if run is None:
            _remove(own)
        else:
            with run.owned():
                _remove(own)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of a folder with all it holds, hard links counted once.

    Of a folder in a bucket, what it holds there.
    """
    if (bucket := bucket_of(path)) is not None and not path.is_file():
        return sum(bucket.sizes().values())
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    sizes = {}
    for folder, _, names in os.walk(path):
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > YOUNG_SECONDS


def _superfluous(run: RunDirectory, keep_best: int | None) -> Iterator[Path]:
    """Yield the checkpoints beyond the best, and copies that trials began from."""
    records = read_records(run.journal_file)
    search = load_sweep(run.config_file).sweep
    wanted = search.keep_checkpoints if keep_best is None else keep_best
    if not run.best_model.exists():
        wanted = max(wanted, 1)  # it is yet to be exported
    existing = {(n, step) for n in records for step in steps_in(run.checkpoints(n))}
    kept, _ = worth_keeping(records, existing, wanted, search.objective)
    for number, step in sorted(existing - kept):
        yield folder_of(run.checkpoints(number), step)
    yield from (run.origin(number) for number in records if run.origin(number).exists())


def _data_hashes(run: RunDirectory) -> Iterator[str]:
    """Yield the hashes of all data that a run's trials use: the base trial's, and each one's."""
    if "data" in run.manifest:
        yield run.manifest["data"]["content_hash"]
    for folder in run.root.glob("trials/t*"):
        card = read_card(folder)
        if card is not None and card.dataset is not None:
            yield card.dataset.digest


def _remove(items: Sequence[Garbage]) -> None:
    for item in items:
        if item.what == "checkpoint" and item.path.name.startswith("step-"):
            delete_checkpoint(item.path.parent, int(item.path.name.removeprefix("step-")))
        elif item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
