"""Where a run comes from: its code, packages and data, as they are told to MLflow."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from neft_ray.config.data import DataConfig
from neft_ray.data.read import local_files
from neft_ray.tracking.cards import Dataset

PACKAGES = ("neft_ray", "ray", "torch", "transformers", "mlflow", "optuna")
ENVIRONMENT_FILE = "requirements.txt"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on most."""
    found = {name: version(name) for name in PACKAGES}
    return found | {"python": sys.version.split()[0]}


def environment() -> str:
    """Return every installed package with its version, as `pip freeze` does."""
    found = {f"{found.metadata['Name']}=={found.version}" for found in distributions()}
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def code_version(folder: Path) -> dict[str, Any]:
    """Return `commit`, `branch` and `dirty` of the git checkout around a folder.

    Dirty is a checkout whose tracked files were changed: what is not tracked, such as runs, is
    nothing to say of the code. Empty where there is none, or no git to ask.
    """
    if shutil.which("git") is None:
        return {}
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:  # no checkout, or one without a commit
        return {}
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    changed = _git(folder, "status", "--short", "--untracked-files=no")
    return {"commit": commit, "branch": branch, "dirty": bool(changed)}


def code_tags(code: dict[str, Any], command: str) -> dict[str, str]:
    """Return what MLflow's UI shows as the source of a run.

    Args:
        code: What `code_version` found when the run was created.
        command: What was typed, such as `neft-ray sweep`.
    """
    tags = {
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if code:
        tags["mlflow.source.git.commit"] = code["commit"]
        tags["mlflow.source.git.branch"] = str(code["branch"])
        tags["neft_ray.git_dirty"] = str(code["dirty"]).lower()
    return tags


def dataset(config: DataConfig, summary: dict[str, Any]) -> Dataset:
    """Return the data of a trial as MLflow records a dataset.

    Args:
        config: The `data` section.
        summary: Of the tokenized data.
    """
    kind, source = "hugging_face", {"path": config.train}
    if config.train.startswith("builtin:"):
        kind, source = "builtin", {"uri": config.train}
    elif local_files(config.train):
        kind, source = "local", {"uri": str(Path(config.train).resolve())}
    if config.held_out is not None:
        source["held_out"] = config.held_out
    rows: dict[str, int] = summary["rows"]
    kept = {name: rows[name] for name in ("train", "select", "report")}
    profile: dict[str, float] = {"num_rows": sum(kept.values())}
    profile |= {f"num_rows_{name}": count for name, count in kept.items()}
    profile |= {f"{key}_tokens": summary[f"{key}_tokens"] for key in ("longest", "mean")}
    profile |= {f"rows {why}": count for why, count in rows.items() if why not in kept}
    name = Path(config.train).stem if kind == "local" else config.train
    return Dataset(name, summary["content_hash"], kind, source, profile)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    return None if done.returncode else done.stdout.strip()
