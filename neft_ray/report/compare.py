"""Several sweeps side by side: the best of every arm, the lift with its interval, the budgets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neft_ray.files import write_whole
from neft_ray.report import phrases
from neft_ray.report.document import finite
from neft_ray.report.figures import VECTORS, lifts_files
from neft_ray.report.figures.forest import forest_alt
from neft_ray.report.lift import Difference
from neft_ray.report.page import style, template
from neft_ray.report.results import Comparison, Results
from neft_ray.report.tables import csv_of, lift_rows
from neft_ray.report.words import DIRECTIONS, headline

FORMAT = 1
"""Of `comparison.json`: rises when a key changes its meaning or goes away."""
PICTURE = "lifts"
_LABEL = "held-out loss, noise minus control\n(nats per token)\n← noise better · noise worse →"


def write_comparison(sweeps: Sequence[Results], folder: Path) -> None:
    """Write a page that compares sweeps, with its numbers as CSV and JSON and its picture.

    Args:
        sweeps: What was gathered of each, in the order to be shown.
        folder: Is made if need be.

    Raises:
        UserError: If it cannot be written.
    """
    overview = [_overview(sweep) for sweep in sweeps]
    arms = [row for sweep in sweeps for row in _arms(sweep)]
    lifts = [{"run": s.name} | row for s in sweeps for row in lift_rows(s.comparisons)]
    document = {"format": FORMAT, "sweeps": overview, "arms": arms, "lifts": lifts}
    files, alt = _picture(sweeps)
    page = template("compare.html").render(
        css=style(),
        overview=overview,
        arms=arms,
        comparisons=[(s, c) for s in sweeps for c in s.comparisons if c.lift],
        without=[s for s in sweeps if not _measured(s.headline)],
        headline=headline,
        says=DIRECTIONS,
        phrases=phrases,
        notes=_notes(sweeps),
        png=files.get(f"{PICTURE}.png"),
        alt=alt,
    )
    text = json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    whole: dict[str, str | bytes] = {
        **files,
        "index.html": page,
        "arms.csv": csv_of(arms),
        "lifts.csv": csv_of(lifts),
        "comparison.json": text,
    }
    for name, content in whole.items():
        write_whole(folder / name, content)
    for old in {f"{PICTURE}.{kind}" for kind in ("png", *VECTORS)} - files.keys():
        (folder / old).unlink(missing_ok=True)  # of an earlier comparison in this folder


def _overview(sweep: Results) -> dict[str, Any]:
    config = sweep.config
    return {
        "run": sweep.name,
        "finished": sweep.is_finished,
        "model": config.model.path,
        "data": config.data.train,
        "data_hash": sweep.manifest.get("data", {}).get("content_hash"),
        "space": {
            key: it.model_dump(mode="json", exclude_none=True)
            for key, it in config.sweep.space.items()
        },
        "searcher": config.sweep.searcher.kind,
        "scheduler": config.sweep.scheduler.kind,
        "steps": sum(arm.steps for arm in sweep.arms),
        "trials": len(sweep.trials),
        "seconds": round(sweep.seconds, 3),
        "headline": headline(sweep),
    }


def _arms(sweep: Results) -> list[dict[str, Any]]:
    rows = []
    for arm in sweep.arms:
        best, report = arm.best, arm.best_report
        rows.append(
            {
                "run": sweep.name,
                "arm": arm.name,
                "best_trial": best.name if best else None,
                "best_configuration": phrases.configuration_text(best) if best else "",
                "best_select_loss": report.metrics["select_loss"] if report else None,
                "best_step": report.step if report else None,
                "num_trials": len(arm.trials),
                "steps": arm.steps,
                "saved_steps": arm.saved_steps,
            }
        )
    return rows


def _measured(comparison: Comparison | None) -> dict[str, Difference]:
    lift = comparison.lift if comparison else None
    named = {"at the end": lift.at_end, "at best": lift.at_best} if lift else {}
    return {when: difference for when, difference in named.items() if difference}


def _notes(sweeps: Sequence[Results]) -> list[str]:
    """Say what keeps the sweeps from being compared number by number."""
    notes = []
    overview = [_overview(sweep) for sweep in sweeps]
    kinds = {"models": "model", "data": "data_hash"}
    differing = [what for what, key in kinds.items() if len({row[key] for row in overview}) > 1]
    if differing:
        notes.append(
            f"The sweeps have different {' and '.join(differing)}: their lifts compare, their "
            "losses do not."
        )
    unfinished = [sweep.name for sweep in sweeps if not sweep.is_finished]
    return notes + [f"{name} has not finished; its figures are so far." for name in unfinished]


def _picture(sweeps: Sequence[Results]) -> tuple[dict[str, bytes], str]:
    """Return the lifts of all sweeps as PNG, PDF and SVG, and in words; nothing without a lift."""
    rows = {
        f"{sweep.name}\n{when}": difference
        for sweep in sweeps
        for when, difference in _measured(sweep.headline).items()
    }
    if not rows:
        return {}, ""
    return lifts_files(rows, DIRECTIONS, _LABEL, PICTURE), forest_alt(rows, DIRECTIONS)
