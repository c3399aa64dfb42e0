"""Two sets of results, ratio beside ratio: python -m benchmarks.compare BEFORE AFTER.

Both are folders of what `--json` wrote. Machines differ and so do their moods, ratios of one run
hardly: one that fell by more than a fifth is marked.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

MARKED = 0.8


def ratios(folder: Path) -> dict[tuple[str, str], float]:
    """Return the ratio of every row, by file and name."""
    return {
        (file.stem, row["name"]): row["ratio"]
        for file in sorted(folder.glob("*.json"))
        for row in json.loads(file.read_text())
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    before, after = ratios(given.before), ratios(given.after)
    print(f"{'':<72} {'before':>8} {'after':>8}")
    for key in sorted(before.keys() | after.keys()):
        numbers = [f"{r[key]:8.2f}" if key in r else f"{'-':>8}" for r in (before, after)]
        fell = key in before and key in after and after[key] < MARKED * before[key]
        print(f"{': '.join(key):<72} {' '.join(numbers)}{'  fell' if fell else ''}")


if __name__ == "__main__":
    main()
