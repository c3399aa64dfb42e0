"""Warm start: the trials of earlier runs that an arm's searcher is told of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.load import load_sweep
from neft_ray.config.space import Values, same
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import bad_input
from neft_ray.journal import (
    COMPLETED,
    DIVERGED,
    STOPPED,
    TrialRecord,
    read_records,
    record_fields,
)
from neft_ray.run_directory import RunDirectory


@dataclass(frozen=True)
class Priors:
    """What earlier runs teach an arm.

    Attributes:
        records: Their trials with this arm's keys, numbered -1, -2, …
        left_out: How many trials of their searches were left out, by reason.
    """

    records: tuple[TrialRecord, ...]
    left_out: Mapping[str, int]


def known_before(config: SweepConfig, arms: Sequence[str]) -> dict[str, Any]:
    """Return the fields of the event that tells arms what `sweep.warm_start` names."""
    found = {name: read_priors(config, name) for name in arms}
    return {
        "priors": {name: [record_fields(r) for r in found[name].records] for name in arms},
        "left_out": {name: dict(found[name].left_out) for name in arms},
    }


def read_priors(config: SweepConfig, arm: str) -> Priors:
    """Read what `sweep.warm_start` names.

    Args:
        config: The sweep that starts.
        arm: The arm whose searcher is to learn.

    Raises:
        UserError: If a folder is no run, or its journal is damaged.
    """
    space = ArmSpace.of(config, arm)
    found: list[TrialRecord] = []
    left_out: Counter[str] = Counter()
    for name in config.sweep.warm_start:
        run = RunDirectory(Path(name))
        if not run.config_file.exists() or not run.journal_file.exists():
            remedy = "name the folder of a run, such as runs/alpaca-20261123-100000"
            raise bad_input(f"sweep.warm_start: {name}", "is no run", remedy)
        earlier = load_sweep(run.config_file)
        for record in read_records(run.journal_file).values():
            if record.phase != "search":
                continue
            values = _values(earlier, record, space)
            if reason := _reason(config, earlier, record, values):
                left_out[reason] += 1
                continue
            known = replace(record, number=-1 - len(found), arm=arm, values=values or {})
            found.append(replace(known, reports=list(record.reports)))
    return Priors(tuple(found), dict(left_out))


def _reason(
    config: SweepConfig, earlier: SweepConfig, record: TrialRecord, values: Values | None
) -> str:
    """Return why a trial teaches nothing here; empty if it does."""
    if earlier.sweep.objective != config.sweep.objective:
        return "another objective"
    if (earlier.model, earlier.data) != (config.model, config.data):
        return "another model or data"
    if record.status not in (COMPLETED, STOPPED, DIVERGED):
        return "without a result"
    return "other keys, or values outside the space" if values is None else ""


def _values(earlier: SweepConfig, record: TrialRecord, space: ArmSpace) -> Values | None:
    """Return a trial's values as this arm writes them; None if it could not draw them."""
    whole: dict[str, Any] = {**record.values, **earlier.sweep.arms[record.arm]}
    if not all(key in whole and same(whole[key], space.fixed[key]) for key in space.fixed):
        return None
    drawn = {key: value for key, value in whole.items() if key not in space.fixed}
    listed = {
        key: space.domains[key].listed(value)
        for key, value in drawn.items()
        if key in space.domains
    }
    values = {key: listed[key][0] for key in space.domains if listed.get(key)}
    return values if values.keys() == drawn.keys() and space.holds(values) else None
