"""The Python interface to a sweep: run one, and read what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray.cli.options import DEFAULT_STORAGE, Start
from neft_ray.cli.running import carry_out
from neft_ray.config.load import dump_sweep, load_sweep, parse_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import bad_input
from neft_ray.report import Results, gather, results_json
from neft_ray.report.lift import Difference
from neft_ray.report.tables import trial_rows
from neft_ray.run_directory import RunDirectory, find_run
from neft_ray.working_copy import here


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found; also of one that goes on or was interrupted."""

    run: RunDirectory
    """Its folder and files: `run.root`, `run.report`, `run.best_model`."""
    results: Results

    @classmethod
    def of(cls, run: str | Path = "latest", storage: str | Path = DEFAULT_STORAGE) -> SweepResult:
        """Read a run that was made earlier, by the command line too.

        Args:
            run: Its folder, its name in the storage, or `latest`.
            storage: The folder that holds the runs.

        Raises:
            UserError: If there is none, or a file of it is damaged.
        """
        found = find_run(str(run), here(storage))
        return cls(found, gather(found))

    @property
    def finished(self) -> bool:
        """False where it was interrupted; `run_sweep(…, resume=result.run.root)` goes on."""
        return self.results.is_finished

    @property
    def best_trial(self) -> str | None:
        """Such as `t007`; None where no trial has a finite loss."""
        return self.results.best.name if self.results.best else None

    @property
    def best_values(self) -> dict[str, Any]:
        """The best trial's values of every key that was searched or fixed by an arm."""
        return dict(self.results.best.values) if self.results.best else {}

    @property
    def best_loss(self) -> float | None:
        """The best trial's objective: nats per supervised token of the select split."""
        best = self.results.best
        return best.record.objective(self.results.config.sweep.objective.at) if best else None

    @property
    def lift(self) -> Difference | None:
        """Treatment minus control on the report split, as the objective says at best or at end.

        It has `difference` (below 0 the noise is better), `interval` (95 %) and `verdict`. None
        where it could not be measured: `results.no_lift_reason` says why.
        """
        lift = self.results.lift
        if lift is None:
            return None
        at_best = self.results.config.sweep.objective.at == "best"
        return lift.at_best if at_best else lift.at_end

    @property
    def document(self) -> dict[str, Any]:
        """All of it as plain values: `results.json`, see `docs/results.schema.json`."""
        return json.loads(results_json(self.results))  # type: ignore[no-any-return]

    def trials(self) -> list[dict[str, Any]]:
        """Return a flat row per trial, as `trials.csv` has it, with searched values by key."""
        return list(trial_rows(self.results.trials))

    def to_dataframe(self) -> Any:
        """Return `trials()` as a pandas data frame, indexed by trial.

        Raises:
            UserError: If pandas is not installed.
        """
        try:
            from neft_ray.report.frames import trials_frame
        except ImportError:
            remedy = "pip install 'neft-ray[notebook]'"
            raise bad_input("pandas", "is not installed", remedy) from None
        return trials_frame(self.results)


def run_sweep(
    config: SweepConfig | Mapping[str, Any] | str | Path,
    set: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    address: str | None = None,
) -> SweepResult:
    """Run a sweep as `neft-ray sweep` does, and return what it found.

    Ctrl-C ends it within a step, with a result that is not `finished`; a second one raises.

    Args:
        config: A sweep file, its content as a mapping, or a configuration.
        set: Settings to replace, such as `{"noise.alpha": 15}`.
        resume: A run to go on with, as in `SweepResult.of`; None: a new run.
        address: A Ray cluster to join; None: that of RAY_ADDRESS, else this machine alone.

    Raises:
        UserError: With every problem of the input; nothing was started then.
    """
    overrides = [f"{key}={json.dumps(value, default=_plain)}" for key, value in (set or {}).items()]
    if isinstance(config, str | Path):
        checked = load_sweep(Path(config), overrides)
    elif isinstance(config, SweepConfig):
        checked = parse_sweep(dump_sweep(config), "config", overrides)
    else:
        checked = parse_sweep(json.dumps(config, default=_plain), "config", overrides)
    run = find_run(str(resume), here(checked.storage)) if resume is not None else None
    run, _ = carry_out("sweep", checked, run, Start(address=address))
    return SweepResult(run, gather(run))


def _plain(value: Any) -> Any:
    """Return what JSON has for paths, and for numbers and arrays of numpy."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise bad_input("config", f"{value!r} is no value of a sweep file", "give numbers and text")
