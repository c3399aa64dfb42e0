"""Settings from the command line: `--set a.b=c` written into the values of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neft_ray.config.keys import split_key
from neft_ray.config.places import Finding, Path, Places, dotted, option_place
from neft_ray.config.yaml_lines import Plain, Reading, Unreadable
from neft_ray.errors import Problem


def apply_overrides(
    values: dict[str, Any], places: Places, options: Sequence[str]
) -> list[Problem]:
    """Write options into `values` in their order and note their places.

    An option replaces what stands at its key as a whole; missing sections on the way are made.

    Returns:
        What is wrong with the options themselves; those are left out.
    """
    problems: list[Problem] = []
    for number, option in enumerate(options):
        key, _, text = option.partition("=")
        place = option_place(option)
        if not (key and text):
            problems.append(Problem(place, "not a setting", "write --set key=value"))
            continue
        path = split_key(key)
        value, findings = _parse(text)
        findings = findings or _write(values, path, value)
        if not findings:
            places.set_by_option(path, number, option)
        problems += [
            Problem(f"{place}: {dotted((*path, *it.path))}", it.what, it.remedy) for it in findings
        ]
    return problems


def _parse(text: str) -> tuple[Plain, list[Finding]]:
    try:
        reading = Reading(text)
    except Unreadable as error:
        return None, [error.finding]
    return reading.values, reading.findings


def _write(values: dict[str, Any], path: Path, value: Plain) -> list[Finding]:
    section = values
    for depth, key in enumerate(path[:-1], start=1):
        inner = section.get(str(key))
        if inner is None:
            inner = section[str(key)] = {}
        if not isinstance(inner, dict):
            parent = dotted(path[:depth])
            return [Finding((), f"{parent} is not a section", f"set {parent} as a whole")]
        section = inner
    section[str(path[-1])] = value
    return []
