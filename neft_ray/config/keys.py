"""Where a path leads in the models: the keys that exist there, and what may be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from neft_ray.config.base import Section
from neft_ray.config.places import Path
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig

Hint = object
"""A type as an annotation writes it: a class, `Annotated[…]`, a union, `Literal[…]`."""

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_WORDS: dict[Hint, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


@dataclass(frozen=True)
class Target:
    """The end of a path."""

    path: Path
    """Without the tags of unions that pydantic puts between the keys."""
    hint: Hint
    """What may be written there; None where nothing may."""
    field: FieldInfo | None = None
    """The setting at the path, or the one whose value the path leads into."""
    siblings: tuple[str, ...] = ()
    """The keys of the last section on the way."""


def follow(location: Path, root: Hint = SweepConfig) -> Target:
    """Follow a location in a pydantic error, from the top of a sweep file or another section."""
    target = Target((), root)
    for key in location:
        sections = sections_of(target.hint)
        if len(sections) > 1:  # a tagged union: `key` is the tag
            chosen = [section for section in sections if tag_of(section) == key]
            target = Target(target.path, chosen[0] if chosen else None, target.field)
        elif sections:
            fields = sections[0].model_fields
            field = fields.get(str(key))
            target = Target((*target.path, key), hint_of(field), field, tuple(fields))
        elif isinstance(key, str) and not _is_mapping(target.hint):
            continue  # the name of a type in a union of plain values
        elif (item := _item_hint(target.hint)) is not None:
            target = Target((*target.path, key), item, target.field)
        else:
            break
    return target


def split_key(text: str) -> Path:
    """Split a dotted key; below `sweep.space` and the control arms the trial's keys stay whole."""
    path: Path = ()
    hint: Hint = SweepConfig
    words = text.split(".")
    while words:
        size = 1
        if _is_mapping(hint) and not _is_mapping(_item_hint(hint)):
            sizes = range(len(words), 0, -1)
            size = next((n for n in sizes if ".".join(words[:n]) in TRIAL_KEYS), len(words))
        key = ".".join(words[:size])
        path, words = (*path, key), words[size:]
        fields = [section.model_fields.get(key) for section in sections_of(hint)]
        below = [hint_of(field) for field in fields if field] or [_item_hint(hint)]
        hint = below[0]
    return path


def sections_of(hint: Hint) -> list[type[Section]]:
    """Return the sections that may be written where a hint stands."""
    return [base for base, _ in _members(hint) if _is_section(base)]


def tag_of(section: type[Section]) -> str:
    """Return the tag of a union's member: its `kind`, or the only key it is written with."""
    kind = section.model_fields.get("kind")
    return str(get_args(kind.annotation)[0]) if kind else next(iter(section.model_fields))


def takes(hint: Hint, kind: type) -> bool:
    """Tell whether a plain type is among those of a hint."""
    return any(base is kind for base, _ in _members(hint))


def describe(hint: Hint) -> str:
    """Say in plain words what may be written where a hint stands."""
    sections = sections_of(hint)
    if len(sections) > 1:
        tags = ", ".join(map(tag_of, sections))
        if "kind" in sections[0].model_fields:
            return f"a section with a `kind`: {tags}"
        return f"a section with exactly one of {tags}"
    return " or ".join(_describe_one(base, rules) for base, rules in _members(hint))


def _describe_one(base: Hint, rules: list[Any]) -> str:
    if _is_section(base):
        return f"a section with the keys {', '.join(base.model_fields)}"
    if get_origin(base) is dict:
        return "a section of `key: value` lines"
    if get_origin(base) is Literal:
        return " or ".join(map(str, get_args(base)))
    if get_origin(base) is tuple:
        first, second = get_args(base)
        if second is Ellipsis:
            return "a list, each item " + describe(first)
        return f"[low, high], each {describe(first)}"
    if base is type(None):
        return "null"
    words = _WORDS[base]
    if base is str:
        return words + " that is not empty" * any(hasattr(rule, "min_length") for rule in rules)
    named = [(word, getattr(rule, name, None)) for rule in rules for name, word in _BOUNDS.items()]
    bounds = " and ".join(f"{word} {bound}" for word, bound in named if bound is not None)
    return f"{words} {bounds}".rstrip()


def _is_section(base: Hint) -> TypeGuard[type[Section]]:
    return isinstance(base, type) and issubclass(base, Section)


def _is_mapping(hint: Hint) -> bool:
    return any(get_origin(base) is dict for base, _ in _members(hint))


def hint_of(field: FieldInfo | None) -> Hint:
    """Return a setting's type with its rules."""
    if field is None or not field.metadata:
        return field and field.annotation
    return Annotated[(field.annotation, *field.metadata)]


def _item_hint(hint: Hint) -> Hint:
    """Return the hint of a list's items or a mapping's values, None for anything else."""
    for base, _ in _members(hint):
        if get_origin(base) is tuple:
            return get_args(base)[0]
        if get_origin(base) is dict:
            return get_args(base)[1]
    return None


def _members(hint: Hint) -> list[tuple[Any, list[Any]]]:
    """Return the types of a union, each with its rules; a plain type is a union of one."""
    rules: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *annotations = get_args(hint)
        for rule in annotations:
            rules += rule.metadata if isinstance(rule, FieldInfo) else [rule]
    if get_origin(hint) in (Union, UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [(hint, rules)]


def _leaves(section: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in section.model_fields.items():
        inner = sections_of(hint_of(field))
        for part in inner:
            yield from _leaves(part, f"{prefix}{name}.")
        if not inner:
            yield prefix + name, field


@cache
def keys_below(root: type[Section]) -> Mapping[str, FieldInfo]:
    """Return every dotted key of a section and of those inside it."""
    return dict(_leaves(root, ""))


TRIAL_KEYS = keys_below(TrialConfig)
"""Every dotted key of a trial, such as `noise.alpha`, that a sweep can set."""
