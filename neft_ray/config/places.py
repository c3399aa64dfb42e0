"""Where a problem is: the path of keys it concerns, and the line or option that wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from neft_ray.errors import Problem

Path = tuple[str | int, ...]
"""Keys of sections and indices of lists, from the top of the file."""

_AFTER_THE_FILE = 10**9  # options are reported below every line


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong at a path; `Places` turns it into a `Problem`."""

    path: Path
    what: str
    remedy: str
    line: int | None = None
    """Set where the path alone does not tell the line: syntax, and keys written twice."""


def dotted(path: Path) -> str:
    """Render a path as people write it: `sweep.finalists.seeds[2]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            name = key if key and key.isprintable() else ascii(key)
            text += f".{name}" if text else name
    return text


def option_place(option: str) -> str:
    """Return the place of a `--set` option, on one line."""
    return f"--set {option if option.isprintable() else ascii(option)}"


class Places:
    """Maps paths to places; a path without its own has that of its nearest parent."""

    def __init__(self, source: str, lines: Mapping[Path, int]) -> None:
        self._source = source
        self._places = {path: self._in_file(line) for path, line in lines.items()}

    def set_by_option(self, path: Path, number: int, option: str) -> None:
        """Note that the `number`-th `--set` option replaced a path and made what is above it."""
        place = (_AFTER_THE_FILE + number, option_place(option))
        below = [known for known in self._places if known[: len(path)] == path]
        for known in below:
            del self._places[known]
        for depth in range(1, len(path) + 1):
            self._places.setdefault(path[:depth], place)

    def problems(self, findings: Iterable[Finding]) -> list[Problem]:
        """Return the findings as problems: each once, in the order of the file, then options."""
        placed = [(self._place(finding), finding) for finding in dict.fromkeys(findings)]
        placed.sort(key=lambda pair: pair[0][0])
        return [
            Problem(
                f"{place}: {dotted(found.path)}" if found.path else place, found.what, found.remedy
            )
            for (_, place), found in placed
        ]

    def _in_file(self, line: int) -> tuple[int, str]:
        return line, f"{self._source}:{line}"

    def _place(self, finding: Finding) -> tuple[int, str]:
        if finding.line is not None:
            return self._in_file(finding.line)
        path = finding.path
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, self._in_file(1))
