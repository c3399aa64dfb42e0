"""Pydantic's errors in plain words: the key, what was given, what may be written instead."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from neft_ray.config.base import RULE, Section
from neft_ray.config.keys import TRIAL_KEYS, Target, describe, follow, keys_below, sections_of
from neft_ray.config.places import Finding, dotted
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import did_you_mean

_LONGEST_SHOWN = 40


def explain(error: ValidationError, root: type[Section] = SweepConfig) -> list[Finding]:
    """Return what is wrong; a value that fits no type of a union is found once per type.

    Args:
        error: Of pydantic.
        root: The section that was validated.
    """
    return [_finding(dict(detail), root) for detail in error.errors(include_url=False)]


def shown(value: object) -> str:
    """Say what was given, on one short line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            text = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
            return f"the text {text!r}"
        case int() | float():
            return f"{value}" if math.isfinite(value) else f"{value}, which is not finite"
        case tuple() | list():
            return f"a list of {len(value)}" if value else "an empty list"
        case _:
            return "a section" if value else "an empty section"


def nearest_key(name: str, siblings: Mapping[str, str], known: Iterable[str]) -> str:
    """Return the remedy for an unknown key: one beside it, or the same in another section.

    Args:
        name: The last word of the key.
        siblings: The known keys beside it, each with the way it is written there.
        known: All dotted keys.
    """
    elsewhere = [key for key in known if key.rpartition(".")[2] == name]
    if near := difflib.get_close_matches(name, siblings):
        return f"did you mean '{siblings[near[0]]}'?"
    if len(elsewhere) == 1:
        return f"did you mean '{elsewhere[0]}'?"
    return f"known: {', '.join(siblings.values())}"


def _finding(error: dict[str, Any], root: type[Section]) -> Finding:
    location, given, context = error["loc"], error["input"], error.get("ctx", {})
    kind = error["type"]
    if kind == "missing" and isinstance(location[-1], int):  # an item: the list is too short
        location = location[:-1]
    target = follow(location, root)
    path = target.path
    match kind:
        case "missing" if location == error["loc"]:
            return Finding(path, "missing", f"write {describe(target.hint)}")
        case "extra_forbidden":
            siblings, known = {key: key for key in target.siblings}, keys_below(root)
            if dotted(path) in known:  # of another member of the union
                return Finding(path, "not a key of this kind", f"known: {', '.join(siblings)}")
            return Finding(path, "unknown key", nearest_key(str(path[-1]), siblings, known))
        case "literal_error":
            return Finding(path, f"got {shown(given)}", _nearest(given, context["expected"]))
        case "union_tag_not_found" | "union_tag_invalid":
            return _unknown_kind(target, given, context)
        case "string_pattern_mismatch" | "string_too_long" if (
            target.field and target.field.description
        ):
            rule = target.field.description
            return Finding(path, f"got {shown(given)}", f"use {rule[0].lower()}{rule[1:-1]}")
        case _ if kind == RULE:
            return Finding(path, context["what"], context["remedy"])
    return Finding(path, f"got {shown(given)}", f"write {describe(target.hint)}")


def _unknown_kind(target: Target, given: object, context: dict[str, Any]) -> Finding:
    """Explain why no member of a tagged union was chosen."""
    path, remedy = target.path, f"write {describe(target.hint)}"
    has_kind = "kind" in sections_of(target.hint)[0].model_fields
    if "tag" in context:  # a `kind`, or the only key of a range
        what = f"unknown kind {'' if has_kind else 'of range '}{context['tag']!a}"
        where = (*path, "kind") if has_kind else path
        return Finding(where, what, _nearest(context["tag"], context["expected_tags"]))
    if has_kind:
        return Finding((*path, "kind"), "missing", remedy)
    return Finding(path, f"got {shown(given)}", remedy)


def _nearest(given: object, expected: str) -> str:
    """Return the remedy for an unknown word; pydantic lists the known ones as `'a', 'b' or 'c'`."""
    return did_you_mean(str(given), re.findall(r"'([^']*)'", expected))


def nearest_trial_key(key: str) -> str:
    """Return the remedy for a dotted key that is no setting of the trial."""
    section, _, name = key.rpartition(".")
    parts = {known: known.rpartition(".") for known in TRIAL_KEYS}
    beside = {
        last: known for known, (first, _, last) in parts.items() if first and first == section
    }
    namesakes = [known for known, (_, _, last) in parts.items() if last == name]
    near = bool(beside) or len(namesakes) == 1
    return nearest_key(name, beside, TRIAL_KEYS) if near else did_you_mean(key, TRIAL_KEYS)
