"""Which finalists a sweep still has to run: the best configurations of each arm on every seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from neft_ray.config.sweep import SearchConfig
from neft_ray.journal import COMPLETED, TrialRecord
from neft_ray.sweep.arm import Arm

Finalist = tuple[str, Mapping[str, Any], int]
"""Arm, values and seed."""


def missing_finalists(
    config: SearchConfig, arms: Mapping[str, Arm], records: Iterable[TrialRecord]
) -> list[Finalist]:
    """Return the finalists that are not there yet, seed by seed across the arms.

    Args:
        config: How many, and on which seeds.
        arms: Their searches are over.
        records: All trials so far.
    """
    finalists, at = config.finalists, config.objective.at
    chosen: list[tuple[str, Mapping[str, Any]]] = []
    for name, arm in arms.items():
        ranked = sorted(
            arm.searched.values(),
            key=lambda r: (r.status != COMPLETED, r.objective(at), r.number),
        )
        distinct: list[Mapping[str, Any]] = []
        for record in ranked:
            if math.isfinite(record.objective(at)) and record.values not in distinct:
                distinct.append(record.values)
        chosen += [(name, values) for values in distinct[: finalists.num]]
    there = [(r.arm, r.values, r.seed) for r in records if r.phase == "finalist"]
    wanted = [(name, values, seed) for seed in finalists.seeds for name, values in chosen]
    return [entry for entry in wanted if entry not in there]
