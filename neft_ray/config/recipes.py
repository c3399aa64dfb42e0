"""The sweep files that ship with the package: found by name, described by their first lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

_FACT = re.compile(r"(paper|size|memory|cost|node): (.+)")


@dataclass(frozen=True)
class Recipe:
    """A sweep file that ships with the package.

    Attributes:
        name: Its path in the folder of all, without the ending: `paper/llama2-7b-alpaca`.
        file: Where it lies.
        title: What it is, in one sentence.
        facts: What else its head says, by key: the lines `# key: value`, such as `paper`.
    """

    name: str
    file: Path
    title: str
    facts: dict[str, str]


def folder() -> Path:
    """Return the folder of all recipes."""
    return Path(str(resources.files("neft_ray"))) / "sweeps"


def recipe_names() -> list[str]:
    """Return the names that commands take, without reading the files."""
    files = sorted(folder().rglob("*.yaml"))
    return [file.relative_to(folder()).with_suffix("").as_posix() for file in files]


def recipes() -> list[Recipe]:
    """Return all recipes by name."""
    return [_recipe(file) for file in sorted(folder().rglob("*.yaml"))]


def find_sweep_file(given: str | Path) -> Path:
    """Return a path as it is, or the recipe of that name where no such file exists."""
    path = Path(given)
    shipped = folder() / f"{str(given).removesuffix('.yaml')}.yaml"
    is_inside = shipped.resolve().is_relative_to(folder().resolve())
    return shipped if not path.exists() and is_inside and shipped.is_file() else path


def _recipe(file: Path) -> Recipe:
    """Read the comment at a file's top: the schema for editors, the title, then facts and prose."""
    lines = file.read_text(encoding="utf-8").splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    said = [line.removeprefix("#").strip() for line in lines[1:end]]
    facts = {found[1]: found[2] for line in said if (found := _FACT.fullmatch(line))}
    first = next((i for i, line in enumerate(said) if _FACT.fullmatch(line)), len(said))
    title = re.split(r"[.:] ", " ".join(said[:first]))[0].rstrip(".")
    name = file.relative_to(folder()).with_suffix("").as_posix()
    return Recipe(name, file, title, facts)
