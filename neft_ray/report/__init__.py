"""The report: what a run found, as one page with pictures, as tables and as plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neft_ray.errors import bad_input
from neft_ray.files import write_whole
from neft_ray.report.compare import write_comparison
from neft_ray.report.document import results_json
from neft_ray.report.figures import draw_pictures, headline_files
from neft_ray.report.page import render
from neft_ray.report.results import Results, gather
from neft_ray.report.tables import evaluations_csv, lift_csv, measures_csv, trials_csv
from neft_ray.report.words import headline, summary_lines
from neft_ray.run_directory import RunDirectory

__all__ = ["Results", "compare_runs", "gather", "results_json", "summary_lines", "write_report"]


def write_report(run: RunDirectory) -> Results:
    """Write a run's report into its directory, of a run that has ended or not.

    `index.html` holds its pictures and needs no other file; beside it lie the pictures as PNG, the
    first one also as PDF and SVG, the numbers as CSV and `results.json`. Each file appears whole or
    not at all.

    Raises:
        UserError: If a file of the run is damaged, or the report cannot be written.
    """
    results = gather(run)
    pictures = list(draw_pictures(results))
    files: dict[str, str | bytes] = {
        **{f"{picture.name}.png": picture.png for picture in pictures},
        **headline_files(results),
        "trials.csv": trials_csv(results.trials),
        "evaluations.csv": evaluations_csv(results.trials),
        "lift.csv": lift_csv(results.comparisons),
        "measures.csv": measures_csv(results.comparisons),
        "results.json": results_json(results),
        "index.html": render(results, pictures),
    }
    for name, content in files.items():
        write_whole(run.report / name, content)
    return results


def compare_runs(runs: Sequence[RunDirectory], folder: Path) -> list[str]:
    """Write a page that compares runs into a folder; return what each found, a line each.

    Raises:
        UserError: If two runs have one name, a file of a run is damaged, or the page cannot be
            written.
    """
    names = Counter(run.name for run in runs)
    for name, number in names.items():
        if number > 1:
            what, remedy = f"is the name of {number} of the runs", "rename the folder of one"
            raise bad_input(name, what, f"{remedy}: names tell them apart")
    sweeps = [gather(run) for run in runs]
    write_comparison(sweeps, folder)
    return [f"{sweep.name}: {headline(sweep)}" for sweep in sweeps]
