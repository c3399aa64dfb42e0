"""Markdown of the reference: an entry with what may be written, its default and its meaning."""

from __future__ import annotations

import textwrap


def prose(text: str) -> str:
    """Return a docstring as Markdown: without its indentation, its Google sections left out."""
    kept = textwrap.dedent(text).strip()
    for heading in ("\nArgs:", "\nReturns:", "\nRaises:", "\nAttributes:"):
        kept = kept.split(heading)[0].rstrip()
    return kept


def entry(name: str, anchor: str, facts: str, meaning: str) -> str:
    """Return one entry of a definition list.

    Args:
        name: What a person types.
        anchor: Dotted; a link to it ends with `#key-` and this, dashes for dots.
        facts: In a few words: type, bounds, default.
        meaning: Markdown; may be empty.
    """
    link = "key-" + anchor.replace(".", "-")
    lines = [f"[`{name}`]{{#{link}}}", f": {facts}"]
    if meaning:
        lines += ["", textwrap.indent(meaning, "  ")]
    return "\n".join(lines) + "\n"


def page(title: str, *parts: str) -> str:
    """Return a page: its title and its parts, with one empty line between them."""
    return "\n\n".join([f"# {title}", *(part.strip("\n") for part in parts if part)]) + "\n"
