"""Writes the site's reference from the code: keys, commands, exit codes, files, results."""

from __future__ import annotations

from pathlib import Path

from reference.code_facts import exit_codes_page, run_directory_page
from reference.commands import commands_page
from reference.results import results_page
from reference.sections import cluster_file_page, sweep_file_page

__all__ = ["write_pages"]

PAGES = {
    "sweep-file.md": sweep_file_page,
    "cluster-file.md": cluster_file_page,
    "commands.md": commands_page,
    "exit-codes.md": exit_codes_page,
    "run-directory.md": run_directory_page,
    "results-json.md": results_page,
}


def write_pages(folder: Path) -> None:
    """Write every page into a folder; one that is as it should be keeps its time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        file, text = folder / name, page()
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
