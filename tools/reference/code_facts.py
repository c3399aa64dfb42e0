"""The reference of exit codes and of a run directory, made from the classes that define them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from neft_ray.errors import ExitCode
from neft_ray.run_directory import CANCEL_FILE, RunDirectory
from reference.words import page, prose

EXIT_CODES = "Every command ends with one of these."
RUN_DIRECTORY = """
One folder per sweep, `<storage>/<name>-<time>`. What decides is the journal: with it, `sweep.yaml`
and the checkpoints a sweep goes on. All else can be made again or is for reading.
"""
TRIAL = f"""
Beside them the sweep's own `metrics.jsonl`, `tracking.json` and `mlflow.json`, as a trial has them,
and `requirements.txt`, every package that was installed.

## Inside a trial's folder

| file | what |
| --- | --- |
| `config.json` | the whole configuration, which with the seed determines the curve |
| `metrics.jsonl`, `metrics-driver.jsonl` | what a worker and the driver measured, a line per step |
| `tracking.json` | the child run in MLflow as it should be: name, parameters, tags |
| `mlflow.json` | the child run's id, and how far MLflow has acknowledged the two above |
| `log-0.txt`, `log-1.txt`, … | what each worker printed |
| `checkpoints/step-000160/` | trained weights, optimizer, a list of sizes and checksums |
| `report_rows/step-000160.npz` | of finalists: loss and tokens of every row of the report split |
| `generated.jsonl` | of finalists: the answers whose length and repetition are measured |
| `{CANCEL_FILE}` | put there by `neft-ray stop --trial`: the trial ends within a step |

## Beside the runs

| in the storage folder | what |
| --- | --- |
| `mlflow.db`, `mlartifacts/` | MLflow's record, where `mlflow.uri` names no other |
| `cache/` | tokenized data, used again by the next sweep on the same rows |
| `comparison/` | what `neft-ray report FIRST SECOND` wrote |
"""


def exit_codes_page() -> str:
    """Return the page of exit codes, with the words below each in `errors.py`."""
    (tree,) = ast.parse(inspect.getsource(ExitCode)).body
    assert isinstance(tree, ast.ClassDef)
    words = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr):
            words[ast.unparse(before.targets[0])] = str(ast.literal_eval(after.value))
    rows = [f"| {code.value} | {words.get(code.name, 'Done.')} |" for code in ExitCode]
    return page("Exit codes", EXIT_CODES, "\n".join(["| code | meaning |", "| --- | --- |", *rows]))


def run_directory_page() -> str:
    """Return the page of a run's files: the paths that `RunDirectory` knows, then a trial's."""
    rows = [f"| `{path}` | {meaning} |" for path, meaning in _paths()]
    table = "\n".join(["| file | what |", "| --- | --- |", *rows])
    return page("The run directory", RUN_DIRECTORY, table, TRIAL)


def _paths() -> Iterator[tuple[str, str]]:
    """Yield every path of a run, relative to it, with the first line of its description."""
    root = Path("run")
    run = RunDirectory(root)
    for name, member in vars(RunDirectory).items():
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        function = member.fget if isinstance(member, property) else member
        returned = inspect.signature(function).return_annotation if function else None
        if returned != "Path":
            continue
        path = getattr(run, name) if isinstance(member, property) else getattr(run, name)(7)
        yield str(path.relative_to(root)), prose(member.__doc__ or "").replace("\n", " ")
