"""The report: what a run found, as one page with pictures, as tables and as plain words."""

from __future__ import annotations

from pathlib import Path

from neft_ray.errors import bad_input
from neft_ray.report.figures import draw_pictures
from neft_ray.report.page import render
from neft_ray.report.results import Results, gather
from neft_ray.report.tables import evaluations_csv, results_json, trials_csv
from neft_ray.report.words import summary_lines
from neft_ray.run_directory import RunDirectory

__all__ = ["Results", "gather", "summary_lines", "write_report"]


def write_report(run: RunDirectory) -> Results:
    """Write a run's report into its directory, of a run that has ended or not.

    `index.html` holds its pictures and needs no other file; beside it lie the pictures as PNG,
    `trials.csv`, `evaluations.csv` and `results.json`. Each file appears whole or not at all.

    Raises:
        UserError: If a file of the run is damaged, or the report cannot be written.
    """
    results = gather(run)
    pictures = list(draw_pictures(results))
    files = {f"{picture.name}.png": picture.png for picture in pictures}
    texts = {
        "trials.csv": trials_csv(results.trials),
        "evaluations.csv": evaluations_csv(results.trials),
        "results.json": results_json(results),
        "index.html": render(results, pictures),
    }
    files |= {name: text.encode() for name, text in texts.items()}
    try:
        run.report.mkdir(exist_ok=True)
        for name, content in files.items():
            _replace(run.report / name, content)
    except OSError as error:
        raise bad_input(run.report, f"cannot be written: {error}", "free some space") from None
    return results


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
