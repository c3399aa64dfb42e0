"""What all benchmarks share: interleaved repeats, a table of ratios, rows as JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One comparison; a ratio above 1 means that ours is better."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float


@dataclass(frozen=True)
class Arguments:
    """What every benchmark can be told on its command line."""

    repeats: int
    json: Path | None


def parser(description: str, repeats: int, data: bool = False) -> argparse.ArgumentParser:
    """Return what reads a command line; `data`: the benchmark needs files of others."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repeats", type=int, default=repeats, help="how often each thing is run")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    if data:
        files = "stories260k/, alpaca_train_4000.jsonl and alpaca_heldout_1200.jsonl"
        explained = f"a folder with {files}; none of them is the project's"
        options.add_argument("--data", type=Path, default=Path("../shared/data"), help=explained)
    return options


def arguments(description: str, repeats: int) -> Arguments:
    """Read the command line."""
    given = parser(description, repeats).parse_args()
    return Arguments(given.repeats, given.json)


def lower_is_better(name: str, ours: float, peer: float, unit: str) -> Row:
    """Compare times, sizes and the like."""
    return Row(name, ours, peer, unit, peer / ours)


def higher_is_better(name: str, ours: float, peer: float, unit: str) -> Row:
    """Compare rates and shares."""
    return Row(name, ours, peer, unit, ours / peer)


def interleaved(functions: Sequence[Callable[[], object]], repeats: int) -> tuple[list[float], ...]:
    """Time functions in turns, so that what else the machine does hits all alike.

    Returns:
        For each function its times in seconds; one run of each before them is not counted.
    """
    times: tuple[list[float], ...] = tuple([] for _ in functions)
    for number in range(repeats + 1):
        for function, found in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if number:
                found.append(time.perf_counter() - start)
    return times


def spread(name: str, seconds: Sequence[float]) -> str:
    """Return least, median and greatest as a line, in milliseconds."""
    low, middle, high = (1e3 * value for value in (min(seconds), median(seconds), max(seconds)))
    return f"{name:<52} {low:9.2f} {middle:9.2f} {high:9.2f}  ms (min, median, max)"


def finish(rows: Sequence[Row], given: Arguments) -> None:
    """Print the table of ratios and write the rows, if asked to."""
    print(f"\n{'':<52} {'ours':>9} {'peer':>9} {'ratio':>7}")
    for row in rows:
        print(f"{row.name:<52} {row.ours:9.3f} {row.peer:9.3f} {row.ratio:7.2f}  {row.unit}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
