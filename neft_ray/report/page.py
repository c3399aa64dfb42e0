"""The report's page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from neft_ray.config.load import dump_sweep
from neft_ray.report import words
from neft_ray.report.figures.style import Picture
from neft_ray.report.lift import Difference
from neft_ray.report.results import Results
from neft_ray.report.tables import trial_row
from neft_ray.report.trials import ALPHA, LEARNING_RATE


def render(results: Results, pictures: Sequence[Picture]) -> str:
    """Return the page with its pictures inside."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        loss=lambda loss: words.loss_text(float("nan") if loss is None else loss),
        value=words.value_text,
        embedded=_embedded,
    )
    template = resources.files("neft_ray.report").joinpath("page.html").read_text("utf-8")
    lift = results.lift
    return environment.from_string(template).render(
        results=results,
        words=words,
        pictures=pictures,
        sentences=words.lift_sentences(lift) if lift else [],
        verdict=_verdict(results),
        comparisons=_comparisons(results),
        other_keys=_other_keys(results),
        rows=[(trial, trial_row(trial)) for trial in results.trials],
        duration=_duration_text(results.seconds),
        config=dump_sweep(results.config),
        manifest=list(_flat(results.manifest)),
    )


def _verdict(results: Results) -> str:
    """Return the verdict that colours the headline: at the end, or at best without one."""
    lift = results.lift
    difference = lift and (lift.at_end or lift.at_best)
    return difference.verdict if difference else "not measured"


def _comparisons(results: Results) -> list[tuple[str, Difference]]:
    lift = results.lift
    if lift is None:
        return []
    named = {
        "both at their last step": lift.at_end,
        "both at their best step (early stopping)": lift.at_best,
        "treatment at its last step, control at its best": lift.against_early_stopping,
    }
    return [(name, difference) for name, difference in named.items() if difference]


def _other_keys(results: Results) -> list[str]:
    keys = dict.fromkeys(key for trial in results.trials for key in trial.values)
    return [key for key in keys if key not in (ALPHA, LEARNING_RATE)]


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _duration_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def _flat(manifest: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the entries of a manifest, nested ones under dotted names."""
    for key, value in manifest.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "created":
            yield prefix + key, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
        else:
            yield prefix + key, str(value)
