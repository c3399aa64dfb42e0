"""A sweep file into a `SweepConfig`, with every problem in it reported at once; and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from neft_ray.config.checks import cross_check
from neft_ray.config.explain import explain, shown
from neft_ray.config.overrides import apply_overrides
from neft_ray.config.places import Finding, Places
from neft_ray.config.salvage import Salvage
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.yaml_lines import CORE_SCHEMA, Reading, Unreadable
from neft_ray.errors import UserError, bad_input

_MAX_BYTES = 1_000_000


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep file.

    Args:
        path: The YAML file.
        overrides: Settings of the command line, such as `noise.alpha=15`; see `parse_sweep`.

    Raises:
        UserError: With every problem of the file and of the overrides.
    """
    return parse_sweep(text_of(path, "a sweep file"), str(path), overrides)


def text_of(path: Path, what: str) -> str:
    """Return the text of a YAML file.

    Args:
        path: The file.
        what: What it should be, such as `a sweep file`.

    Raises:
        UserError: If it cannot be read, is too large or no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise bad_input(path, str(error.strerror), f"name {what} that exists") from None
    if len(content) > _MAX_BYTES:
        raise bad_input(path, f"larger than {_MAX_BYTES} bytes", f"name {what}, not data")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise bad_input(f"{path}:{line}", "not UTF-8 text", "save the file as UTF-8") from None


def parse_sweep(text: str, source: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read the text of a sweep file.

    Args:
        text: YAML 1.2.
        source: The name that problems give the file.
        overrides: `a.b=value` replaces what the file says at `a.b`; the value is YAML, so a whole
            section can be written as `{…}`. Below `sweep.space` and `sweep.control` the longest
            known key of a trial is one key: `sweep.space.noise.alpha.choice=[5]`.

    Raises:
        UserError: With every problem of the text and of the overrides.
    """
    try:
        reading = Reading(text)
    except Unreadable as error:
        raise UserError(Places(source, {}).problems([error.finding])) from None
    places = Places(source, reading.lines)
    values = reading.values
    if not isinstance(values, dict):
        found = Finding((), f"got {shown(values)}", "write `key: value` lines")
        raise UserError(places.problems([found]))
    in_options = apply_overrides(values, places, overrides)
    config, findings = _validate(values, reading)
    problems = [*places.problems(findings), *in_options]
    if problems:
        raise UserError(problems)
    return config


def dump_sweep(config: SweepConfig) -> str:
    """Return a config as YAML, defaults included, that loads back to an equal config."""
    values = config.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def yaml_text(text: str) -> str:
    """Return a text as one line of YAML that loads back to it, quoted where it must be."""
    plain = yaml.dump(text, Dumper=_Dumper, allow_unicode=True, width=math.inf)
    if plain == f"{text}\n...\n":
        return text
    quoted = yaml.dump(text, Dumper=_Dumper, allow_unicode=True, width=math.inf, default_style='"')
    return str(quoted).rstrip("\n")


def _validate(values: dict[str, Any], reading: Reading) -> tuple[SweepConfig, list[Finding]]:
    """Return the config, and every finding; with findings, parts of the config are stand-ins."""
    findings = list(reading.findings)
    try:
        SweepConfig.model_validate(values)
    except ValidationError as error:
        findings += [it for it in explain(error) if it.path not in reading.unusable]
    salvage = Salvage(values, findings)
    return salvage.config, [*findings, *cross_check(salvage.config, salvage.doubts)]


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 would read as something else."""


for _tag, _words in CORE_SCHEMA:
    _Dumper.add_implicit_resolver(_tag, _words, None)
