"""Reads rows from files, folders or the hub, each with its place."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from neft_ray.errors import Problem, UserError, bad_input

Row = Mapping[str, Any]
MAX_PROBLEMS = 20


class PlacedRow(NamedTuple):
    """A row and where it stands, for a person."""

    place: str
    row: Row


def read_rows(source: str, part: str = "train", hub_split: str = "train") -> list[PlacedRow]:
    """Read every row of `source`.

    Args:
        source: Hub name, file, folder, or `builtin:tales`.
        part: Which part of the built-in data: `train` or `held_out`.
        hub_split: Which split of a data set on the hub; `all` for all of them.

    Raises:
        UserError: If the source cannot be read.
    """
    files = local_files(source, part)
    if not files:
        return _placed(source, _read_hub(source, hub_split))
    if len({file.suffix.removesuffix("l") for file in files}) > 1:
        raise bad_input(source, "mixes kinds of files", "keep one kind in the folder")
    rows = [row for file in files for row in _placed(str(file), _read_file(file))]
    if not rows:
        raise bad_input(source, "has no rows", "give a file with at least a few dozen rows")
    return rows


def builtin_data(part: str) -> Path:
    """Return the file of the built-in data's `part`, `train` or `held_out`."""
    return Path(str(resources.files("neft_ray") / "builtin" / f"{part}.jsonl"))


def local_files(source: str, part: str = "train") -> list[Path]:
    """Return the files that a source consists of, none where it is a hub name.

    Raises:
        UserError: If there are none although `source` cannot be a hub name.
    """
    if source.startswith("builtin:"):
        if source != "builtin:tales":
            raise bad_input(source, "no such built-in data", "use builtin:tales")
        return [builtin_data(part)]
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in READERS)
        if not files:
            raise bad_input(source, "has no data files", f"expected {', '.join(READERS)}")
        return files
    if path.is_file():
        if path.suffix not in READERS:
            raise bad_input(source, "unknown kind of file", f"expected {', '.join(READERS)}")
        return [path]
    if source.startswith(("/", ".", "~")) or path.suffix in READERS:
        raise bad_input(source, "no such file or folder", "check the path")
    return []


def _placed(name: str, rows: Sequence[Row]) -> list[PlacedRow]:
    return [PlacedRow(f"{name}: row {number}", row) for number, row in enumerate(rows, start=1)]


def _read_file(file: Path) -> Sequence[Row]:
    if file.stat().st_size == 0:
        raise bad_input(file, "is empty", "give a file with rows")
    try:
        return READERS[file.suffix](file)
    except (ValueError, csv.Error) as error:  # not UTF-8, no JSON, no CSV
        raise _unreadable(str(file), error, "give a well-formed file in UTF-8") from error


def _read_jsonl(file: Path) -> Sequence[Row]:
    rows: list[Row] = []
    problems = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            remedy = "write one JSON object per line, in UTF-8"
            problems.append(Problem(f"{file}:{number}", "is not a JSON object", remedy))
    if problems:
        raise UserError(problems[:MAX_PROBLEMS])
    return rows


def _read_json(file: Path) -> Sequence[Row]:
    """Read a list of objects; or, as they are met under this name too, one object per line."""
    text = file.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("{"):
        return _read_jsonl(file)
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise bad_input(file, "is not a list of JSON objects", "write a list, or use .jsonl")
    wrong = [n for n, row in enumerate(rows, start=1) if not isinstance(row, dict)]
    if wrong:
        remedy = "write a list of JSON objects"
        places = [f"{file}: row {number}" for number in wrong[:MAX_PROBLEMS]]
        raise UserError(Problem(place, "is not a JSON object", remedy) for place in places)
    return rows


def _read_csv(file: Path) -> Sequence[Row]:
    csv.field_size_limit(sys.maxsize)  # texts may be long
    with file.open(newline="", encoding="utf-8-sig") as opened:
        rows = list(csv.DictReader(opened, strict=True))
    for number, row in enumerate(rows, start=1):
        if None in row:
            what = "has more fields than the header"
            raise bad_input(f"{file}: row {number}", what, "quote texts that hold commas")
    return rows


def _read_parquet(file: Path) -> Sequence[Row]:
    this_alone = glob.escape(str(file))  # what `datasets` is given is a pattern
    return list(_loaded(str(file), "parquet", data_files=[this_alone], split="train"))


def _read_hub(source: str, split: str) -> Sequence[Row]:
    return list(_loaded(source, source, split=split))


def _loaded(source: str, *arguments: str, **options: Any) -> Iterator[Row]:
    """Read with `datasets`, without the nulls that it fills unequal objects up with."""
    import datasets

    datasets.disable_progress_bars()
    try:
        for row in datasets.load_dataset(*arguments, **options).to_list():
            yield {key: without_nulls(value) for key, value in row.items()}
    except Exception as error:  # the errors of its readers and of the hub have no common base
        remedy = "give a well-formed file; of a hub name, check the name and the connection"
        raise _unreadable(source, error, remedy) from error


def without_nulls(value: Any) -> Any:
    """Leave out keys whose value is null, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _unreadable(source: str, error: BaseException, remedy: str) -> UserError:
    cause = error.__cause__ or error
    first_line = str(cause).strip().partition("\n")[0][:200]
    return bad_input(source, f"cannot be read: {type(cause).__name__}: {first_line}", remedy)


READERS: Mapping[str, Callable[[Path], Sequence[Row]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
