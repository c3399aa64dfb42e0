"""The reference of the files a person writes: every key of a sweep file and of a cluster file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from neft_ray.config.base import Section
from neft_ray.config.cluster import OURS, ClusterSettings
from neft_ray.config.keys import describe, hint_of, sections_of, tag_of
from neft_ray.config.sweep import SweepConfig
from reference.words import entry, page, prose

SWEEP_FILE = """
Every key that may stand in a sweep file, made from the classes that read it. Keys without a default
must be written. Any of them can be replaced on the command line: `--set noise.alpha=15`. Editors
that speak to the YAML language server read the same from
[sweep.schema.json](../sweep.schema.json).
"""
CLUSTER_FILE = """
Ray reads all other keys of a cluster file; this is what `neft-ray` reads below `metadata.neft_ray`.
See [Clusters](../clusters.md).
"""


def sweep_file_page() -> str:
    """Return the page of all keys of a sweep file."""
    top = "\n".join(_entries(SweepConfig, ""))
    return page("The sweep file", SWEEP_FILE, top, *_below(SweepConfig, "", 2))


def cluster_file_page() -> str:
    """Return the page of the keys that a cluster file has for us."""
    prefix = ".".join(map(str, OURS)) + "."
    entries = "\n".join(_entries(ClusterSettings, prefix))
    return page("The cluster file", CLUSTER_FILE, entries, *_below(ClusterSettings, prefix, 2))


def _below(section: type[Section], prefix: str, level: int) -> Iterator[str]:
    """Yield the Markdown of every section inside a section, headings first, outer before inner."""
    for name, field in section.model_fields.items():
        inner = _sections_in(field)
        if not inner:
            continue
        path = f"{prefix}{name}"
        yield f"{'#' * level} `{path}`"
        if len(inner) > 1:
            yield prose(field.description or "")
            yield f"What it can be: {', '.join(f'`{tag_of(kind)}`' for kind in inner)}."
        for kind in inner:
            here = path if len(inner) == 1 else f"{path}.{tag_of(kind)}"
            if len(inner) > 1:
                yield f"{'#' * (level + 1)} {_written(path, kind)}"
            yield prose(kind.__doc__ or "")
            yield "\n".join(_entries(kind, f"{path}.", f"{here}."))
            yield from _below(kind, f"{path}.", min(level + 1, 4))


def _written(path: str, kind: type[Section]) -> str:
    """Return how a member of a union is chosen, such as `sweep.scheduler: {kind: asha}`."""
    if "kind" in kind.model_fields:
        return f"`{path}: {{kind: {tag_of(kind)}}}`"
    return f"`{{{tag_of(kind)}: …}}`"


def _entries(section: type[Section], prefix: str, anchors: str | None = None) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if name == "kind" and anchors and anchors != prefix:
            continue  # the tag of one of several sections, written in its heading
        anchor = f"{prefix if anchors is None else anchors}{name}"
        yield entry(f"{prefix}{name}", anchor, _facts(field), prose(field.description or ""))


def _facts(field: FieldInfo) -> str:
    """Return what may be written and what holds where nothing is."""
    inner = _sections_in(field)
    if inner:
        many = get_origin(field.annotation) is tuple
        what = "a list of sections, see below" if many else "a section, see below"
        if type(None) in get_args(field.annotation):
            what += ", or null"
    else:
        what = describe(hint_of(field))
    default = _default(field.default, is_chosen=len(inner) > 1)
    if default is None:
        return f"{what}; must be written"
    return f"{what}; default `{default}`" if default else what


def _default(value: Any, is_chosen: bool) -> str | None:
    """Return a default as YAML; None where a key must be written, empty for a section's own.

    Args:
        value: A setting, or a section.
        is_chosen: Whether it is one of several sections, told apart by their `kind`.
    """
    if value is PydanticUndefined:
        return None
    if isinstance(value, Section):
        return f"{{kind: {tag_of(type(value))}}}" if is_chosen else ""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _sections_in(field: FieldInfo) -> list[type[Section]]:
    """Return the sections that may stand at a key, or under the keys of its mapping."""
    hint = hint_of(field)
    found = sections_of(hint)
    if not found and get_origin(field.annotation) is dict:
        found = sections_of(get_args(field.annotation)[1])
    if not found and get_origin(field.annotation) is tuple:
        found = sections_of(get_args(field.annotation)[0])
    return found
