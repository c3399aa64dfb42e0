"""The reference of the command line, made from the program that is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from neft_ray.cli.app import app
from neft_ray.cli.examples import EXAMPLES
from reference.words import page, prose

INTRO = """
Made from the program itself; `neft-ray COMMAND --help` says the same. Exit codes are
[on a page of their own](exit-codes.md).
"""
_WORDS = {int: "number", float: "number", str: "text", Path: "path"}


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = [part for name, command in commands() for part in _command(name, command)]
    return page("Commands", INTRO, *parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with all words it is called by."""
    yield from _leaves("neft-ray", typer.main.get_command(app))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, below in inner.items():
        yield from _leaves(f"{name} {word}", below)


def _command(name: str, command: Any) -> Iterator[str]:
    given = [param for param in command.params if not _is_option(param)]
    options = [param for param in command.params if _is_option(param)]
    yield f"## {name.removeprefix('neft-ray ')}"
    words = [name, *map(_usage, given), *(["[OPTIONS]"] if options else [])]
    yield f"```text\n{' '.join(words)}\n```"
    yield prose(command.help or "")
    if lines := EXAMPLES.get(name.removeprefix("neft-ray ")):
        yield "\n".join(["```", *lines, "```"])
    if given or options:
        rows = [f"| {_shown(param)} | {_meaning(param)} |" for param in (*given, *options)]
        yield "\n".join(["| | |", "| --- | --- |", *rows])


def _is_option(param: Any) -> bool:
    return bool(param.opts[0].startswith("-"))


def _usage(param: Any) -> str:
    many = "…" if param.nargs == -1 else ""
    name = (param.metavar or param.name).upper()
    return f"{name}{many}" if param.required else f"[{name}{many}]"


def _shown(param: Any) -> str:
    if not _is_option(param):
        return f"`{_usage(param)}`"
    if param.is_bool_flag:
        return ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    kind = param.type_descriptor.annotation
    value = param.metavar or _WORDS.get(kind, "value").upper()
    return f"`{param.opts[0]} {value}`" + (" (may be repeated)" if param.multiple else "")


def _meaning(param: Any) -> str:
    parts = [(param.help or "").rstrip(".").replace("|", "\\|")]
    if param.required:
        parts.append("must be given")
    default = param.show_default if isinstance(param.show_default, str) else param.default
    if (
        param.show_default is not False
        and default not in (None, False)
        and "default:" not in parts[0]
    ):
        shown = param.opts[0] if default is True else default
        parts.append(f"default: `{shown}`")
    text = "; ".join(part for part in parts if part)
    return f"{text}." if text else ""
