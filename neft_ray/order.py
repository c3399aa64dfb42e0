"""What a worker is told of a trial."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """A trial to run. It crosses processes as plain values and is validated again there."""

    number: int
    config_json: str
    trial_folder: str
    """A place, as are the other folders: see `working_copy.here`."""
    data_folder: str
    with_report: bool
    """Evaluate the report split too: finalists only."""
    generated_rows: int = 0
    """Rows of the report split to answer at the trial's end: finalists only."""
    origin: str = ""
    """The folder of checkpoints of another trial to begin from; empty: begin with the model."""
    origin_hash: str = ""
    """Of that trial's configuration."""

    @property
    def fields(self) -> dict[str, Any]:
        """The order as plain values."""
        return asdict(self)
