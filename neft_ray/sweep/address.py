"""Which cluster a command means: one that is named, or this machine alone."""

from __future__ import annotations

import os

LOCAL = "local"


def address_of(given: str | None) -> str:
    """Return the address that is given, else RAY_ADDRESS, else `LOCAL`."""
    return given or os.environ.get("RAY_ADDRESS") or LOCAL


def is_here(given: str | None = None) -> bool:
    """Tell whether trials run on this machine, so that what it lacks, they lack."""
    return address_of(given) == LOCAL
