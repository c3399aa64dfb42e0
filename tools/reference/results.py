"""The reference of `results.json`, made from its JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.words import entry, page

SCHEMA = Path(__file__).parents[2] / "docs/results.schema.json"
INTRO = """
What `neft-ray report` writes beside the page for programs to read, made from
[results.schema.json](../results.schema.json), against which a test holds every report.
"""


def results_page() -> str:
    """Return the page of all keys of `results.json`."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [INTRO, schema["description"], "\n".join(_entries(schema, "results."))]
    for name, inner in schema["$defs"].items():
        parts += [f"## {name}", inner.get("description", "")]
        parts.append("\n".join(_entries(inner, f"{name}.")))
    return page("results.json", *parts)


def _entries(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield entry(name, f"{prefix}{name}", _kind(field), field.get("description", ""))
        inner = field.get("items", field)
        if "properties" in inner:
            for key, below in inner["properties"].items():
                path = f"{name}.{key}"
                yield entry(path, f"{prefix}{path}", _kind(below), below.get("description", ""))


def _kind(field: Mapping[str, Any]) -> str:
    """Return in words what a value is."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name})"
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " or ".join(map(json.dumps, field["enum"]))
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    kinds = field.get("type", "anything")
    words = [kinds] if isinstance(kinds, str) else list(kinds)
    if "array" in words and "items" in field:
        words[words.index("array")] = f"array, each {_kind(field['items'])}"
    if "object" in words and isinstance(field.get("additionalProperties"), Mapping):
        words[words.index("object")] = f"object, each {_kind(field['additionalProperties'])}"
    return " or ".join(words)
