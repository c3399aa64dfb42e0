"""What of a faulty file can still be checked: sound sections as written, stand-ins for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from neft_ray.config.places import Finding, Path
from neft_ray.config.sweep import SearchConfig, SweepConfig

_DIVIDED: tuple[Path, ...] = (
    *((), ("sweep",), ("sweep", "space"), ("sweep", "control"), ("sweep", "controls")),
)
"""A fault below these costs the one key it is at; elsewhere it costs the whole section."""

_STAND_IN = {"name": "x", "model": {"path": "x"}, "data": {"train": "x"}}
_SEARCH_STAND_IN = {"space": {"noise.alpha": {"choice": (1,)}}}


class Salvage:
    """A sweep without its faulty parts: optional ones have their defaults, others stand-ins."""

    def __init__(self, values: Mapping[str, Any], findings: Iterable[Finding]) -> None:
        parts = {_part(finding.path) for finding in findings}
        sound = _without(parts, values, ())
        search = {key: value for key, value in sound.pop("sweep", {}).items() if value != {}}
        self._parts = parts | _meant((), values, parts)
        if isinstance(values.get("sweep"), dict):
            self._parts |= _meant(("sweep",), values["sweep"], parts)
        self.config = SweepConfig.model_validate(
            _STAND_IN | sound | {"sweep": _SEARCH_STAND_IN | search}
        )

    def doubts(self, path: Path) -> bool:
        """Tell whether a part at, above or below a path was faulty."""
        return any(part[: len(path)] == path[: len(part)] for part in self._parts)


def _part(path: Path) -> Path:
    depth = 0
    while depth < len(path) and path[:depth] in _DIVIDED:
        depth += 1
    return path[:depth]


def _without(parts: set[Path], values: Mapping[str, Any], at: Path) -> dict[str, Any]:
    """Return the values that are not faulty."""
    sound = {key: value for key, value in values.items() if (*at, key) not in parts}
    inner = [key for key in sound if (*at, key) in _DIVIDED and isinstance(sound[key], dict)]
    return sound | {key: _without(parts, sound[key], (*at, key)) for key in inner}


def _meant(section: Path, written: Mapping[str, Any], parts: set[Path]) -> set[Path]:
    """Return the missing keys of a section with an unknown one: each may have been meant."""
    known = {(*section, key) for key in (SearchConfig if section else SweepConfig).model_fields}
    unknown = {part for part in parts if part[:-1] == section} - known
    return known - {(*section, key) for key in written} if unknown else set()
