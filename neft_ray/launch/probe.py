"""What a machine says of itself to the doctor; sent there by ssh, so the standard library alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "neft-ray", "torch")


def probe(storage: str, mark: str) -> dict[str, Any]:
    """Return what can be found out here.

    Args:
        storage: A folder that all machines should see; empty: none.
        mark: The name of a file that this machine leaves there, with its name in it.
    """
    return {
        "time": time.time(),
        "python": "{}.{}".format(*sys.version_info),
        "versions": {name: _version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
        "free_bytes": shutil.disk_usage(Path.home()).free,
        "own_address": _own_address(),
        "gpus": _gpus(),
        "nccl": _nccl(),
        "storage": _storage(storage, mark) if storage else "",
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _own_address() -> str | None:
    """Return what its own name stands for: processes on other machines are told it."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return None


def _gpus() -> list[str]:
    """Return driver and name of every GPU that NVIDIA's driver tells of."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.splitlines()
    told = (done.stderr.strip() or done.stdout.strip()).splitlines()  # it complains on either
    return [f"broken: {' '.join(told)}"]


def _nccl() -> str | None:
    """Return the version of NCCL that torch brought along, by which GPUs talk; None without one."""
    found = (d for d in distributions() if (d.name or "").startswith("nvidia-nccl-"))
    return next((distribution.version for distribution in found), None)


def _storage(folder: str, mark: str) -> str:
    """Leave a mark in the storage; return what is wrong with it, or nothing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / mark).write_text(socket.gethostname())
    except OSError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(json.dumps(probe(*sys.argv[1:3])))
