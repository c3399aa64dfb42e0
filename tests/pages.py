"""Reads what a page tells its reader to type: commands, make's targets, YAML."""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import typer
import yaml
from typer.core import TyperGroup

from neft_ray.cli.app import app

ROOT = Path(__file__).parent.parent
MADE = {ROOT / "docs/reference", ROOT / "docs/_build"}
"""Pages there are made from the code, the second time from these pages."""
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:neft-ray|make) [^`\n]*)`")


def pages() -> list[Path]:
    """Return every page that a person writes."""
    docs = [page for page in (ROOT / "docs").rglob("*.md") if not MADE & set(page.parents)]
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "clusters/README.md",
        *sorted(docs),
    ]


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in some languages, without their indentation."""
    found = []
    for indent, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            lines = [line.removeprefix(indent) for line in text.splitlines()]
            found.append("\n".join(lines) + "\n")
    return found


def typed(page: Path, program: str) -> list[list[str]]:
    """Return what a page's blocks tell a reader to type, word by word; `[…]` may be left out."""
    found = []
    for block in blocks(page, "", "text", "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").strip()
            if line.startswith(f"{program} "):
                line = re.sub(r"(?<= )\[(-[^\]]*|RUN…)\]", r"\1", line)
                found.append(shlex.split(line, comments=True))
    return found


def mentioned(page: Path, program: str) -> list[list[str]]:
    """Return what a page's sentences and tables name, where a command need not be whole."""
    plain = BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = [text for text in INLINE.findall(plain) if text.startswith(program)]
    return [text.replace("[", "").replace("]", "").split() for text in found]


def find_command(words: list[str]) -> tuple[object, list[str]]:
    """Return the command that words call and what is left of them.

    Raises:
        LookupError: If there is none of that name.
    """
    command, left = typer.main.get_command(app), words[1:]
    while isinstance(command, TyperGroup) and left and not left[0].startswith("-"):
        if left[0] not in command.commands:
            raise LookupError(f"no command {left[0]!r}")
        command, left = command.commands[left[0]], left[1:]
    return command, left


def variants(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every reading of a YAML node in which some key is shown with several values."""
    if isinstance(node, yaml.MappingNode):
        options: dict[str, list[tuple[yaml.Node, yaml.Node]]] = {}
        for key, value in node.value:
            options.setdefault(key.value, []).extend((key, it) for it in variants(value))
        for chosen in product(*options.values()):
            yield yaml.MappingNode(node.tag, list(chosen), flow_style=node.flow_style)
    else:
        yield node


def merged(base: yaml.Node, over: yaml.Node) -> yaml.Node:
    """Return a mapping with another laid over it; what has a kind, or is a space, is replaced."""
    both = isinstance(base, yaml.MappingNode) and isinstance(over, yaml.MappingNode)
    if not both or any(key.value == "kind" or "." in key.value for key, _ in over.value):
        return over
    mine = {key.value: (key, value) for key, value in base.value}
    for key, value in over.value:
        below = mine.get(key.value)
        mine[key.value] = (key, merged(below[1], value) if below else value)
    return yaml.MappingNode(base.tag, list(mine.values()), flow_style=False)
