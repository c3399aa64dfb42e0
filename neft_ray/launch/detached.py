"""Processes that outlive the command which starts them, as `ray up` wants of what it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOME = Path("~/.neft_ray").expanduser()
"""What they leave on a machine, for its user alone."""


def start(
    module: str, *arguments: str, log_file: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Run one of our modules in the background; what it says is appended to a file."""
    HOME.mkdir(mode=0o700, exist_ok=True)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
