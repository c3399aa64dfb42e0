"""The report's page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from neft_ray.config.load import dump_sweep
from neft_ray.report import phrases, words
from neft_ray.report.evaluations import COLUMNS
from neft_ray.report.figures.style import ARM_COLOURS, Picture
from neft_ray.report.finalists import Lift
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE, Difference
from neft_ray.report.results import Results, objectives_of
from neft_ray.report.tables import trial_row
from neft_ray.report.trials import ALPHA, LEARNING_RATE, Trial


def render(results: Results, pictures: Sequence[Picture]) -> str:
    """Return the page with its pictures inside."""
    lift = results.lift
    return template("page.html").render(
        results=results,
        words=words,
        phrases=phrases,
        css=style(),
        js=part("page.js"),
        colours=ARM_COLOURS,
        pictures=pictures,
        sentences=words.lift_sentences(lift) if lift else [],
        verdict=_verdict(results),
        comparisons=_named_differences(lift) if lift else [],
        sides={HELPS: "first better", HURTS: "first worse", NO_EVIDENCE: "no evidence"},
        other_keys=_other_keys(results),
        columns=tuple(COLUMNS),
        objectives=objectives_of(results.config),
        rows=[(trial, trial_row(trial)) for trial in results.trials],
        data={trial.name: _pointed_at(trial) for trial in results.trials},
        duration=_duration_text(results.seconds),
        config=dump_sweep(results.config),
        manifest=list(_flat(results.manifest)),
    )


def style() -> str:
    """Return the look of all pages."""
    return resources.files("neft_ray").joinpath("style.css").read_text("utf-8")


def part(name: str) -> str:
    """Return the text of a file that pages are made of."""
    return resources.files("neft_ray.report").joinpath(name).read_text("utf-8")


def template(name: str) -> Template:
    """Return a page to be filled in."""
    environment = Environment(
        loader=FunctionLoader(part),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        loss=lambda loss: phrases.loss_text(float("nan") if loss is None else loss),
        fixed=phrases.fixed_text,
        value=phrases.value_text,
        embedded=_embedded,
        labelled=_labelled,
    )
    return environment.get_template(name)


def _labelled(svg: str, alt: str) -> str:
    """Return a picture's SVG element with a text for those who cannot see it."""
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


def _pointed_at(trial: Trial) -> dict[str, Any]:
    """Return what is said of a trial where one points at it."""
    record = trial.record
    series = {
        metric: [
            (step, loss)
            for step, loss in zip(*record.series(metric), strict=True)
            if math.isfinite(loss)
        ]
        for metric in ("select_loss", "train_eval_loss")
    }
    best = f"best select loss {phrases.loss_text(trial.best_select_loss)}"
    return {
        "arm": record.arm,
        "phase": record.phase,
        "status": trial.status,
        "text": phrases.configuration_text(trial),
        "best": f"{best} at step {record.best.step}" if record.best else "never evaluated",
        "series": series,
    }


def _verdict(results: Results) -> str:
    """Return the verdict that colours the headline: at the end, or at best without one."""
    lift = results.lift
    difference = lift and (lift.at_end or lift.at_best)
    return difference.verdict if difference else "not measured"


def _named_differences(lift: Lift) -> list[tuple[str, Difference]]:
    """Return what of a lift is known, each with what was compared."""
    named = {
        "both at their last step": lift.at_end,
        "both at their best step (early stopping)": lift.at_best,
        "first at its last step, second at its best": lift.against_early_stopping,
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
